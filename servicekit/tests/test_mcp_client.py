"""The light MCP client against a peer that answers exactly the bytes of a script."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from servicekit.context import new_context, use_context
from servicekit.errors import DeadlineExceeded, StackError, UpstreamUnavailable
from servicekit.mcp_client import McpClient
from servicekit.rpc import RpcError
from servicekit.tool_call_result import ToolCallResult


class Seen:
    """What the peer received, and whether the client left before the end."""

    def __init__(self) -> None:
        self.headers: dict[str, str] = {}
        self.body: dict[str, Any] = {}
        self.hung_up = asyncio.Event()


Script = Callable[[Seen, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def peer(script: Script) -> AsyncIterator[tuple[McpClient, Seen]]:
    seen = Seen()
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        seen.headers = dict(
            line.lower().split(": ", 1) for line in head.split("\r\n")[1:] if ": " in line
        )
        length = int(seen.headers["content-length"])
        seen.body = json.loads(await reader.readexactly(length))

        async def watch() -> None:
            await reader.read()
            seen.hung_up.set()

        watcher = asyncio.create_task(watch())
        tasks.add(watcher)
        await script(seen, writer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        async with (
            asyncio.timeout(20),
            McpClient(f"http://127.0.0.1:{port}/mcp", peer="clock") as c,
        ):
            yield c, seen
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def http(body: bytes, *, status: str = "200 OK", kind: str = "application/json") -> bytes:
    head = f"HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {len(body)}\r\n\r\n"
    return head.encode() + body


def answer(seen: Seen, **members: Any) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": seen.body["id"], **members}).encode()


def event(message: bytes) -> bytes:
    return b"event: message\r\ndata: " + message + b"\r\n\r\n"


SSE_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"
RESULT = {
    "content": [{"type": "text", "text": "noon"}, {"type": "image", "data": "", "mimeType": "i"}]
}


def plain(**members: Any) -> Script:
    async def script(seen: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(http(answer(seen, **members)))

    return script


def raw(payload: bytes) -> Script:
    async def script(_: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(payload)

    return script


async def silent(seen: Seen, _: asyncio.StreamWriter) -> None:
    await seen.hung_up.wait()


async def test_request_carries_the_eras_headers_and_the_running_context() -> None:
    async with peer(plain(result=RESULT)) as (client, seen):
        with use_context(new_context(9)) as mine:
            await client.call_tool("get_tïme", {"zone": "UTC"})
    assert seen.headers["mcp-protocol-version"] == "2026-07-28"
    assert seen.headers["mcp-method"] == "tools/call"
    assert seen.headers["mcp-name"].startswith("=?base64?")
    meta = seen.body["params"]["_meta"]
    assert meta["io.modelcontextprotocol/protocolVersion"] == "2026-07-28"
    assert meta["mcp-stack/request-id"] == mine.request_id
    assert 8000 < meta["mcp-stack/deadline-ms"] <= 9000
    assert seen.body["params"]["arguments"] == {"zone": "UTC"}


async def test_result_is_parsed_into_texts_structure_and_blocks() -> None:
    async with peer(plain(result={**RESULT, "structuredContent": {"h": 12}})) as (client, _):
        result = await client.call_tool("get_time")
    assert (result.text, result.structured, result.is_error) == ("noon", {"h": 12}, False)
    assert [block["type"] for block in result.content] == ["text", "image"]


async def test_problem_of_a_failed_tool_is_read_from_meta() -> None:
    problem = {"type": "urn:problem:mcp-stack:too-busy", "status": 429, "detail": "later"}
    failed = {"content": [], "isError": True, "_meta": {"mcp-stack/problem": problem}}
    async with peer(plain(result=failed)) as (client, _):
        result = await client.call_tool("run")
    assert result.is_error
    assert result.problem is not None
    assert (result.problem.type, result.problem.status) == ("too-busy", 429)


@pytest.mark.parametrize("cut", [1, 7, 40, 10_000])
async def test_streamed_progress_comes_before_the_answer(cut: int) -> None:
    """However the bytes are cut."""
    steps: list[tuple[float, float | None, str | None]] = []

    async def script(seen: Seen, writer: asyncio.StreamWriter) -> None:
        token = seen.body["params"]["_meta"]["progressToken"]
        note = {
            "jsonrpc": "2.0",
            "method": "notifications/progress",
            "params": {"progressToken": token, "progress": 1, "total": 2, "message": "ha—lf"},
        }
        stream = b": ping\r\n\r\n" + event(json.dumps(note, ensure_ascii=False).encode())
        stream += event(answer(seen, result=RESULT))
        writer.write(SSE_HEAD)
        for start in range(0, len(stream), cut):
            writer.write(stream[start : start + cut])
            await writer.drain()

    async def on_progress(progress: float, total: float | None, message: str | None) -> None:
        steps.append((progress, total, message))

    async with peer(script) as (client, _):
        result = await client.call_tool("slow", on_progress=on_progress)
    assert steps == [(1, 2, "ha—lf")]
    assert result.text == "noon"


@pytest.mark.parametrize(
    ("payload", "needle"),
    [
        (b"", "does not answer"),
        (SSE_HEAD + b": ping\r\n\r\n", "hung up"),
        (SSE_HEAD + b"data: {}\r\n\r\ndata: [1]\r\n\r\n", "no JSON-RPC"),
        (http(b"<html>"), "no JSON-RPC"),
        (http(b"<html>", status="500 Oops"), "HTTP 500"),
        (http(b'{"result": {}}'), "hung up"),
    ],
)
async def test_nonsense_is_an_unavailable_upstream(payload: bytes, needle: str) -> None:
    async with peer(raw(payload)) as (client, _):
        with pytest.raises(UpstreamUnavailable, match=needle):
            await client.call_tool("get_time")


async def test_result_without_content_is_an_unavailable_upstream() -> None:
    async with peer(plain(result={"resultType": "input_required"})) as (client, _):
        with pytest.raises(UpstreamUnavailable, match="without content"):
            await client.call_tool("get_time")


async def test_closed_port_is_an_unavailable_upstream() -> None:
    async with peer(silent) as (_, __):
        pass
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    async with McpClient(f"http://127.0.0.1:{port}/mcp", peer="clock") as client:
        with pytest.raises(UpstreamUnavailable, match="clock does not answer"):
            await client.list_tools()


async def test_silence_ends_with_the_deadline_and_closes_the_stream() -> None:
    async with peer(silent) as (client, seen):
        with use_context(new_context(0.2)), pytest.raises(DeadlineExceeded):
            await client.call_tool("hang")
        await seen.hung_up.wait()


async def test_cancelling_closes_the_stream() -> None:
    async with peer(silent) as (client, seen):
        call = asyncio.create_task(client.call_tool("hang"))
        async with asyncio.timeout(5):
            while not seen.body:  # noqa: ASYNC110  # the scripted peer has no event for a read head
                await asyncio.sleep(0.005)
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
        await seen.hung_up.wait()


@pytest.mark.parametrize(
    ("error", "kind", "status"),
    [
        ({"code": -32602, "message": "bad"}, "invalid-request", 400),
        ({"code": -32601, "message": "no"}, "not-found", 404),
        ({"code": -32005, "message": "busy"}, "too-busy", 429),
        ({"code": -32001, "message": "down"}, "upstream-unavailable", 502),
        ({"code": -1, "message": "?"}, "upstream-unavailable", 502),
        (
            {
                "code": -32602,
                "message": "no tool",
                "data": {
                    "type": "urn:problem:mcp-stack:tool-unknown",
                    "title": "Unknown tool",
                    "status": 404,
                    "detail": "Did you mean get_time?",
                },
            },
            "tool-unknown",
            404,
        ),
    ],
)
async def test_rpc_errors_become_typed_errors(
    error: dict[str, Any], kind: str, status: int
) -> None:
    async with peer(plain(error=error)) as (client, _):
        with pytest.raises(StackError) as caught:
            await client.call_tool("get_time")
    assert (caught.value.type, caught.value.http_status) == (kind, status)


async def test_problem_from_the_layers_before_mcp_keeps_its_type() -> None:
    body = json.dumps(
        {"type": "urn:problem:mcp-stack:forbidden-caller", "status": 403, "detail": "no"}
    ).encode()
    payload = http(body, status="403 Forbidden", kind="application/problem+json")
    async with peer(raw(payload)) as (client, _):
        with pytest.raises(StackError) as caught:
            await client.list_tools()
    assert (caught.value.type, caught.value.http_status) == ("forbidden-caller", 403)


async def test_raw_request_leaves_the_rpc_error_as_it_stands() -> None:
    async with peer(plain(error={"code": -32601, "message": "no", "data": 7})) as (client, _):
        with pytest.raises(RpcError) as caught:
            await client.request("server/discover")
    assert (caught.value.code, caught.value.message, caught.value.data) == (-32601, "no", 7)


async def test_listening_yields_changes_until_the_stream_ends() -> None:
    async def script(seen: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(SSE_HEAD)
        for method in ("subscriptions/acknowledged", "tools/list_changed"):
            note = {"jsonrpc": "2.0", "method": f"notifications/{method}"}
            writer.write(event(json.dumps(note).encode()))
        writer.write(event(answer(seen, result={})))

    async with (
        peer(script) as (client, seen),
        client.listen(wanted={"toolsListChanged": True}) as changes,
    ):
        assert [change.method async for change in changes] == ["notifications/tools/list_changed"]
    assert seen.body["params"]["notifications"] == {"toolsListChanged": True}


async def test_listening_to_a_peer_that_dies_raises() -> None:
    async def script(_: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n")
        writer.write(b"transfer-encoding: chunked\r\n\r\n")
        note = {"jsonrpc": "2.0", "method": "notifications/subscriptions/acknowledged"}
        data = event(json.dumps(note).encode())
        writer.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
        await writer.drain()
        writer.transport.abort()

    async with (
        peer(script) as (client, _),
        client.listen(wanted={"toolsListChanged": True}) as changes,
    ):
        with pytest.raises(UpstreamUnavailable):
            await anext(changes)


@pytest.mark.parametrize("result", [{}, {"content": "text"}, {"content": ["text"]}])
def test_tool_result_without_blocks_is_refused(result: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="without content"):
        ToolCallResult.parse(result)
