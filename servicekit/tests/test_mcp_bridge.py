"""FastAPI endpoints as MCP tools: over the wire, with the SDK's client, in both eras."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
import uvicorn
from fastapi import APIRouter, FastAPI, Request
from mcp import Client
from mcp.shared.exceptions import MCPError
from mcp.types import CallToolResult, ImageContent, TextContent
from prometheus_client import REGISTRY
from pydantic import BaseModel, ConfigDict, Field
from servicekit.context import current_context, new_context, outgoing_meta, use_context
from servicekit.errors import StackError, TooBusy
from servicekit.mcp_bridge import Bridge, RouteTools, report_progress
from servicekit.mcp_mount import McpMount
from servicekit.problems import problem_response
from servicekit.tool_call_result import META_PROBLEM

ERAS = ("legacy", "2026-07-28")


class Clock(BaseModel):
    text: str
    zone: str


class Cell(BaseModel):
    model_config = ConfigDict(extra="forbid")
    code: str
    seconds: float | None = Field(None, gt=0)


class Outcome(BaseModel):
    text: str
    is_error: bool


router = APIRouter(tags=["tool"])
seen_cancelled: list[str] = []


@router.get("/now", operation_id="get_time")
async def get_time(request: Request, zone: str | None = None) -> Clock:
    """Tell the time in a zone."""
    return Clock(text=f"noon in {zone or request.state.zone}", zone=zone or request.state.zone)


@router.get("/items/{item_id}", operation_id="get_item")
async def get_item(item_id: str) -> dict[str, str]:
    return {"id": item_id}


@router.post(
    "/run", operation_id="run", openapi_extra={"x-mcp-annotations": {"openWorldHint": False}}
)
async def run(cell: Cell) -> Outcome:
    return Outcome(text=f"ran {cell.code}", is_error="raise" in cell.code)


class Image(BaseModel):
    media_type: str
    data: str


class Drawing(BaseModel):
    text: str
    images: tuple[Image, ...] = ()


@router.post("/draw", operation_id="draw")
async def draw(count: int = 2) -> Drawing:
    images = [Image(media_type="image/png", data=f"aGk{n}") for n in range(count)]
    return Drawing(text="drawn", images=tuple(images))


@router.post("/busy", operation_id="busy")
async def busy() -> Outcome:
    raise TooBusy("All places are taken; try again soon.", retry_after_seconds=2)


@router.post("/crash", operation_id="crash")
async def crash() -> Outcome:
    raise RuntimeError("secret internals")


@router.post("/steps", operation_id="steps")
async def steps() -> dict[str, int]:
    for step in (1, 2, 3):
        await report_progress(step, 3, f"step {step}")
    return {"steps": 3}


@router.get("/hang", operation_id="hang")
async def hang() -> dict[str, int]:
    try:
        await asyncio.sleep(60)
    except asyncio.CancelledError:
        seen_cancelled.append("hang")
        raise
    return {}


@router.get("/context", operation_id="context")
async def context() -> dict[str, Any]:
    running = current_context()
    return {
        "request_id": running.request_id,
        "trace_id": running.traceparent.trace_id,
        "seconds": running.deadline.remaining(),
    }


@router.get("/whoami", operation_id="whoami")
async def whoami(request: Request) -> dict[str, str | None]:
    names = ("authorization", "cookie", "x-request-id")
    return {name: request.headers.get(name) for name in names}


def make_app() -> tuple[FastAPI, McpMount]:
    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[dict[str, str]]:
        async with mount.run():
            yield {"zone": "UTC"}

    app = FastAPI(title="clock", version="1", lifespan=lifespan)
    app.include_router(router)

    @app.get("/admin/secret", operation_id="secret")
    async def secret() -> dict[str, int]:
        return {"secret": 42}

    @app.exception_handler(StackError)
    async def on_error(_: Request, error: StackError) -> Any:
        return problem_response(error, current_context().request_id)

    mount = RouteTools("tool", "Tells the time.").mount(app)
    return app, mount


async def eventually(holds: Callable[[], bool]) -> None:
    """Wait, at most ten seconds, for what nothing announces."""
    async with asyncio.timeout(10):
        while not holds():  # noqa: ASYNC110  # neither uvicorn nor a cancelled endpoint has an event
            await asyncio.sleep(0.005)


@asynccontextmanager
async def serving(app: FastAPI) -> AsyncIterator[str]:
    config = uvicorn.Config(
        app, port=0, lifespan="on", log_level="error", timeout_graceful_shutdown=1, ws="none"
    )
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve())
    try:
        await eventually(lambda: server.started)
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        await asyncio.wait_for(task, 10)


@pytest.fixture
async def url() -> AsyncIterator[str]:
    seen_cancelled.clear()
    app, _ = make_app()
    async with serving(app) as base:
        yield f"{base}/mcp"


def text_of(result: CallToolResult) -> str:
    (content,) = result.content
    assert isinstance(content, TextContent)
    return content.text


def problem_in(result: CallToolResult) -> dict[str, Any]:
    assert result.meta is not None
    problem: dict[str, Any] = result.meta[META_PROBLEM]
    return problem


@pytest.mark.parametrize("era", ERAS)
async def test_only_tagged_routes_become_tools_with_schemas(url: str, era: Any) -> None:
    async with Client(url, mode=era) as client:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
    assert "secret" not in tools
    assert tools["get_time"].description == "Tell the time in a zone."
    assert tools["get_time"].input_schema["additionalProperties"] is False
    assert tools["get_time"].output_schema is not None
    assert set(tools["get_time"].output_schema["required"]) == {"text", "zone"}
    assert tools["run"].input_schema["required"] == ["code"]
    assert tools["run"].annotations is not None
    assert tools["run"].annotations.open_world_hint is False


@pytest.mark.parametrize("era", ERAS)
async def test_text_field_is_the_content_and_the_object_is_structured(url: str, era: Any) -> None:
    async with Client(url, mode=era) as client:
        result = await client.call_tool("get_time", {"zone": "Asia/Tokyo"})
        without = await client.call_tool("get_time")
        null = await client.call_tool("get_time", {"zone": None})
    assert text_of(result) == "noon in Asia/Tokyo"
    assert result.structured_content == {"text": "noon in Asia/Tokyo", "zone": "Asia/Tokyo"}
    assert text_of(without) == text_of(null) == "noon in UTC"


@pytest.mark.parametrize("era", ERAS)
async def test_images_are_content_of_their_own_and_not_in_the_structured_object(
    url: str, era: Any
) -> None:
    async with Client(url, mode=era) as client:
        result = await client.call_tool("draw", {})
        assert isinstance(result, CallToolResult)
        text, *images = result.content
        assert text == TextContent(text="drawn")
        assert images == [ImageContent(data=f"aGk{n}", mime_type="image/png") for n in range(2)]
        assert result.structured_content == {"text": "drawn"}
        none = await client.call_tool("draw", {"count": 0})
    assert isinstance(none, CallToolResult)
    assert none.structured_content == {"text": "drawn", "images": []}


@pytest.mark.parametrize("era", ERAS)
async def test_is_error_field_makes_a_tool_error(url: str, era: Any) -> None:
    async with Client(url, mode=era) as client:
        good = await client.call_tool("run", {"code": "1"})
        bad = await client.call_tool("run", {"code": "raise", "seconds": None})
    assert (good.is_error, bad.is_error) == (False, True)
    assert bad.structured_content == {"text": "ran raise", "is_error": True}


@pytest.mark.parametrize(
    ("name", "arguments", "needle"),
    [
        ("run", {}, "'code' is a required property"),
        ("run", {"code": 5}, "code: 5 is not of type 'string'"),
        ("run", {"code": "1", "seconds": 0}, "seconds: "),
        ("run", {"code": "1", "sudo": True}, "'sudo' was unexpected"),
        ("get_time", {"zones": "UTC"}, "'zones' was unexpected"),
        ("get_time", {"zone": 7}, "zone: 7 is not of type 'string' or 'null'"),
    ],
)
async def test_arguments_outside_the_schema_are_named(
    url: str, name: str, arguments: dict[str, Any], needle: str
) -> None:
    async with Client(url) as client:
        result = await client.call_tool(name, arguments)
    assert result.is_error
    assert needle in text_of(result)
    assert problem_in(result)["type"].endswith(":arguments-invalid")


def timed(tool: str, error_type: str) -> float:
    labels = {"mcp_method_name": "tools/call", "gen_ai_tool_name": tool, "error_type": error_type}
    name = "mcp_server_operation_duration_seconds_count"
    return REGISTRY.get_sample_value(name, labels) or 0.0


@pytest.mark.parametrize("era", ERAS)
async def test_calls_are_timed_by_tool_and_by_how_they_ended(url: str, era: Any) -> None:
    cases = (("run", ""), ("run", "tool_error"), ("", "-32602"))
    before = [timed(*case) for case in cases]
    async with Client(url, mode=era) as client:
        await client.call_tool("run", {"code": "1"})
        await client.call_tool("run", {"code": "raise"})
        with pytest.raises(MCPError):
            await client.call_tool("rum", {})
    assert [timed(*case) for case in cases] == [each + 1 for each in before]


@pytest.mark.parametrize("era", ERAS)
async def test_unknown_tool_is_a_protocol_error_that_names_the_nearest(url: str, era: Any) -> None:
    async with Client(url, mode=era) as client:
        with pytest.raises(MCPError) as caught:
            await client.call_tool("get_tim")
    assert caught.value.code == -32602
    assert "get_time" in str(caught.value)


@pytest.mark.parametrize("item", ["b?c=d#e", "%2e%2e", "%2F", "ü x", "...a"])
async def test_path_arguments_stay_one_segment(url: str, item: str) -> None:
    async with Client(url) as client:
        result = await client.call_tool("get_item", {"item_id": item})
    assert result.structured_content == {"id": item}


@pytest.mark.parametrize("item", ["", ".", "..", "../admin/secret", "5/delete"])
async def test_path_arguments_that_would_leave_their_route_are_refused(url: str, item: str) -> None:
    async with Client(url) as client:
        result = await client.call_tool("get_item", {"item_id": item})
    assert problem_in(result)["type"].endswith(":arguments-invalid")


async def test_problem_documents_become_tool_errors(url: str) -> None:
    async with Client(url) as client:
        busy_result = await client.call_tool("busy")
        crash_result = await client.call_tool("crash")
    assert busy_result.is_error
    assert text_of(busy_result) == "All places are taken; try again soon."
    assert problem_in(busy_result)["status"] == 429
    assert busy_result.structured_content is None
    assert crash_result.is_error
    assert "secret internals" not in str(crash_result)


@pytest.mark.parametrize("era", ERAS)
async def test_progress_reaches_the_caller(url: str, era: Any) -> None:
    seen: list[tuple[float, float | None, str | None]] = []

    async def on_progress(progress: float, total: float | None, message: str | None) -> None:
        seen.append((progress, total, message))

    async with Client(url, mode=era) as client:
        await client.call_tool("steps", progress_callback=on_progress)
    assert seen == [(1, 3, "step 1"), (2, 3, "step 2"), (3, 3, "step 3")]


@pytest.mark.parametrize("era", ERAS)
async def test_cancelling_the_call_cancels_the_endpoint(url: str, era: Any) -> None:
    async with Client(url, mode=era) as client:
        call = asyncio.create_task(client.call_tool("hang"))
        await asyncio.sleep(0.2)  # the request has to be on its way; nothing announces it
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
        await eventually(lambda: seen_cancelled == ["hang"])


@pytest.mark.parametrize("era", ERAS)
async def test_meta_carries_id_trace_and_deadline(url: str, era: Any) -> None:
    with use_context(new_context(7)) as mine:
        async with Client(url, mode=era) as client:
            result = await client.call_tool("context", meta=outgoing_meta())  # type: ignore[arg-type]  # an open TypedDict
    assert result.structured_content is not None
    assert result.structured_content["request_id"] == mine.request_id
    assert result.structured_content["trace_id"] == mine.traceparent.trace_id
    assert 5 < result.structured_content["seconds"] <= 7


@pytest.mark.parametrize("era", ERAS)
async def test_each_legacy_request_has_a_context_of_its_own(url: str, era: Any) -> None:
    async with Client(url, mode=era) as client:
        first = await client.call_tool("context")
        second = await client.call_tool("context")
    assert first.structured_content is not None
    assert second.structured_content is not None
    assert first.structured_content["request_id"] != second.structured_content["request_id"]


async def test_spent_deadline_ends_the_call_as_a_typed_error(url: str) -> None:
    async with Client(url) as client:
        result = await client.call_tool("hang", meta={"mcp-stack/deadline-ms": 50})  # type: ignore[typeddict-unknown-key]  # an open map
    assert problem_in(result)["type"].endswith(":deadline-exceeded")
    await eventually(lambda: seen_cancelled == ["hang"])


async def test_only_allowed_headers_reach_the_endpoint(url: str) -> None:
    body = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "tools/call",
        "params": {
            "name": "whoami",
            "arguments": {},
            "_meta": {
                "io.modelcontextprotocol/protocolVersion": "2026-07-28",
                "io.modelcontextprotocol/clientCapabilities": {},
            },
        },
    }
    headers = {
        "mcp-protocol-version": "2026-07-28",
        "mcp-method": "tools/call",
        "mcp-name": "whoami",
        "accept": "application/json, text/event-stream",
        "authorization": "Bearer mine",
        "cookie": "session=1",
    }
    async with httpx.AsyncClient(trust_env=False) as http:
        answer = (await http.post(url, json=body, headers=headers)).json()
    seen = answer["result"]["structuredContent"]
    assert seen["authorization"] == "Bearer mine"
    assert seen["cookie"] is None
    assert seen["x-request-id"]


INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {
        "protocolVersion": "2025-11-25",
        "capabilities": {},
        "clientInfo": {"name": "forgetful", "version": "1"},
    },
}


async def test_forgotten_sessions_give_way_to_new_ones() -> None:
    app, _ = make_app()
    bounded = McpMount(RouteTools("tool", path="/x").mount(app).server, max_sessions=3)
    bounded.attach(app, "/bounded")
    async with serving(app) as base, bounded.run(), httpx.AsyncClient(trust_env=False) as http:
        headers = {"accept": "application/json, text/event-stream"}
        sessions = []
        for _ in range(6):
            answer = await http.post(f"{base}/bounded", json=INITIALIZE, headers=headers)
            assert answer.status_code == 200
            sessions.append(answer.headers["mcp-session-id"])
        assert len(bounded.session_ids) == 3
        ping = {"jsonrpc": "2.0", "id": 2, "method": "ping"}
        old, new = [
            await http.post(
                f"{base}/bounded", json=ping, headers=headers | {"mcp-session-id": session}
            )
            for session in (sessions[0], sessions[-1])
        ]
    assert (old.status_code, new.status_code) == (404, 200)


async def test_mount_answers_503_outside_of_its_run() -> None:
    app, mount = make_app()
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app)) as http:
        answer = await http.post("http://localhost/mcp", json=INITIALIZE)
    assert answer.status_code == 503
    assert not mount.session_ids


async def test_listening_client_does_not_hold_up_a_drain() -> None:
    app, mount = make_app()
    async with (
        serving(app) as base,
        Client(f"{base}/mcp") as client,
        client.listen(tools_list_changed=True) as stream,
    ):
        mount.close_streams()
        async with asyncio.timeout(5):
            assert [event async for event in stream] == []
        with pytest.raises(MCPError):
            async with client.listen(tools_list_changed=True):
                pass
        assert not (await client.call_tool("get_time")).is_error


async def test_news_stream_of_an_older_client_does_not_hold_up_a_drain() -> None:
    app, mount = make_app()
    headers = {"accept": "application/json, text/event-stream"}
    async with serving(app) as base, httpx.AsyncClient(base_url=base, trust_env=False) as http:
        answer = await http.post("/mcp", json=INITIALIZE, headers=headers)
        headers["mcp-session-id"] = answer.headers["mcp-session-id"]
        async with http.stream("GET", "/mcp", headers=headers) as news:
            assert news.status_code == 200
            mount.close_streams()
            async with asyncio.timeout(5):
                assert [line async for line in news.aiter_lines()] == []
        assert (await http.get("/mcp", headers=headers)).status_code == 503


async def test_value_too_long_for_an_address_is_the_callers_error() -> None:
    app = FastAPI()

    @app.get("/find", operation_id="find", tags=["tool"])
    async def find(what: str) -> dict[str, str]:
        return {"what": what}

    bridge = Bridge(app, name="finder", version="1", tag="tool")
    result = await bridge.call("find", {"what": "x" * 70_000}, headers={}, state=None)
    assert result.is_error
    assert "too long" in result.content[0].text
