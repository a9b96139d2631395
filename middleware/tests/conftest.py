"""A small OpenAI-like server on a real port that misbehaves on demand."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

Behaviour = Callable[["StandIn", dict[str, Any]], Response]


def chunk(delta: dict[str, Any], finish: str | None = None, **fields: Any) -> str:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    body = {"id": "x", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    return f"data: {json.dumps(body | {'choices': [choice]} | fields)}\n\n"


USAGE = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
USAGE_CHUNK = f"data: {json.dumps({'id': 'x', 'object': 'chat.completion.chunk', 'created': 1, 'model': 'm', 'choices': [], 'usage': USAGE})}\n\n"  # noqa: E501  # one event is one line
DONE = "data: [DONE]\n\n"


def call_delta(index: int, name: str, arguments: str, id_: str | None = None) -> dict[str, Any]:
    function = {"name": name, "arguments": arguments}
    return {
        "tool_calls": [
            {"index": index, "id": id_ or f"id{index}", "type": "function", "function": function}
        ]
    }


def streams(*events: str) -> Behaviour:
    """Answer with these events, whole."""

    def respond(_: "StandIn", __: dict[str, Any]) -> Response:
        return StreamingResponse(iter(events), media_type="text/event-stream")

    return respond


def says(text: str) -> Behaviour:
    half = len(text) // 2
    return streams(
        chunk({"role": "assistant", "content": ""}),
        chunk({"content": text[:half]}),
        chunk({"content": text[half:]}),
        chunk({}, "stop"),
        USAGE_CHUNK,
        DONE,
    )


def fails(status: int, message: str, **headers: str) -> Behaviour:
    def respond(_: "StandIn", __: dict[str, Any]) -> Response:
        body = {"error": {"message": message, "type": "x", "param": None, "code": None}}
        return JSONResponse(body, status_code=status, headers=headers)

    return respond


def breaks_after(*events: str) -> Behaviour:
    """Answer with these events, then break the connection."""

    async def body() -> AsyncIterator[str]:
        for event in events:
            yield event
        raise ConnectionResetError

    def respond(_: "StandIn", __: dict[str, Any]) -> Response:
        return StreamingResponse(body(), media_type="text/event-stream")

    return respond


def hangs_after(*events: str) -> Behaviour:
    """Answer with these events, then say nothing until the client hangs up."""

    def respond(stand_in: "StandIn", _: dict[str, Any]) -> Response:
        async def body() -> AsyncIterator[str]:
            try:
                for event in events:
                    yield event
                await asyncio.Event().wait()
            finally:
                stand_in.hung_up.set()

        return StreamingResponse(body(), media_type="text/event-stream")

    return respond


@dataclass
class StandIn:
    """The server; `script` holds one behaviour a request, the last one for ever."""

    script: Sequence[Behaviour] = ()
    models: Any = field(default_factory=lambda: {"object": "list", "data": [{"id": "m"}]})
    models_status: int = 200
    bodies: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    hung_up: asyncio.Event = field(default_factory=asyncio.Event)
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def app(self) -> Starlette:
        async def completions(request: Request) -> Response:
            body = await request.json()
            self.bodies.append(body)
            self.headers.append(dict(request.headers))
            return self.script[min(len(self.bodies), len(self.script)) - 1](self, body)

        async def models(request: Request) -> Response:
            self.headers.append(dict(request.headers))
            return JSONResponse(self.models, status_code=self.models_status)

        return Starlette(
            routes=[
                Route("/v1/chat/completions", completions, methods=["POST"]),
                Route("/v1/models", models),
            ]
        )


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
async def stand_in() -> AsyncIterator[StandIn]:
    server_side = StandIn()
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    server_side.port = listener.getsockname()[1]
    config = uvicorn.Config(
        server_side.app(), log_config=None, ws="none", lifespan="off", timeout_graceful_shutdown=1
    )
    server = uvicorn.Server(config)
    # Not serve(): that takes over the process's signals, which are pytest's.
    task = asyncio.ensure_future(server._serve([listener]))
    async with asyncio.timeout(5):
        while not server.started:  # noqa: ASYNC110  # uvicorn offers no event
            await asyncio.sleep(0.005)
    try:
        yield server_side
    finally:
        server.should_exit = True
        server.force_exit = True
        async with asyncio.timeout(5):
            await task
        listener.close()


@pytest.fixture(name="free_port")
def free_port_fixture() -> int:
    return free_port()


@pytest.fixture
def wire() -> Any:
    """The stand-in's vocabulary; test modules can't import one another."""

    class Wire:
        DONE = DONE
        USAGE_CHUNK = USAGE_CHUNK

    for part in (chunk, call_delta, streams, says, fails, breaks_after, hangs_after):
        setattr(Wire, part.__name__, staticmethod(part))
    return Wire
