"""What a cell showed, as the service passes it on: checked, for the words are a stranger's."""

import base64
import json
import math
from collections.abc import Iterable, Mapping
from typing import Any, Final, NoReturn

from sandbox_runner.rich_messages import (
    BINARY_TYPES,
    MAX_JSON_BYTES,
    OutputKind,
    is_json_type,
    is_picture,
)
from servicekit.wire.execution import RichOutput

# Deeper than any table or figure of a notebook, and far from what a reader's parser refuses.
_MAX_JSON_DEPTH: Final = 64


def rich_outputs(
    shown: Iterable[tuple[OutputKind, Mapping[str, bytes]]],
) -> tuple[RichOutput, ...]:
    """Return what one run showed, as far as it is sound.

    JSON is parsed here, on everybody's time: of a run no more than of one form. What is beyond is
    left out.
    """
    outputs = []
    json_left = MAX_JSON_BYTES
    for kind, given in shown:
        forms = given
        wanted = sum(len(content) for name, content in given.items() if is_json_type(name))
        if wanted > json_left:
            forms = {name: given[name] for name in given if not is_json_type(name)}
        else:
            json_left -= wanted
        if (output := rich_output(kind, forms)) is not None:
            outputs.append(output)
    return tuple(outputs)


def rich_output(kind: OutputKind, forms: Mapping[str, bytes]) -> RichOutput | None:
    """Return one thing shown: text as it is, pictures in base64, JSON parsed.

    A form that is malformed is left out; None when no form is left.
    """
    data: dict[str, Any] = {}
    for media_type, content in forms.items():
        if is_json_type(media_type):
            parsed = _json(content)
            if parsed is not None:
                data[media_type] = parsed
        elif media_type in BINARY_TYPES:
            # The worker looked too, but it is the code's own.
            if is_picture(media_type, content):
                data[media_type] = base64.b64encode(content).decode("ascii")
        else:
            data[media_type] = content.decode("utf-8", "replace")
    return RichOutput(kind=kind, data=data) if data else None


def _json(content: bytes) -> Any:
    """Return a value that every JSON writer can write again, or None."""
    try:
        value = json.loads(content, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return None
    return value if _is_plain(value) else None


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON")


def _is_plain(value: Any) -> bool:
    """Say whether a parsed value is shallow, finite, and text that UTF-8 can carry."""
    level, depth = [value], 0
    while level:
        if depth > _MAX_JSON_DEPTH:
            return False
        below: list[Any] = []
        for item in level:
            match item:
                case dict():
                    below += [*item.keys(), *item.values()]
                case list():
                    below += item
                case str() if not _is_sound(item):
                    return False
                case float() if not math.isfinite(item):
                    return False  # 1e999 is read as infinity
        level, depth = below, depth + 1
    return True


def _is_sound(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False  # a lone surrogate
    return True
