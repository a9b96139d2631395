"""What a cell shows beside its text: pictures, HTML, JSON. Pure: names, caps and checks.

The content travels as bytes that nobody on the way looks into: from the worker behind its report,
to the service as DISPLAY frames before `Done`. What stands in the messages is how to cut it.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias, get_args

OutputKind: TypeAlias = Literal["result", "display", "figure"]

MAX_OUTPUTS: Final = 32
"""Outputs of one run; what comes later is counted and dropped."""
MAX_CONTENT_BYTES: Final = 4 << 20
"""The content of all outputs of one run."""
MAX_JSON_BYTES: Final = 256 << 10
"""One JSON form: it is the one that the service parses, and parsing multiplies its size."""
_MAX_FORMS: Final = 8

TEXT_TYPES: Final = frozenset(
    {"text/plain", "text/html", "text/markdown", "text/latex", "image/svg+xml"}
)
_SIGNATURES: Final[Mapping[str, tuple[bytes, ...]]] = {
    "image/png": (b"\x89PNG\r\n\x1a\n",),
    "image/jpeg": (b"\xff\xd8\xff",),
    "image/gif": (b"GIF87a", b"GIF89a"),
    "image/webp": (b"RIFF",),
}
BINARY_TYPES: Final = frozenset(_SIGNATURES)
_JSON_TYPE: Final = re.compile(r"application/(json|[a-z0-9][a-z0-9.-]{0,80}\+json)")


@dataclass(frozen=True, slots=True)
class OutputHead:
    """One thing shown, in one or more forms.

    Attributes
    ----------
    forms
        Media type and length in bytes of each form, in the order of the content.
    """

    kind: OutputKind
    forms: tuple[tuple[str, int], ...]

    @property
    def size_bytes(self) -> int:
        """Length of the content of all forms."""
        return sum(length for _, length in self.forms)


def is_json_type(media_type: str) -> bool:
    """Say whether a form of this type is JSON."""
    return _JSON_TYPE.fullmatch(media_type) is not None


def is_known_type(media_type: str) -> bool:
    """Say whether a form of this type is passed on."""
    return media_type in TEXT_TYPES or media_type in BINARY_TYPES or is_json_type(media_type)


def is_picture(media_type: str, content: bytes) -> bool:
    """Say whether the content begins as a picture of this type does."""
    return content.startswith(_SIGNATURES[media_type])


def parse_heads(raw: Any) -> tuple[OutputHead, ...]:
    """Return the heads that a worker's words hold; it may have said anything.

    Raises
    ------
    ValueError
        They are malformed, or over a cap.
    """
    if not isinstance(raw, list) or len(raw) > MAX_OUTPUTS:
        raise ValueError("no list of outputs, or too long a one")
    heads = tuple(_parse_head(item) for item in raw)
    if sum(head.size_bytes for head in heads) > MAX_CONTENT_BYTES:
        raise ValueError("the outputs are too large together")
    return heads


def _parse_head(raw: Any) -> OutputHead:
    if not isinstance(raw, dict) or raw.get("kind") not in get_args(OutputKind):
        raise ValueError("an output of no known kind")
    forms = raw.get("forms")
    if not isinstance(forms, list) or not 0 < len(forms) <= _MAX_FORMS:
        raise ValueError("an output without forms, or with too many")
    parsed = tuple(_parse_form(form) for form in forms)
    if len({name for name, _ in parsed}) != len(parsed):
        raise ValueError("an output with two forms of one type")
    return OutputHead(raw["kind"], parsed)


def _parse_form(raw: Any) -> tuple[str, int]:
    match raw:
        case [str() as name, int() as length] if not isinstance(length, bool):
            cap = MAX_JSON_BYTES if is_json_type(name) else MAX_CONTENT_BYTES
            if is_known_type(name) and 0 <= length <= cap:
                return name, length
    raise ValueError("a form of no known type, or too long a one")


def cut(
    heads: Sequence[OutputHead], content: bytes
) -> tuple[tuple[OutputKind, dict[str, bytes]], ...]:
    """Return each output with its forms.

    Raises
    ------
    ValueError
        The content is not as long as the heads say.
    """
    if len(content) != sum(head.size_bytes for head in heads):
        raise ValueError("the content of the outputs has another length")
    outputs = []
    start = 0
    for head in heads:
        forms = {}
        for name, length in head.forms:
            forms[name] = content[start : start + length]
            start += length
        outputs.append((head.kind, forms))
    return tuple(outputs)
