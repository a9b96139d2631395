"""What travels with a request through all hops: its id, its trace and its deadline.

Over HTTP they are headers, over MCP they are `_meta` fields. Both carry the time
that is left, never a time of day: clocks differ between machines.
"""

import math
import re
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

from servicekit.deadline import Deadline
from servicekit.trace import TraceParent

REQUEST_ID_HEADER = "x-request-id"
TRACEPARENT_HEADER = "traceparent"
DEADLINE_HEADER = "x-deadline-ms"
CLIENT_ID_HEADER = "x-client-id"
MCP_SESSION_HEADER = "mcp-session-id"

# `_meta` keys: traceparent stands bare by the MCP convention for W3C trace context,
# all others need a prefix of their own.
META_REQUEST_ID = "mcp-stack/request-id"
META_DEADLINE = "mcp-stack/deadline-ms"
META_CLIENT_ID = "mcp-stack/client-id"
META_TRACEPARENT = "traceparent"

# What another party may put into our logs and headers: printable, no separators, short.
_TOKEN = re.compile(r"[A-Za-z0-9._:@/+=-]{1,128}")
_CALLERS_KEY = secrets.token_bytes(16)
DEFAULT_DEADLINE_SECONDS = 60.0
# Nobody waits a day: a longer wish is cut, so that a forgotten request ends.
MAX_DEADLINE_SECONDS = 3600.0


@dataclass(frozen=True, slots=True)
class RequestContext:
    """The identity of one request on this hop."""

    request_id: str
    traceparent: TraceParent
    deadline: Deadline
    client_id: str | None = None


_current: ContextVar[RequestContext | None] = ContextVar("request_context", default=None)


def new_context(deadline_seconds: float = DEFAULT_DEADLINE_SECONDS) -> RequestContext:
    """Begin a request that came from nowhere else."""
    return RequestContext(
        request_id=secrets.token_hex(8),
        traceparent=TraceParent.new(),
        deadline=Deadline.after(deadline_seconds),
    )


def current_context() -> RequestContext:
    """Return the running request's context, or a fresh one outside of any request."""
    return _current.get() or new_context()


def active_context() -> RequestContext | None:
    """Return the running request's context, None outside of any request."""
    return _current.get()


@contextmanager
def use_context(context: RequestContext) -> Iterator[RequestContext]:
    """Make `context` the running one inside a `with` block."""
    token = _current.set(context)
    try:
        yield context
    finally:
        _current.reset(token)


def name_of_caller(address: str) -> str:
    """Return a name for a caller who gives none, by the address or the session that it comes from.

    It serves to be fair among callers, further services of ours and of others get it, and so
    nothing can be told from it but whether two calls come from the same.
    """
    return blake2b(address.encode(), key=_CALLERS_KEY, digest_size=8).hexdigest()


def _token(value: object) -> str | None:
    return value if isinstance(value, str) and _TOKEN.fullmatch(value) else None


def _seconds_left(value: object) -> float | None:
    try:
        seconds = float(value) / 1000.0  # type: ignore[arg-type]  # any object: what can't be read is None
    except (TypeError, ValueError, OverflowError):
        return None
    return min(max(seconds, 0.0), MAX_DEADLINE_SECONDS) if math.isfinite(seconds) else None


def _context_from(
    read: Callable[[str], object], names: "_Names", default_seconds: float
) -> RequestContext:
    parent = read(names.traceparent)
    incoming = TraceParent.parse(parent if isinstance(parent, str) else None)
    seconds = _seconds_left(read(names.deadline))
    return RequestContext(
        request_id=_token(read(names.request_id)) or secrets.token_hex(8),
        traceparent=incoming.child() if incoming else TraceParent.new(),
        deadline=Deadline.after(default_seconds if seconds is None else seconds),
        client_id=_token(read(names.client_id)),
    )


@dataclass(frozen=True, slots=True)
class _Names:
    request_id: str
    traceparent: str
    deadline: str
    client_id: str


_HEADERS = _Names(REQUEST_ID_HEADER, TRACEPARENT_HEADER, DEADLINE_HEADER, CLIENT_ID_HEADER)
_META = _Names(META_REQUEST_ID, META_TRACEPARENT, META_DEADLINE, META_CLIENT_ID)


def context_from_headers(
    headers: Mapping[str, str], *, default_deadline_seconds: float = DEFAULT_DEADLINE_SECONDS
) -> RequestContext:
    """Read a request's context from HTTP headers; what is missing or malformed is made new."""
    return _context_from(headers.get, _HEADERS, default_deadline_seconds)


def context_from_meta(
    meta: Mapping[str, Any], *, default_deadline_seconds: float = DEFAULT_DEADLINE_SECONDS
) -> RequestContext:
    """Read a request's context from MCP `_meta`; what it lacks is taken from the running one."""
    read = _context_from(meta.get, _META, default_deadline_seconds)
    running = active_context()
    if running is None:
        return read
    has_trace = (
        TraceParent.parse(meta.get(META_TRACEPARENT))
        if isinstance(meta.get(META_TRACEPARENT), str)
        else None
    )
    return RequestContext(
        request_id=read.request_id if _token(meta.get(META_REQUEST_ID)) else running.request_id,
        traceparent=read.traceparent if has_trace else running.traceparent,
        # Two clocks may bound one request (the header's and the field's): the sooner one holds.
        deadline=min(read.deadline, running.deadline, key=lambda deadline: deadline.at)
        if META_DEADLINE in meta
        else running.deadline,
        client_id=read.client_id or running.client_id,
    )


def _outgoing(names: _Names) -> dict[str, str]:
    context = current_context()
    fields = {
        names.request_id: context.request_id,
        names.traceparent: str(context.traceparent),
        names.deadline: str(int(context.deadline.remaining() * 1000)),
    }
    return fields | ({names.client_id: context.client_id} if context.client_id else {})


def outgoing_headers() -> dict[str, str]:
    """Return the running request's context as HTTP headers for the next hop."""
    return _outgoing(_HEADERS)


def outgoing_meta() -> dict[str, Any]:
    """Return the running request's context as MCP `_meta` fields for the next hop."""
    fields: dict[str, Any] = dict(_outgoing(_META))
    return fields | {META_DEADLINE: int(fields[META_DEADLINE])}
