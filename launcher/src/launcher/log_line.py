"""A child's log line, as a person reads it."""

import json
from dataclasses import dataclass
from typing import Literal

Level = Literal["info", "warning", "error"]

_LEVELS: dict[str, Level] = {
    "warning": "warning",
    "warn": "warning",
    "error": "error",
    "critical": "error",
    "fatal": "error",
    "exception": "error",
}
# Fields that the stream's own columns already say, or that no person reads.
_SHOWN_ELSEWHERE = frozenset(
    {
        "event",
        "level",
        "timestamp",
        "time",
        "ts",
        "service",
        "logger",
        "traceparent",
        "trace_id",
        "span_id",
    }
)
_PROBES = frozenset({"/ready", "/health"})
_MAX_VALUE_CHARACTERS = 300  # a few lines of a screen
_PLAIN_ALARMS: tuple[tuple[str, Level], ...] = (
    ("Traceback (most recent call last)", "error"),
    ("Fatal Python error", "error"),
    ("CRITICAL", "error"),
    ("ERROR", "error"),
    ("WARNING", "warning"),
)


@dataclass(frozen=True)
class LogLine:
    """One line with its weight."""

    level: Level
    text: str
    # What lines of the same cause have in common.
    kind: str = ""
    # It tells the operator what to do, and is shown whenever it comes.
    is_advice: bool = False


def read_log_line(line: str) -> LogLine:
    """Make a structured line readable; leave any other as it is."""
    if line.startswith("{"):
        try:
            fields = json.loads(line)
        except ValueError:
            fields = None
        if isinstance(fields, dict) and "event" in fields:
            return _structured(fields)
    for begin, level in _PLAIN_ALARMS:
        if line.startswith(begin):
            return LogLine(level, line, kind=begin)
    return LogLine("info", line)


def _structured(fields: dict[str, object]) -> LogLine:
    level = _LEVELS.get(str(fields.get("level", "info")).lower(), "info")
    if fields.get("route") in _PROBES or fields.get("error_type") == "not-ready":
        level = "info"  # somebody asked whether it is ready, and it is not: an answer, no trouble
    details = " ".join(
        f"{name}={_value(name, value)}"
        for name, value in fields.items()
        if name not in _SHOWN_ELSEWHERE and value is not None
    )
    return LogLine(
        level,
        f"{fields['event']} {details}".rstrip(),
        kind=str(fields["event"]),
        is_advice="advice" in fields,
    )


def _value(name: str, value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    if name == "exception" and text.strip():
        text = text.strip().splitlines()[-1]  # the whole of it is in the log file
    return text if len(text) <= _MAX_VALUE_CHARACTERS else text[: _MAX_VALUE_CHARACTERS - 1] + "…"
