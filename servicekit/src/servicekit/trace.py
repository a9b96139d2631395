"""W3C trace context: the `traceparent` header, read and written.

The form is defined in https://www.w3.org/TR/trace-context/#traceparent-header.
"""

import re
import secrets
from dataclasses import dataclass

_FORM = re.compile(
    r"^(?!ff)[0-9a-f]{2}-(?P<trace>[0-9a-f]{32})-(?P<span>[0-9a-f]{16})-(?P<flags>[0-9a-f]{2})(?:-.*)?$"
)
_NO_TRACE = "0" * 32
_NO_SPAN = "0" * 16


@dataclass(frozen=True, slots=True)
class TraceParent:
    """One hop of a trace: `trace_id` is the walk's, `span_id` this hop's."""

    trace_id: str
    span_id: str
    flags: str = "00"

    @classmethod
    def new(cls) -> "TraceParent":
        """Begin a trace."""
        fresh = secrets.token_hex(24)  # in one call: for each request that comes without a trace
        return cls(trace_id=fresh[:32], span_id=fresh[32:])

    @classmethod
    def parse(cls, value: str | None) -> "TraceParent | None":
        """Read a header; None when it is absent or malformed, as the standard asks."""
        found = _FORM.match(value.strip()) if value else None
        if found is None or found["trace"] == _NO_TRACE or found["span"] == _NO_SPAN:
            return None
        return cls(trace_id=found["trace"], span_id=found["span"], flags=found["flags"])

    def child(self) -> "TraceParent":
        """Return the next hop of the same trace."""
        return TraceParent(self.trace_id, secrets.token_hex(8), self.flags)

    def __str__(self) -> str:
        return f"00-{self.trace_id}-{self.span_id}-{self.flags}"
