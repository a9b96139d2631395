"""Real tool services and a real gateway, on ports of their own."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

import httpx
import pytest
import uvicorn
from fastapi import APIRouter, FastAPI
from mcp_server.app import create_app
from mcp_server.settings import McpServerSettings
from pydantic import BaseModel
from servicekit.context import current_context
from servicekit.errors import TooBusy
from servicekit.mcp_bridge import RouteTools, report_progress
from servicekit.service import build_app
from servicekit.settings import ServiceSettings, service_config
from starlette.types import ASGIApp, Receive, Scope, Send


async def _eventually(holds: Callable[[], Any], what: str = "it") -> None:
    """Wait, at most fifteen seconds, for what nothing announces."""
    try:
        async with asyncio.timeout(15):
            while True:
                answer = holds()
                if asyncio.iscoroutine(answer):
                    answer = await answer
                if answer:
                    return
                await asyncio.sleep(0.01)
    except TimeoutError:
        pytest.fail(f"{what} did not happen within 15 seconds")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Server:
    """A uvicorn in this loop that can be stopped at once, as by kill -9, and started again."""

    def __init__(self, make: Callable[[], ASGIApp], port: int | None = None) -> None:
        self._make = make
        self.port = port or _free_port()
        self._server: uvicorn.Server | None = None
        self._task: asyncio.Task[None] | None = None
        self._app: ASGIApp | None = None

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        return f"{self.base}/mcp"

    async def start(self) -> None:
        self._app = self._make()
        config = uvicorn.Config(
            self._app,
            port=self.port,
            lifespan="on",
            log_level="critical",
            ws="none",
            timeout_graceful_shutdown=1,
        )
        server = uvicorn.Server(config)
        self._server, self._task = server, asyncio.create_task(server.serve())
        await _eventually(lambda: server.started, "the server's start")

    async def abort(self) -> None:
        """Cut all connections and stop listening."""
        assert self._server is not None
        for listener in self._server.servers:
            listener.close()
        for connection in list(self._server.server_state.connections):
            connection.transport.abort()  # type: ignore[union-attr]  # httptools' protocol has one
        await self.stop()

    async def stop(self) -> None:
        if self._server is None or self._task is None:
            return
        drain = getattr(self._app, "begin_drain", None)
        if drain is not None:
            drain()
        self._server.should_exit = True
        await asyncio.wait_for(self._task, 15)
        self._server = self._task = None


class ClockSettings(ServiceSettings):
    model_config = service_config("CLOCK_TEST_")
    port: int = 1


class Clock(BaseModel):
    text: str
    zone: str


@dataclass
class Seen:
    """What the upstream's endpoints saw."""

    cancelled: list[str] = field(default_factory=list)
    running: list[str] = field(default_factory=list)


def make_clock(seen: Seen, *, extra_tool: str | None = None) -> FastAPI:  # noqa: C901  # a list of endpoints
    """A tool service as ours are: `build_app`, a tag, the bridge."""
    router = APIRouter(tags=["tool"])

    @router.get("/now", operation_id="get_time")
    async def get_time(zone: str | None = None) -> Clock:
        """Tell the time."""
        return Clock(text=f"noon in {zone or 'UTC'}", zone=zone or "UTC")

    @router.post("/steps", operation_id="steps")
    async def steps() -> dict[str, int]:
        for step in (1, 2):
            await report_progress(step, 2, f"step {step}")
        return {"steps": 2}

    @router.get("/hang", operation_id="hang")
    async def hang() -> dict[str, int]:
        seen.running.append("hang")
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            seen.cancelled.append("hang")
            raise
        return {}

    @router.get("/context", operation_id="context")
    async def context() -> dict[str, Any]:
        running = current_context()
        return {
            "request_id": running.request_id,
            "trace_id": running.traceparent.trace_id,
            "seconds": running.deadline.remaining(),
            "client_id": running.client_id,
        }

    @router.get("/busy", operation_id="busy")
    async def busy() -> dict[str, int]:
        raise TooBusy("All places are taken; try again soon.", retry_after_seconds=2)

    @router.get("/params", operation_id="with_params")
    async def with_params(params: str) -> dict[str, str]:
        return {"params": params}

    if extra_tool:

        @router.get("/extra", operation_id=extra_tool)
        async def extra() -> dict[str, bool]:
            return {"extra": True}

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield None

    return build_app(
        name="clock",
        summary="A clock",
        settings=ClockSettings(),
        lifespan=lifespan,
        routers=[router],
        mcp=RouteTools("tool"),
    )


class OlderEra:
    """Hides the 2026-07-28 era of a server, as a server of 2025 would answer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self.begin_drain = getattr(app, "begin_drain", None)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = dict(scope.get("headers", []))
        if headers.get(b"mcp-protocol-version") == b"2026-07-28":
            body = b'{"jsonrpc":"2.0","id":null,"error":{"code":-32600,"message":"Bad version"}}'
            start = {"type": "http.response.start", "status": 400}
            await send({**start, "headers": [(b"content-type", b"application/json")]})
            await send({"type": "http.response.body", "body": body})
            return
        await self._app(scope, receive, send)


class Stack:
    """Upstreams and a gateway in front of them."""

    def __init__(self, stack: AsyncExitStack) -> None:
        self._stack = stack
        self.seen = Seen()

    async def serve(self, make: Callable[[], ASGIApp]) -> Server:
        server = Server(make)
        await server.start()
        self._stack.push_async_callback(server.stop)
        return server

    async def clock(self) -> Server:
        return await self.serve(lambda: make_clock(self.seen))

    async def older_clock(self) -> Server:
        return await self.serve(lambda: OlderEra(make_clock(self.seen)))

    async def gateway(self, *, own: str = "", foreign: str = "", **more: Any) -> Server:
        settings = McpServerSettings(own_upstreams=own, upstreams=foreign, **more)
        return await self.serve(lambda: create_app(settings))

    async def http(self, server: Server) -> httpx.AsyncClient:
        client = httpx.AsyncClient(base_url=server.base, trust_env=False, timeout=20)
        return await self._stack.enter_async_context(client)

    async def ready(self, http: httpx.AsyncClient) -> None:
        async def is_ready() -> bool:
            return (await http.get("/ready")).status_code == 200

        await _eventually(is_ready, "readiness")


class Waiting(Protocol):
    async def __call__(self, holds: Callable[[], Any], what: str = "it") -> None: ...


@pytest.fixture
def eventually() -> Waiting:
    return _eventually


@pytest.fixture
async def stack() -> AsyncIterator[Stack]:
    async with AsyncExitStack() as exits:
        yield Stack(exits)
