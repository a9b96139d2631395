"""The one renderer of errors: problem+json (RFC 9457) out, and back in from a neighbour."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from starlette.responses import JSONResponse

from servicekit.errors import StackError

MEDIA_TYPE = "application/problem+json"
TYPE_PREFIX = "urn:problem:mcp-stack:"
_MEMBERS = frozenset(
    {"type", "title", "status", "detail", "instance", "request_id", "retry_after_seconds"}
)
_ERROR_STATUSES = range(400, 600)


def problem_of(error: StackError, request_id: str) -> dict[str, Any]:
    """Return the problem document of an error.

    Returns
    -------
    dict
        `type` (a stable URN), `title`, `status`, `detail`, `request_id`, where it makes sense
        `retry_after_seconds` (over MCP there is no header for it), and the error's extensions;
        an extension never replaces one of these.
    """
    extensions = {name: value for name, value in error.extensions.items() if name not in _MEMBERS}
    document = extensions | {
        "type": TYPE_PREFIX + error.type,
        "title": error.title,
        "status": error.http_status,
        "detail": error.detail,
        "request_id": request_id,
    }
    if error.retry_after_seconds is not None:
        document["retry_after_seconds"] = error.retry_after_seconds
    return document


def problem_response(error: StackError, request_id: str) -> JSONResponse:
    """Render an error as an HTTP response."""
    headers = {"cache-control": "no-store"}
    if error.retry_after_seconds is not None:
        # Whole seconds, never zero: a client that obeys must not spin.
        headers["retry-after"] = str(max(1, math.ceil(error.retry_after_seconds)))
    return JSONResponse(
        problem_of(error, request_id),
        status_code=error.http_status,
        headers=headers,
        media_type=MEDIA_TYPE,
    )


@dataclass(frozen=True, slots=True)
class Problem:
    """A neighbour's problem document, read back; `status` is 0 when it names no error status."""

    type: str
    title: str
    status: int
    detail: str
    request_id: str | None = None
    retry_after_seconds: float | None = None
    extensions: Mapping[str, Any] = field(default_factory=dict)


def parse_problem(body: bytes | str) -> Problem | None:
    """Read a problem document; None when the body is none.

    `type` comes back without the URN prefix, so that it can be compared with the
    `type` of an error class. The writer may be a stranger: what is malformed is left out.
    """
    try:
        document = json.loads(body)
    except ValueError:
        return None
    if not isinstance(document, dict) or not isinstance(document.get("type"), str):
        return None
    return Problem(
        type=document["type"].removeprefix(TYPE_PREFIX),
        title=str(document.get("title", "")),
        status=_error_status(document.get("status")),
        detail=str(document.get("detail", "")),
        request_id=str(document["request_id"]) if "request_id" in document else None,
        retry_after_seconds=_seconds(document.get("retry_after_seconds")),
        extensions={name: value for name, value in document.items() if name not in _MEMBERS},
    )


def _error_status(value: object) -> int:
    is_number = isinstance(value, int) and not isinstance(value, bool)
    return value if is_number and value in _ERROR_STATUSES else 0  # type: ignore[return-value]  # is_number says so


def _seconds(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 86_400:  # noqa: PLR2004  # a day
        return None
    return float(value)
