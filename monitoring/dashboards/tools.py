"""MCP and tools: what is called, how it ends, how long it takes, and who offers it."""

from dashboards.board import Board, Variable
from dashboards.overview import UP_OR_DOWN
from dashboards.panel import Panel, Query, or_none, that_happened

_CALLS = 'mcp_tool_executions_total{tool_name=~"$tool"'
_ALL = f"sum by (tool_name) (rate({_CALLS}}}[$__rate_interval]))"
_LOST = f'sum by (tool_name) (rate({_CALLS},status=~"unavailable|timeout"}}[$__rate_interval]))'
_SECONDS = "mcp_tool_execution_seconds"
_OPERATION = "mcp_server_operation_duration_seconds"
# Of a tool that was not called the ratio is no number, and its line would be empty.
_CALLED = ">= 0"
_MATCH = '{tool_name=~"$tool"}'

BOARD = Board(
    uid="mcp-tools",
    title="MCP and tools",
    description="What is called, how it ends, how long it takes, and who offers it.",
    variables=(Variable("tool", "Tool", "mcp_tool_executions_total", "tool_name"),),
    panels=(
        Panel(
            title="Calls by tool",
            description="Tool calls through the gateway, per second: from chats and from MCP "
            "clients.",
            unit="reqps",
            queries=(Query(that_happened(_ALL, f"{_CALLS}}}", "tool_name"), "{{tool_name}}"),),
            no_value="no tool was called",
            is_stacked=True,
        ),
        Panel(
            title="Calls by status",
            description="`error` is the tool's own answer, `invalid` are wrong arguments; "
            "`unavailable` and `timeout` are ours to mend.",
            unit="reqps",
            queries=(
                Query(
                    that_happened(
                        f"sum by (status) (rate({_CALLS}}}[$__rate_interval]))",
                        f"{_CALLS}}}",
                        "status",
                    ),
                    "{{status}}",
                ),
            ),
            no_value="no tool was called",
            is_stacked=True,
        ),
        Panel(
            title="Lost calls",
            description="Share of each tool's calls that got no answer of the tool: it was "
            "away or too slow.",
            unit="percentunit",
            queries=(
                Query(
                    f"({_LOST} or 0 * {_ALL}) / {_ALL} {_CALLED}",
                    "{{tool_name}}",
                ),
            ),
            no_value="no tool was called",
            maximum=1,
        ),
        Panel(
            title="Duration by tool, p50",
            description="Half of the calls of each tool ended within this time.",
            unit="s",
            queries=(
                Query(
                    "histogram_quantile(0.5, sum by (le, tool_name) "
                    f"(rate({_SECONDS}_bucket{_MATCH}[$__rate_interval]))) {_CALLED}",
                    "{{tool_name}}",
                ),
            ),
            no_value="no tool was called",
        ),
        Panel(
            title="Duration by tool, p95",
            description="95 of 100 calls of each tool ended within this time.",
            unit="s",
            queries=(
                Query(
                    "histogram_quantile(0.95, sum by (le, tool_name) "
                    f"(rate({_SECONDS}_bucket{_MATCH}[$__rate_interval]))) {_CALLED}",
                    "{{tool_name}}",
                ),
            ),
            no_value="no tool was called",
        ),
        Panel(
            title="Time spent, by tool",
            description="Seconds of work in the time shown: which tool costs most, all calls "
            "together.",
            unit="s",
            queries=(
                Query(
                    "topk(10, sum by (tool_name) "
                    f"(increase({_SECONDS}_sum{_MATCH}[$__range])) > 0)",
                    "{{tool_name}}",
                ),
            ),
            no_value="no tool was called",
            kind="bargauge",
        ),
        Panel(
            title="Upstreams",
            description="Whether the gateway is connected to each server that offers tools.",
            unit="short",
            queries=(Query("min by (upstream) (mcp_upstream_up)", "{{upstream}}"),),
            no_value="the gateway has no upstream",
            kind="state-timeline",
            width=12,
            mappings=UP_OR_DOWN,
        ),
        Panel(
            title="Lost connections",
            description="How often the gateway lost its connection to each upstream within 15 "
            "minutes; from two on it flaps.",
            unit="short",
            queries=(
                Query(
                    "sum by (upstream) (increase(mcp_upstream_losses_total[15m]))", "{{upstream}}"
                ),
            ),
            no_value="the gateway has no upstream",
            decimals=0,
            width=12,
        ),
        Panel(
            title="Tools on offer",
            description="Tools that each upstream offers; a fall means that a server lost some.",
            unit="short",
            queries=(Query("max by (upstream) (mcp_upstream_tools)", "{{upstream}}"),),
            no_value="no upstream was discovered",
            decimals=0,
        ),
        Panel(
            title="MCP messages by method",
            description="MCP messages that the gateway served, per second; from chats and from "
            "MCP clients.",
            unit="reqps",
            queries=(
                Query(
                    "sum by (mcp_method_name) "
                    f'(rate({_OPERATION}_count{{service="mcp-server"}}[$__rate_interval]))',
                    "{{mcp_method_name}}",
                ),
            ),
            no_value="nobody spoke MCP",
        ),
        Panel(
            title="MCP messages that failed",
            description="Per minute, by service and reason: `tool_error` is the tool's own answer, "
            "a number is a JSON-RPC code, `cancelled` a caller who hung up.",
            unit="short",
            queries=(
                Query(
                    or_none(
                        "sum by (service, error_type) "
                        f'(rate({_OPERATION}_count{{error_type!=""}}[$__rate_interval])) * 60',
                        "error_type",
                    ),
                    "{{service}} {{error_type}}",
                ),
            ),
            no_value="No message failed.",
            is_stacked=True,
        ),
        Panel(
            title="Added by the gateway",
            description="Half of the calls of each tool spent less than this at the gateway, and "
            "at the server of the tool. The gap between the two is the gateway's own.",
            unit="s",
            queries=(
                Query(
                    "histogram_quantile(0.5, sum by (le, service, gen_ai_tool_name) "
                    f'(rate({_OPERATION}_bucket{{gen_ai_tool_name=~"$tool",'
                    'gen_ai_tool_name!=""}[$__rate_interval])))',
                    "{{gen_ai_tool_name}} at {{service}}",
                ),
            ),
            no_value="no tool was called over MCP",
        ),
        Panel(
            title="MCP requests by service",
            description="Requests per second to /mcp of each service; the gateway's are its "
            "clients', the others' are the gateway's.",
            unit="reqps",
            queries=(
                Query(
                    "sum by (service) "
                    '(rate(http_request_duration_seconds_count{route="/mcp"}[$__rate_interval]))',
                    "{{service}}",
                ),
            ),
            no_value="nobody spoke MCP",
        ),
        Panel(
            title="MCP answers by HTTP status",
            description="Statuses of /mcp over all services. 4xx are clients that send what "
            "MCP does not know, or a web page that is not allowed.",
            unit="reqps",
            queries=(
                Query(
                    "sum by (status) "
                    '(rate(http_request_duration_seconds_count{route="/mcp"}[$__rate_interval]))',
                    "{{status}}",
                ),
            ),
            no_value="nobody spoke MCP",
            is_stacked=True,
        ),
    ),
)
