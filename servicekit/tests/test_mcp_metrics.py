"""`mcp_server_operation_duration_seconds`: what is counted, under which bounded labels."""

import asyncio
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import pytest
from mcp.shared.exceptions import MCPError
from prometheus_client import REGISTRY
from servicekit.errors import StackError, TooBusy
from servicekit.mcp_metrics import MCP_OPERATION_DURATION, McpTiming

METRIC = MCP_OPERATION_DURATION


def message(method: str, params: Mapping[str, Any] | None = None) -> Any:
    return SimpleNamespace(method=method, params=params, meta=None)


async def serve(ctx: Any, answer: Any) -> None:
    async def call_next(_: Any) -> Any:
        if isinstance(answer, BaseException):
            raise answer
        return answer

    await McpTiming({"now", "run"}.__contains__)(ctx, call_next)


def count(method: str, tool: str = "", error_type: str = "") -> float:
    labels = {"mcp_method_name": method, "gen_ai_tool_name": tool, "error_type": error_type}
    name = "mcp_server_operation_duration_seconds_count"
    return REGISTRY.get_sample_value(name, labels) or 0.0


def series() -> set[tuple[str, ...]]:
    return {
        tuple(sample.labels[name] for name in METRIC._labelnames)
        for metric in METRIC.collect()
        for sample in metric.samples
        if sample.name.endswith("_count")
    }


class Refusal(Exception):
    """As an upstream's own JSON-RPC error is handed on."""

    def __init__(self, code: int) -> None:
        super().__init__("no")
        self.code = code


ENDINGS: list[tuple[Any, str]] = [
    ({"content": []}, ""),
    ({"content": [], "isError": True}, "tool_error"),
    (SimpleNamespace(is_error=True), "tool_error"),
    (SimpleNamespace(is_error=False), ""),
    (MCPError(-32602, "no such tool"), "-32602"),
    (TooBusy("All places are taken."), str(TooBusy.rpc_code)),
    (StackError("a defect"), str(StackError.rpc_code)),
    (Refusal(-32000), "-32000"),
    (Refusal(70_411), "_OTHER"),
    (RuntimeError("secret internals"), "-32603"),
    (asyncio.CancelledError(), "cancelled"),
]


@pytest.mark.parametrize(("answer", "error_type"), ENDINGS)
async def test_call_is_counted_by_how_it_ended(answer: Any, error_type: str) -> None:
    before = count("tools/call", "now", error_type)
    try:
        await serve(message("tools/call", {"name": "now"}), answer)
    except BaseException as error:  # noqa: BLE001  # some of the cases raise, and all are counted
        assert error is answer  # noqa: PT017  # as above
    assert count("tools/call", "now", error_type) == before + 1


@pytest.mark.parametrize(
    "ctx",
    [
        message("tools/call", {"name": "invented"}),
        message("tools/call", {"name": ["now"]}),
        message("tools/call"),
        message("prompts/get", {"name": "now"}),
        message("invented/method", {"name": "now"}),
    ],
    ids=str,
)
async def test_what_callers_invent_is_no_label(ctx: Any) -> None:
    before = series()  # of other tests' services in this process
    await serve(ctx, {})
    for method, tool, error_type in series() - before:
        assert method in {"tools/call", "prompts/get", "_OTHER"}
        assert tool in {"", "now"}
        assert "invented" not in error_type


async def test_method_that_nobody_knows_counts_as_other() -> None:
    before = count("_OTHER", error_type="-32601")
    with pytest.raises(MCPError):
        await serve(message("no/such"), MCPError(-32601, "Method not found"))
    assert count("_OTHER", error_type="-32601") == before + 1


async def test_stream_of_news_is_not_timed() -> None:
    before = series()
    await serve(message("subscriptions/listen"), {})
    assert series() == before


def test_buckets_are_those_of_the_conventions() -> None:
    METRIC.labels("ping", "", "").observe(0)
    bounds = [
        sample.labels["le"]
        for metric in METRIC.collect()
        for sample in metric.samples
        if sample.name.endswith("_bucket") and sample.labels["mcp_method_name"] == "ping"
    ]
    assert [float(bound) for bound in bounds[:-1]] == [
        *(0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 120, 300),
    ]
