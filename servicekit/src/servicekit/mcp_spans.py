"""Spans of MCP messages, by OpenTelemetry's conventions for MCP: `tools/call NAME` at both ends."""

from collections.abc import Mapping
from typing import Any

from servicekit.context import META_TRACEPARENT
from servicekit.spans import NOTHING, Kind, Span, is_tracing, served, span

# Lists, probes and pings are the connection's own and no part of anybody's request.
_WORK = frozenset({"tools/call", "prompts/get", "resources/read", "completion/complete"})


def sent(method: str, params: Mapping[str, Any] | None) -> Span:
    """Begin the span of a message that is sent to a server."""
    if not is_tracing() or method not in _WORK:
        return NOTHING
    name = (params or {}).get("name")
    return span(*_described(method, name if isinstance(name, str) else "", "client"))


def received(method: str, tool: str, meta: Mapping[str, Any]) -> Span:
    """Begin the span of a message that came; its `_meta` names the caller's span.

    Parameters
    ----------
    tool
        The tool that it calls; empty if it calls none that exists.
    """
    if not is_tracing() or method not in _WORK:
        return NOTHING
    name, kind, attributes = _described(method, tool, "server")
    traceparent = meta.get(META_TRACEPARENT)
    if isinstance(traceparent, str):
        return served(name, traceparent, attributes)
    return span(name, kind, attributes)


def _described(method: str, name: str, kind: Kind) -> tuple[str, Kind, dict[str, str]]:
    attributes = {"mcp.method.name": method}
    if method == "tools/call":
        attributes |= {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": name}
        return f"{method} {name}".strip(), kind, attributes
    return method, kind, attributes
