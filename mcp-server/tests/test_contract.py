"""The gateway over the wire: real upstreams, real clients, both protocol eras."""

import asyncio
import time
from typing import Any

import pytest
from mcp import Client
from mcp.shared.exceptions import MCPError
from mcp.types import TextContent
from servicekit.context import new_context, outgoing_meta, use_context

ERAS = ("legacy", "2026-07-28")


@pytest.fixture(params=["modern", "older"])
async def clock(request: pytest.FixtureRequest, stack: Any) -> Any:
    return await (stack.clock() if request.param == "modern" else stack.older_clock())


@pytest.fixture
async def gateway(stack: Any, clock: Any) -> Any:
    server = await stack.gateway(own=f"clock={clock.url}")
    await stack.ready(await stack.http(server))
    return server


@pytest.mark.parametrize("era", ERAS)
async def test_tools_of_upstream_and_gateway_stand_in_one_list(gateway: Any, era: Any) -> None:
    async with Client(gateway.url, mode=era) as client:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        result = await client.call_tool("get_time", {"zone": "Asia/Tokyo"})
        status = await client.call_tool("get_system_status")
    assert {"get_time", "hang", "get_system_status", "get_service_metrics"} <= set(tools)
    assert tools["get_time"].output_schema is not None
    assert isinstance(result.content[0], TextContent)
    assert result.content[0].text == "noon in Asia/Tokyo"
    assert result.structured_content == {"text": "noon in Asia/Tokyo", "zone": "Asia/Tokyo"}
    assert status.structured_content is not None
    (upstream,) = status.structured_content["upstreams"]
    assert (upstream["name"], upstream["state"]) == ("clock", "connected")


@pytest.mark.parametrize("era", ERAS)
async def test_unknown_tool_is_refused_with_the_nearest_name(gateway: Any, era: Any) -> None:
    async with Client(gateway.url, mode=era) as client:
        with pytest.raises(MCPError, match="get_time") as caught:
            await client.call_tool("get_tme")
    assert caught.value.code == -32602


@pytest.mark.parametrize("era", ERAS)
async def test_progress_passes_through(gateway: Any, era: Any) -> None:
    seen: list[tuple[float, float | None, str | None]] = []

    async def on_progress(progress: float, total: float | None, message: str | None) -> None:
        seen.append((progress, total, message))

    async with Client(gateway.url, mode=era) as client:
        await client.call_tool("steps", progress_callback=on_progress)
    assert seen == [(1, 2, "step 1"), (2, 2, "step 2")]


@pytest.mark.parametrize("era", ERAS)
async def test_cancelling_reaches_the_upstream(
    gateway: Any, stack: Any, eventually: Any, era: Any
) -> None:
    async with Client(gateway.url, mode=era) as client:
        call = asyncio.create_task(client.call_tool("hang"))
        await eventually(lambda: stack.seen.running, "the call's arrival")
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
        await eventually(lambda: stack.seen.cancelled, "the endpoint's cancellation")


async def test_rest_caller_that_hangs_up_ends_its_tool(
    gateway: Any, stack: Any, eventually: Any
) -> None:
    http = await stack.http(gateway)
    call = asyncio.ensure_future(http.post("/mcp/tools/hang", json={}))
    await eventually(lambda: stack.seen.running, "the endpoint's start")
    call.cancel()
    await asyncio.gather(call, return_exceptions=True)
    await eventually(lambda: stack.seen.cancelled, "the endpoint's cancellation")


@pytest.mark.parametrize("era", ERAS)
async def test_id_trace_and_deadline_reach_the_upstream(gateway: Any, era: Any) -> None:
    with use_context(new_context(9)) as mine:
        async with Client(gateway.url, mode=era) as client:
            result = await client.call_tool("context", meta=outgoing_meta())  # type: ignore[arg-type]  # an open TypedDict
    there = result.structured_content
    assert there is not None
    assert there["request_id"] == mine.request_id
    assert there["trace_id"] == mine.traceparent.trace_id
    assert 5 < there["seconds"] <= 9


