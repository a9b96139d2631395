"""Through the real app, with a scripted sandbox."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from code_executor.app import create_app
from code_executor.settings import CodeExecutorSettings
from code_executor.testing import ScriptedSandbox
from fastapi import FastAPI
from servicekit.context import current_context
from servicekit.errors import UpstreamUnavailable
from servicekit.wire.execution import ExecuteRequest, ExecuteResult


@asynccontextmanager
async def running_client(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """Give a client of an app whose lifespan runs in a task of its own, as a server's does."""
    started: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
    ending = asyncio.Event()

    async def live() -> None:
        async with app.router.lifespan_context(app) as state:
            started.set_result(dict(state or {}))
            await ending.wait()

    async def with_state(scope: Any, receive: Any, send: Any) -> None:
        await app({**scope, "state": dict(started.result())}, receive, send)

    async with asyncio.timeout(30), asyncio.TaskGroup() as tasks:
        tasks.create_task(live())
        await started
        transport = httpx.ASGITransport(app=with_state)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            yield client
        ending.set()


@pytest.fixture
def sandbox() -> ScriptedSandbox:
    return ScriptedSandbox()


@pytest.fixture
async def client(sandbox: ScriptedSandbox) -> AsyncIterator[httpx.AsyncClient]:
    async with running_client(create_app(CodeExecutorSettings(), sandbox=sandbox)) as client:
        yield client


async def call_mcp(client: httpx.AsyncClient, name: str, arguments: dict[str, Any]) -> Any:
    meta = {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
        "io.modelcontextprotocol/clientCapabilities": {},
    }
    body = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "tools/call",
        "params": {"name": name, "arguments": arguments, "_meta": meta},
    }
    headers = {
        "accept": "application/json, text/event-stream",
        "mcp-protocol-version": "2026-07-28",
        "mcp-method": "tools/call",
        "mcp-name": name,
    }
    return (await client.post("/mcp", json=body, headers=headers)).json()["result"]


@pytest.mark.parametrize("tool", ["execute_code", "execute_python"])
async def test_code_reaches_the_sandbox_and_its_output_the_model(
    client: httpx.AsyncClient, sandbox: ScriptedSandbox, tool: str
) -> None:
    sandbox.result = ExecuteResult(status="ok", stdout="391\n", duration_ms=3.5)
    result = await call_mcp(client, tool, {"code": "print(17*23)"})
    assert result["content"][0]["text"] == "391"
    assert not result.get("isError")
    assert result["structuredContent"]["status"] == "ok"
    assert sandbox.asked[0].code == "print(17*23)"  # type: ignore[attr-defined]  # any request


async def test_plot_is_image_content_and_no_text_for_the_model(
    client: httpx.AsyncClient, sandbox: ScriptedSandbox
) -> None:
    outputs = [{"kind": "figure", "data": {"image/png": "iVBORw0KGgo="}}]
    sandbox.result = ExecuteResult.model_validate({"status": "ok", "outputs": outputs})
    result = await call_mcp(client, "execute_code", {"code": "plot()"})
    text, image = result["content"]
    assert text["text"] == "[1 picture attached]"
    assert (image["type"], image["mimeType"]) == ("image", "image/png")
    assert image["data"] == "iVBORw0KGgo="
    assert "images" not in result["structuredContent"]
    rest = (await client.post("/tools/execute_code", json={"code": "plot()"})).json()
    assert rest["images"] == [{"media_type": "image/png", "data": "iVBORw0KGgo="}]


async def test_failing_code_is_a_tool_error_that_the_model_may_correct(
    client: httpx.AsyncClient, sandbox: ScriptedSandbox
) -> None:
    error = {"type": "NameError", "message": "x", "traceback": "Traceback…\nNameError: x"}
    sandbox.result = ExecuteResult.model_validate({"status": "error", "error": error})
    result = await call_mcp(client, "execute_code", {"code": "x"})
    assert result["isError"] is True
    assert result["content"][0]["text"].endswith("NameError: x")
    rest = await client.post("/tools/execute_code", json={"code": "x"})
    assert rest.status_code == 200
    assert rest.json()["is_error"] is True


async def test_sandbox_down_is_a_problem_and_a_tool_error(
    client: httpx.AsyncClient, sandbox: ScriptedSandbox
) -> None:
    sandbox.result = UpstreamUnavailable("The sandbox does not answer; is it running?")
    rest = await client.post("/tools/execute_code", json={"code": "1"})
    assert rest.status_code == 502
    assert rest.json()["type"].endswith(":upstream-unavailable")
    result = await call_mcp(client, "execute_code", {"code": "1"})
    assert result["isError"] is True
    assert "sandbox" in result["content"][0]["text"]


