"""What a worker says of a cell, as the warden takes it: untrusted text, checked and capped."""

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from sandbox_runner.cell import (
    MAX_MESSAGE_CHARACTERS,
    MAX_RESULT_CHARACTERS,
    MAX_TRACEBACK_CHARACTERS,
)
from sandbox_runner.message_fields import dump
from sandbox_runner.protocol import CellError
from sandbox_runner.rich_messages import OutputHead, cut, parse_heads

_SLACK: Final = 64
_MAX_COUNT: Final = 1 << 31


_HEAD: Final = struct.Struct("!I")
# Parsing multiplies the size of hostile JSON some thirty times.
_MAX_JSON_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Report:
    """Result, error and what was shown by a cell, all possibly absent."""

    result: str | None = None
    error: CellError | None = None
    outputs: tuple[OutputHead, ...] = ()
    content: bytes = b""
    outputs_dropped: int = 0


def pack(said: Mapping[str, Any], content: bytes = b"") -> bytes:
    """Return a report as a worker sends it: JSON, and behind it what it shows."""
    text = dump(said)
    return _HEAD.pack(len(text)) + text + content


def parse(payload: bytes) -> Report:
    """Return what is well-formed in a worker's report; the rest counts as not said."""
    message, content = _split(payload)
    outputs: tuple[OutputHead, ...] = ()
    try:
        outputs = parse_heads(message.get("outputs", []))
        cut(outputs, content)
    except ValueError:
        outputs, content = (), b""
    return Report(
        result=_text(message.get("result"), MAX_RESULT_CHARACTERS),
        error=_error(message.get("failure")),
        outputs=outputs,
        content=content,
        outputs_dropped=_count(message.get("outputs_dropped")),
    )


def _split(payload: bytes) -> tuple[dict[str, Any], bytes]:
    if len(payload) < _HEAD.size:
        return {}, b""
    end = _HEAD.size + min(_HEAD.unpack_from(payload)[0], _MAX_JSON_BYTES)
    try:
        message = json.loads(payload[_HEAD.size : end])
    except (ValueError, RecursionError):
        return {}, b""
    return (message, payload[end:]) if isinstance(message, dict) else ({}, b"")


def _count(raw: Any) -> int:
    is_count = isinstance(raw, int) and not isinstance(raw, bool) and 0 <= raw < _MAX_COUNT
    return raw if is_count else 0


def _error(raw: Any) -> CellError | None:
    if not isinstance(raw, dict):
        return None
    return CellError(
        type=_text(raw.get("type"), MAX_MESSAGE_CHARACTERS) or "BaseException",
        message=_text(raw.get("message"), MAX_MESSAGE_CHARACTERS) or "",
        traceback=_text(raw.get("traceback"), MAX_TRACEBACK_CHARACTERS) or "",
    )


def _text(raw: Any, limit: int) -> str | None:
    if not isinstance(raw, str):
        return None
    # A lone surrogate is legal JSON and illegal UTF-8: later readers would stumble over it.
    return raw[: limit + _SLACK].encode("utf-8", "replace").decode("utf-8")
