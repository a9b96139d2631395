"""What a tool said: its text, its fields, and whether it failed."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_ERROR_START = re.compile(
    r"^\s*(?:error\b|failed\b|failure\b|tool error|cannot |could not |can't |refused\b"
    r"|unknown (?:tool|time ?zone)|there is no time zone|the tool .* failed)",
    re.IGNORECASE,
)


# How a run ends that did not end by itself, after whatever it printed (code-executor's words).
_ENDING = re.compile(
    r"^(?:Error: |Timed out: |Out of memory: |Too much output: |Cancelled: |The code was stopped"
    r"|The code crashed).*\Z",
    re.MULTILINE | re.DOTALL,
)


_MAX_ENDING_LINES = 3


TRACEBACK = "Traceback (most recent call last)"


EXCEPTION = re.compile(
    r"^(?P<type>[A-Za-z_][\w.]*(?:Error|Exception|Exit|Interrupt|Warning"
    r"|Iteration)?)(?:: (?P<message>.*))?$"
)


@dataclass(frozen=True, slots=True)
class ToolAnswer:
    """What a tool said: its text, its fields when it sent JSON, and whether it failed."""

    text: str
    fields: Mapping[str, Any]
    is_error: bool


def read_answer(content: str, *, is_code: bool = False) -> ToolAnswer:
    """Read a tool's message, which may be text, or JSON around a text.

    What code prints may begin with "error" and be none: with `is_code` only a traceback or
    the executor's own words at the end count as a failure.
    """
    stripped = content.strip()
    if stripped.startswith("{"):
        try:
            document = json.loads(stripped)
        except ValueError:
            document = None
        if isinstance(document, dict):
            return _from_fields(document, stripped, is_code=is_code)
    text = content.strip("\n")
    return ToolAnswer(text, {}, _looks_failed(text, is_code=is_code))


def _from_fields(fields: Mapping[str, Any], raw: str, *, is_code: bool) -> ToolAnswer:
    error = fields.get("error")
    failed = (
        fields.get("success") is False
        or fields.get("is_error") is True
        or fields.get("isError") is True
        or bool(error)
        or (
            isinstance(fields.get("status"), str)
            and fields["status"] in {"error", "timeout", "memory", "killed", "crashed"}
        )
        or (isinstance(fields.get("status"), int) and fields["status"] >= 400 and "title" in fields)  # noqa: PLR2004  # a problem document
    )
    if failed:
        return ToolAnswer(_error_text(fields, raw), fields, is_error=True)
    for name in ("text", "output", "stdout", "content"):
        value = fields.get(name)
        if isinstance(value, str) and value.strip():
            text = value.strip("\n")
            shown = fields.get("result")
            has_result = name == "stdout" and isinstance(shown, str)
            return ToolAnswer(
                f"{text}\nResult: {shown}" if has_result else text,
                fields,
                _looks_failed(text, is_code=is_code),
            )
    if isinstance(fields.get("result"), str):
        return ToolAnswer(f"Result: {fields['result']}", fields, is_error=False)
    is_empty_run = "stdout" in fields
    return ToolAnswer("" if is_empty_run else raw, fields, is_error=False)


def _looks_failed(text: str, *, is_code: bool) -> bool:
    if not is_code and _ERROR_START.match(text):
        return True
    return has_traceback(text) or ending_of(text) is not None


def has_traceback(text: str) -> bool:
    """Say whether a text ends in a Python traceback."""
    lines = text.rstrip().splitlines()
    is_headed = any(line.startswith((TRACEBACK, '  File "')) for line in lines)
    return is_headed and bool(EXCEPTION.match(lines[-1]) or TRACEBACK in text)


def ending_of(text: str) -> re.Match[str] | None:
    """Find the executor's own last words about a run that did not end by itself."""
    found = _ENDING.search(text.rstrip())
    while found is not None and found[0].count("\n") >= _MAX_ENDING_LINES:
        found = _ENDING.search(text.rstrip(), found.start() + 1)
    return found


def _error_text(fields: Mapping[str, Any], raw: str) -> str:
    error = fields.get("error")
    if isinstance(error, dict):
        for name in ("traceback", "message", "detail"):
            if isinstance(error.get(name), str) and error[name].strip():
                return str(error[name]).strip()
    for value in (
        error,
        fields.get("detail"),
        fields.get("text"),
        fields.get("output"),
        fields.get("message"),
    ):
        if isinstance(value, str) and value.strip():
            return value.strip()
    return raw