@pytest.mark.parametrize("era", ERAS)
async def test_caller_without_a_name_has_one_at_the_upstream(gateway: Any, era: Any) -> None:
    async with Client(gateway.url, mode=era) as client:
        calls = [await client.call_tool("context") for _ in range(2)]
        mine = await client.call_tool("context", meta={"mcp-stack/client-id": "me"})  # type: ignore[arg-type]  # an open TypedDict
    names = [call.structured_content["client_id"] for call in calls if call.structured_content]
    assert names[0]
    assert names == [names[0]] * 2
    assert mine.structured_content is not None
    assert mine.structured_content["client_id"] == "me"


async def test_call_in_flight_ends_at_once_when_the_upstream_dies(
    gateway: Any, clock: Any, stack: Any, eventually: Any
) -> None:
    http = await stack.http(gateway)
    call = asyncio.create_task(http.post("/mcp/tools/hang"))
    await eventually(lambda: stack.seen.running, "the call's arrival")
    await clock.abort()
    died = time.monotonic()
    answer = await call
    assert time.monotonic() - died < 8
    assert answer.status_code == 502
    assert answer.json()["type"] == "urn:problem:mcp-stack:upstream-unavailable"


async def test_upstream_is_usable_again_right_after_its_restart(
    gateway: Any, clock: Any, stack: Any, eventually: Any
) -> None:
    http = await stack.http(gateway)
    await clock.abort()
    away = await http.post("/mcp/tools/get_time")
    listed = (await http.get("/mcp/tools")).json()["tools"]
    assert away.status_code == 502
    assert "get_time" in {tool["name"] for tool in listed}
    await clock.start()
    restarted = time.monotonic()

    async def works() -> bool:
        return (await http.post("/mcp/tools/get_time")).status_code == 200

    await eventually(works, "a call after the restart")
    assert time.monotonic() - restarted < 5


async def test_gateway_finds_an_upstream_that_starts_after_it(stack: Any, eventually: Any) -> None:
    clock = await stack.clock()
    await clock.stop()
    gateway = await stack.gateway(own=f"clock={clock.url}")
    http = await stack.http(gateway)
    assert (await http.get("/ready")).status_code == 503
    assert (await http.post("/mcp/tools/get_time")).status_code == 404
    await clock.start()
    await stack.ready(http)
    assert (await http.post("/mcp/tools/get_time")).status_code == 200


async def test_foreign_upstream_has_a_prefix_and_is_not_waited_for(stack: Any) -> None:
    clock = await stack.clock()
    gateway = await stack.gateway(
        own=f"clock={clock.url}",
        foreign=f"other={clock.url},dead=http://127.0.0.1:9/mcp",
    )
    http = await stack.http(gateway)
    await stack.ready(http)
    async with Client(gateway.url) as client:
        assert not (await client.call_tool("other__get_time")).is_error
    health = (await http.get("/health")).json()
    assert health["dependencies"]["dead"]["status"] == "error"
    assert health["status"] == "warn"


@pytest.mark.parametrize("era", ERAS)
async def test_clients_hear_that_the_list_changed(stack: Any, eventually: Any, era: Any) -> None:
    clock = await stack.clock()
    gateway = await stack.gateway(own=f"clock={clock.url}")
    await stack.ready(await stack.http(gateway))
    heard = asyncio.Event()

    async def on_message(message: Any) -> None:
        if getattr(message, "method", "") == "notifications/tools/list_changed":
            heard.set()

    async with Client(gateway.url, mode=era, message_handler=on_message) as client:
        before = {tool.name for tool in (await client.list_tools()).tools}
        if era == "legacy":
            await _change(stack, clock)
            await asyncio.wait_for(heard.wait(), 10)
        else:
            async with client.listen(tools_list_changed=True) as changes:
                await _change(stack, clock)
                await asyncio.wait_for(anext(changes), 10)
        after = {tool.name for tool in (await client.list_tools(cache_mode="refresh")).tools}
    assert after - before == {"brand_new"}


