"""How long a service takes for each MCP message, by method and tool, and how it ended.

Name, labels and buckets are those of OpenTelemetry's conventions for MCP servers
(`mcp.server.operation.duration`) in Prometheus' form. A label that does not apply is empty.
"""

import time
from collections.abc import Callable
from typing import Any

from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.shared.exceptions import MCPError
from prometheus_client import Histogram

from servicekit.errors import StackError
from servicekit.mcp_spans import received

# The buckets that the conventions name, in seconds.
_BUCKETS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 120, 300)

MCP_OPERATION_DURATION = Histogram(
    "mcp_server_operation_duration_seconds",
    "Time of one MCP message at its server (services that speak MCP)",
    ("mcp_method_name", "gen_ai_tool_name", "error_type"),
    buckets=_BUCKETS,
)

# The conventions' word for a value that is none of the known ones.
OTHER = "_OTHER"
TOOL_ERROR = "tool_error"
_CANCELLED = "cancelled"
# How long a client listens is its own affair, and no measure of work.
_STREAMS = frozenset({"subscriptions/listen"})
_METHODS = frozenset(
    {
        *("initialize", "ping", "server/discover", "logging/setLevel", "completion/complete"),
        *("tools/list", "tools/call", "prompts/list", "prompts/get"),
        *("resources/list", "resources/templates/list", "resources/read"),
        *("resources/subscribe", "resources/unsubscribe"),
        *("notifications/initialized", "notifications/cancelled", "notifications/progress"),
        "notifications/roots/list_changed",
    }
)
# JSON-RPC's, MCP's and ours. A server behind the gateway may invent any other number.
_CODES = frozenset(
    {
        *(-32700, -32600, -32601, -32602, -32603),
        *(-32000, -32001, -32002, -32020, -32021, -32022, -32042, -32800),
        *(-32003, -32004, -32005, -32006, -32007),
    }
)


class McpTiming:
    """Middleware of an MCP server: times every message, and makes its span.

    Parameters
    ----------
    is_tool
        Whether a tool of this name exists: what callers invent must not become a label.
    """

    def __init__(self, is_tool: Callable[[str], bool]) -> None:
        self._is_tool = is_tool

    async def __call__(
        self, ctx: ServerRequestContext[Any, Any], call_next: CallNext
    ) -> HandlerResult:
        """Serve one message."""
        if ctx.method in _STREAMS:
            return await call_next(ctx)
        error_type = _CANCELLED  # stays when the caller hangs up
        tool = self.tool_of(ctx)
        started = time.perf_counter()
        with received(ctx.method, tool, ctx.meta or {}) as hop:
            try:
                result = await call_next(ctx)
            except Exception as error:
                error_type = error_type_of(error)
                raise
            else:
                is_failed = ctx.method == "tools/call" and is_tool_error(result)
                error_type = TOOL_ERROR if is_failed else ""
                return result
            finally:
                if error_type:
                    hop.fail(error_type)
                MCP_OPERATION_DURATION.labels(
                    ctx.method if ctx.method in _METHODS else OTHER, tool, error_type
                ).observe(time.perf_counter() - started)

    def tool_of(self, ctx: ServerRequestContext[Any, Any]) -> str:
        """Return the name of the tool that a message calls; empty if it calls none that exists."""
        if ctx.method != "tools/call":
            return ""
        name = (ctx.params or {}).get("name")
        return name if isinstance(name, str) and self._is_tool(name) else ""


def is_tool_error(result: HandlerResult) -> bool:
    """Say whether the tool itself failed, which is an answer by the protocol."""
    if isinstance(result, dict):
        return result.get("isError") is True
    return getattr(result, "is_error", False) is True


def error_type_of(error: Exception) -> str:
    """Return what the conventions call an error: its JSON-RPC code; unknown ones are one."""
    match error:
        case MCPError():
            code = error.error.code
        case StackError():
            code = error.rpc_code
        case _:
            # An upstream's refusal, handed on (`servicekit.rpc.RpcError`), or a defect.
            code = getattr(error, "code", -32603)
    return str(code) if code in _CODES else OTHER
