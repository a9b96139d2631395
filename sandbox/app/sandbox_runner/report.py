"""What a worker says of a cell, as the warden takes it: untrusted text, checked and capped."""

import json
from dataclasses import dataclass
from typing import Any

from sandbox_runner.cell import (
    MAX_MESSAGE_CHARACTERS,
    MAX_RESULT_CHARACTERS,
    MAX_TRACEBACK_CHARACTERS,
)
from sandbox_runner.protocol import CellError

_SLACK = 64


@dataclass(frozen=True, slots=True)
class Report:
    """Result and error of a cell, both possibly absent."""

    result: str | None = None
    error: CellError | None = None


def parse(payload: bytes) -> Report:
    """Return what is well-formed in a worker's report; the rest counts as not said."""
    try:
        message = json.loads(payload)
    except (ValueError, RecursionError):
        return Report()
    if not isinstance(message, dict):
        return Report()
    return Report(
        result=_text(message.get("result"), MAX_RESULT_CHARACTERS),
        error=_error(message.get("failure")),
    )


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