@pytest.mark.parametrize(
    ("tool", "body"),
    [
        ("execute_code", {}),
        ("execute_code", {"code": ""}),
        ("execute_code", {"code": "1", "timeout_seconds": 0}),
        ("execute_code", {"code": "1", "timeout_seconds": -1}),
        ("execute_code", {"code": "1", "timeout": 5}),
        ("execute_code", {"code": 5}),
        ("execute_code", {"code": "1", "session_id": ""}),
        ("execute_code", {"code": "x" * 1_000_001}),
        ("install_package", {}),
        ("install_package", {"package": ""}),
        ("install_package", {"package": "six", "version": ""}),
        ("list_packages", {"session_id": 5}),
    ],
)
async def test_arguments_out_of_bounds_are_problems_and_never_sent(
    client: httpx.AsyncClient, sandbox: ScriptedSandbox, tool: str, body: dict[str, Any]
) -> None:
    response = await client.post(f"/tools/{tool}", json=body)
    assert response.status_code == 422
    assert response.headers["content-type"].startswith("application/problem+json")
    assert sandbox.asked == []


async def test_install_and_list_answer_in_words(client: httpx.AsyncClient) -> None:
    done = await call_mcp(client, "install_package", {"package": "six"})
    assert done["content"][0]["text"] == "Installed six 1.17.0."
    assert done["structuredContent"]["version"] == "1.17.0"
    for arguments in ({}, {"session_id": None}):
        found = await call_mcp(client, "list_packages", arguments)
        assert found["content"][0]["text"] == "1 package is installed:\nsix 1.17.0"


async def test_structured_output_is_bounded_as_the_text_is(
    client: httpx.AsyncClient, sandbox: ScriptedSandbox
) -> None:
    sandbox.result = ExecuteResult(status="output", stdout="x" * 1_000_000, stderr="y" * 100_000)
    result = await call_mcp(client, "execute_code", {"code": "1"})
    assert len(str(result)) < 40_000


async def test_tools_are_these(client: httpx.AsyncClient) -> None:
    document = (await client.get("/openapi.json")).json()
    tools = {
        operation["operationId"]
        for path in document["paths"].values()
        for operation in path.values()
        if "tool" in operation.get("tags", [])
    }
    assert tools == {"execute_code", "execute_python", "install_package", "list_packages"}


async def test_run_that_the_deadline_ended_is_504_and_keeps_what_was_printed(
    client: httpx.AsyncClient, sandbox: ScriptedSandbox
) -> None:
    sandbox.result = ExecuteResult(
        status="timeout", stdout="tick\n", duration_ms=1350, deadline_exceeded=True
    )

    response = await client.post("/tools/execute_code", json={"code": "1", "timeout_seconds": 60})

    problem = response.json()
    assert response.status_code == 504
    assert problem["type"] == "urn:problem:mcp-stack:deadline-exceeded"
    assert "after 1.35 s" in problem["detail"]
    assert problem["stdout"] == "tick\n"


class HangingSandbox(ScriptedSandbox):
    """Never answers; says whether it was let go."""

    def __init__(self) -> None:
        super().__init__()
        self.started = asyncio.Event()
        self.was_cancelled = False

    async def execute(self, request: ExecuteRequest) -> ExecuteResult:
        self.asked.append(request)
        self.started.set()
        try:
            return await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            self.was_cancelled = True
            raise


async def test_caller_that_hangs_up_ends_the_run() -> None:
    sandbox = HangingSandbox()
    app = create_app(CodeExecutorSettings(), sandbox=sandbox)
    messages = iter([{"type": "http.request", "body": b'{"code": "1"}', "more_body": False}])
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": "/tools/execute_code",
        "raw_path": b"/tools/execute_code",
        "query_string": b"",
        "root_path": "",
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
        "headers": [
            (b"host", b"localhost"),
            (b"content-type", b"application/json"),
            (b"content-length", b"13"),
        ],
    }

    async def receive() -> dict[str, Any]:
        if message := next(messages, None):
            return message
        await sandbox.started.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        pass  # nobody listens

    async with app.router.lifespan_context(app) as state, asyncio.timeout(10):
        await app({**scope, "state": dict(state or {})}, receive, send)
    assert sandbox.was_cancelled


class Attentive(ScriptedSandbox):
    """Notes for whom it is asked."""

    def __init__(self) -> None:
        super().__init__()
        self.callers: list[str | None] = []

    async def execute(self, request: ExecuteRequest) -> ExecuteResult:
        self.callers.append(current_context().client_id)
        return await super().execute(request)


async def test_sandbox_is_told_who_asks_also_where_nobody_said_it() -> None:
    attentive = Attentive()
    async with running_client(create_app(CodeExecutorSettings(), sandbox=attentive)) as client:
        for headers in ({}, {}, {"x-client-id": "ada"}):
            await client.post("/tools/execute_code", json={"code": "1"}, headers=headers)
    first, second, third = attentive.callers
    assert first == second is not None
    assert third == "ada"
