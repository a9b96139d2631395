"""Spans: which hop of a request took how long. Nothing is done until a tracer is installed.

Which span is whose child comes from our own context (`servicekit.context`), not from a library's:
what a span does not know, no header and no log line knows either. Names and attributes are those of
OpenTelemetry's conventions; code, arguments and texts are never among them.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Literal, Protocol, Self

from servicekit.context import active_context
from servicekit.trace import TraceParent

Kind = Literal["server", "client", "internal"]
Attributes = Mapping[str, str | int | float | bool]


class Span(Protocol):
    """One timed piece of work; a context manager that begins it at once."""

    def __enter__(self) -> Self:
        """Make it the running one: what is begun or sent inside is its child."""
        ...

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        """End it; an exception that leaves the block is its failure."""
        ...

    def rename(self, name: str) -> None:
        """Change its name, where it is only known later."""
        ...

    def note(self, attributes: Attributes) -> None:
        """Add attributes."""
        ...

    def fail(self, error_type: str) -> None:
        """Say that it failed, and by which type of error."""
        ...


class Tracer(Protocol):
    """Where spans come from."""

    def begin(
        self, name: str, kind: Kind, attributes: Attributes, parent: TraceParent | None
    ) -> Span:
        """Begin a span; a new trace without a parent."""
        ...


class _Nothing:
    """The span of a process that traces nothing."""

    __slots__ = ()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        return None

    def rename(self, name: str) -> None:
        pass

    def note(self, attributes: Attributes) -> None:
        pass

    def fail(self, error_type: str) -> None:
        pass


NOTHING = _Nothing()
_NO_ATTRIBUTES: Attributes = {}
_tracer: Tracer | None = None


def is_tracing() -> bool:
    """Say whether spans go anywhere."""
    return _tracer is not None


def span(name: str, kind: Kind = "internal", attributes: Attributes = _NO_ATTRIBUTES) -> Span:
    """Begin a span below the running one: `with span("sandbox.run") as run: ...`.

    Outside of any request there is nothing to time: a service's checks are no traces.
    """
    if _tracer is None or (running := active_context()) is None:
        return NOTHING
    return _tracer.begin(name, kind, attributes, running.traceparent)


def served(name: str, traceparent: str | None, attributes: Attributes = _NO_ATTRIBUTES) -> Span:
    """Begin the span of a request from elsewhere, below the caller's span that it names.

    Without a `traceparent`, or with a malformed one, it begins a trace.
    """
    if _tracer is None:
        return NOTHING
    return _tracer.begin(name, "server", attributes, TraceParent.parse(traceparent))


@contextmanager
def installed(tracer: Tracer) -> Iterator[None]:
    """Send spans to a tracer while the block runs."""
    global _tracer  # noqa: PLW0603  # as the metrics' registry: one per process
    before, _tracer = _tracer, tracer
    try:
        yield
    finally:
        _tracer = before