async def _change(stack: Any, clock: Any) -> None:
    """Restart the upstream as a version with one more tool."""
    make_clock = clock._make.__globals__["make_clock"]
    await clock.abort()
    clock._make = lambda: make_clock(stack.seen, extra_tool="brand_new")
    await clock.start()


async def test_rest_facade_answers_by_kind(gateway: Any, stack: Any) -> None:
    http = await stack.http(gateway)
    plain = await http.post("/mcp/tools/get_time", json={"zone": "UTC"})
    wrapped = await http.post("/mcp/tools/get_time", json={"params": {"zone": "UTC"}})
    empty = await http.post("/mcp/tools/get_time")
    own = await http.post("/mcp/tools/with_params", json={"params": "mine"})
    assert plain.json() == wrapped.json() == empty.json()
    assert plain.json() == {
        "success": True,
        "output": "noon in UTC",
        "structured": {"text": "noon in UTC", "zone": "UTC"},
        "error": None,
    }
    assert own.json()["structured"] == {"params": "mine"}


REFUSALS: list[tuple[str, Any, dict[str, str], int, str]] = [
    ("get_tim", {}, {}, 404, "tool-unknown"),
    ("get_time", {"zone": 5}, {}, 422, "arguments-invalid"),
    ("get_time", {"zones": "UTC"}, {}, 422, "arguments-invalid"),
    ("with_params", {}, {}, 422, "arguments-invalid"),
    ("get_time", [], {}, 422, "arguments-invalid"),
    ("hang", {}, {"x-deadline-ms": "300"}, 504, "deadline-exceeded"),
    ("busy", {}, {}, 429, "too-busy"),
]


@pytest.mark.parametrize("refusal", REFUSALS, ids=[f"{r[0]}-{r[4]}" for r in REFUSALS])
async def test_rest_facade_refuses_with_a_typed_problem(
    gateway: Any, stack: Any, refusal: tuple[str, Any, dict[str, str], int, str]
) -> None:
    name, body, headers, status, kind = refusal
    http = await stack.http(gateway)
    answer = await http.post(f"/mcp/tools/{name}", json=body, headers=headers)
    assert answer.status_code == status
    assert answer.json()["type"] == f"urn:problem:mcp-stack:{kind}"


async def test_metrics_count_tools_that_exist_and_no_others(gateway: Any, stack: Any) -> None:
    http = await stack.http(gateway)
    await http.post("/mcp/tools/get_time")
    await http.post("/mcp/tools/invented_by_a_model")
    text = (await http.get("/metrics")).text
    assert 'mcp_tool_executions_total{status="ok",tool_name="get_time"}' in text
    assert 'mcp_tool_execution_seconds_count{tool_name="get_time"}' in text
    assert 'mcp_upstream_up{upstream="clock"} 1.0' in text
    assert 'mcp_upstream_losses_total{upstream="clock"}' in text
    assert "invented_by_a_model" not in text


async def test_service_metrics_are_read_from_the_gateways_own(gateway: Any, stack: Any) -> None:
    http = await stack.http(gateway)
    before = _calls(await http.post("/mcp/tools/get_service_metrics"))
    await http.post("/mcp/tools/get_time")
    after = _calls(await http.post("/mcp/tools/get_service_metrics"))
    assert after["get_time"] == before.get("get_time", 0) + 1


def _calls(answer: Any) -> dict[str, int]:
    return {tool["name"]: tool["calls"] for tool in answer.json()["structured"]["tools"]}


async def test_foreign_origin_and_host_are_refused(gateway: Any, stack: Any) -> None:
    http = await stack.http(gateway)
    for headers in ({"origin": "https://evil.example"}, {"host": "evil.example"}):
        answer = await http.post("/mcp", json={}, headers=headers)
        assert answer.status_code == 403


async def test_many_calls_at_once_do_not_mix(gateway: Any) -> None:
    async with Client(gateway.url) as client:
        zones = [f"Zone/{number}" for number in range(40)]
        results = await asyncio.gather(*(client.call_tool("get_time", {"zone": z}) for z in zones))
    assert [r.structured_content and r.structured_content["zone"] for r in results] == zones
