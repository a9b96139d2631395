"""Logs are events with fields: one JSON line each, a readable form on a terminal.

Code, arguments, tokens and message texts are never logged.
"""

import logging
import sys
from collections.abc import MutableMapping
from typing import Any, Literal

import structlog
from structlog.typing import FilteringBoundLogger, Processor

from servicekit.context import active_context

LogFormat = Literal["auto", "json", "console"]


def get_logger() -> FilteringBoundLogger:
    """Return the process's logger: `log.info("tool.finished", tool=name, duration_ms=ms)`."""
    logger: FilteringBoundLogger = structlog.get_logger()
    return logger


def _add_context(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    if (context := active_context()) is not None:
        event.setdefault("request_id", context.request_id)
        event.setdefault("trace_id", context.traceparent.trace_id)
    return event


class _AddService:
    def __init__(self, service: str) -> None:
        self._service = service

    def __call__(
        self, _: Any, __: str, event: MutableMapping[str, Any]
    ) -> MutableMapping[str, Any]:
        event.setdefault("service", self._service)
        return event


def configure_logs(*, service: str, level: str, log_format: LogFormat) -> None:
    """Send all logs of this process, uvicorn's and the libraries' included, to standard error.

    Parameters
    ----------
    service
        The value of each line's `service` field.
    level
        The lowest level that is written: debug, info, warning or error.
    log_format
        `json`, `console`, or `auto`: console on a terminal, else JSON.
    """
    is_console = log_format == "console" or (log_format == "auto" and sys.stderr.isatty())
    shared: list[Processor] = [
        _AddService(service),
        _add_context,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(level),
        cache_logger_on_first_use=True,
    )
    renderer: Processor = (
        structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
        if is_console
        else structlog.processors.JSONRenderer()
    )
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name in ("uvicorn", "uvicorn.error"):
        logging.getLogger(name).handlers.clear()
        logging.getLogger(name).propagate = True
    logging.getLogger("uvicorn.access").disabled = True  # the request line is ours, with its fields
    for name in ("httpx", "httpx2", "httpcore", "httpcore2", "openai", "mcp"):
        # They log addresses and bodies at info and debug.
        logging.getLogger(name).setLevel(logging.WARNING)
