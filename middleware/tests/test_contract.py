"""One suite for the fakes and the real adapters, so that the fakes can't lie."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from middleware.adapters.llm import OpenAiChatModel, Sampling
from middleware.adapters.toolbox import GatewayToolbox
from middleware.conversation import ModelAnswer, ModelRequest, ToolResult, UserMessage
from middleware.endpoint import Endpoint
from middleware.errors import GatewayUnreachable, LlmBusy, LlmModelNotFound, ToolUnknown
from middleware.ports import ChatModel, Toolbox
from middleware.testing import ScriptedModel, calls, says, tool, toolbox_of
from servicekit.deadline import Deadline
from servicekit.mcp_client import McpClient
from servicekit.outbound import internal_client

CLOCK = tool("clock", {"zone": {"type": "string"}}, description="The time")
REQUEST = ModelRequest((UserMessage("What time is it?"),), (CLOCK,))


def in_words(answer: ModelAnswer) -> tuple[Any, ...]:
    """What the turn looks at; ids and token counts are each server's own."""
    made = [(call.name, call.arguments_text) for call in answer.calls]
    return answer.text, made, answer.finish_reason, answer.is_empty


@asynccontextmanager
async def fake_model(kind: str) -> AsyncIterator[ChatModel]:
    replies: dict[str, Any] = {
        "words": says("Noon."),
        "call": calls(("clock", "{}")),
        "empty": says(""),
        "busy": LlmBusy("Busy."),
    }
    failure = LlmModelNotFound("Not there.") if kind == "missing" else None
    yield ScriptedModel([replies.get(kind, says("x"))], failure=failure)


@pytest.fixture(params=["fake", "real"])
def model_of(request, stand_in, wire):
    @asynccontextmanager
    async def real(kind: str) -> AsyncIterator[ChatModel]:
        behaviours = {
            "words": wire.says("Noon."),
            "call": wire.streams(
                wire.chunk(wire.call_delta(0, "clock", "{}")),
                wire.chunk({}, "tool_calls"),
                wire.DONE,
            ),
            "empty": wire.streams(wire.chunk({"content": ""}), wire.chunk({}, "stop"), wire.DONE),
            "busy": wire.fails(503, "busy"),
        }
        stand_in.script = [behaviours.get(kind, wire.says("x"))]
        name = "gone" if kind == "missing" else "m"
        async with internal_client(stand_in.url) as client:
            yield OpenAiChatModel(Endpoint("configured", stand_in.url, name), Sampling(), client)

    return real if request.param == "real" else fake_model


@pytest.mark.parametrize(
    ("kind", "seen"),
    [
        ("words", ("Noon.", [], "stop", False)),
        ("call", ("", [("clock", "{}")], "tool_calls", False)),
        ("empty", ("", [], "stop", True)),
    ],
)
async def test_model_answers(model_of, kind, seen):
    async with model_of(kind) as model:
        assert in_words(await model.answer(REQUEST, Deadline.after(5))) == seen
        await model.check()


async def test_model_that_refuses_raises_its_type(model_of):
    async with model_of("busy") as model:
        with pytest.raises(LlmBusy):
            await model.answer(REQUEST, Deadline.after(0.8))


async def test_model_that_is_missing_fails_its_check(model_of):
    async with model_of("missing") as model:
        with pytest.raises(LlmModelNotFound):
            await model.check()


def handler(arguments: dict[str, Any]) -> ToolResult:
    if arguments.get("zone") == "Mars":
        return ToolResult("No such zone.", is_error=True)
    return ToolResult("noon", structured={"hour": 12})


@asynccontextmanager
async def fake_toolbox(*, is_down: bool = False) -> AsyncIterator[Toolbox]:
    toolbox = toolbox_of((CLOCK, handler))
    toolbox.failure = GatewayUnreachable("Down.") if is_down else None
    yield toolbox


@asynccontextmanager
async def real_toolbox(*, is_down: bool = False) -> AsyncIterator[Toolbox]:
    async def gateway(request: httpx.Request) -> httpx.Response:
        if is_down:
            raise httpx.ConnectError("refused")
        body = json.loads(request.content)
        params = body["params"]
        answer: dict[str, Any]
        if body["method"] == "tools/list":
            shape = {"name": CLOCK.name, "description": CLOCK.description}
            answer = {"result": {"tools": [{**shape, "inputSchema": dict(CLOCK.input_schema)}]}}
        elif params["name"] != CLOCK.name:
            data = {"type": "urn:problem:mcp-stack:tool-unknown", "status": 404, "detail": "No."}
            answer = {"error": {"code": -32602, "message": "No.", "data": data}}
        else:
            result = handler(params["arguments"])
            answer = {
                "result": {
                    "content": [{"type": "text", "text": result.text}],
                    "structuredContent": result.structured,
                    "isError": result.is_error,
                }
            }
        return httpx.Response(200, json={"jsonrpc": "2.0", "id": body["id"], **answer})

    async with httpx.AsyncClient(transport=httpx.MockTransport(gateway)) as http:
        client = McpClient("http://gateway/mcp", peer="mcp-server", http=http)
        yield GatewayToolbox(client, refresh_seconds=5)


@pytest.fixture(params=[fake_toolbox, real_toolbox], ids=["fake", "real"])
def toolbox_at(request):
    return request.param


async def test_toolbox_lists_and_calls(toolbox_at):
    async with toolbox_at() as toolbox:
        assert await toolbox.tools(Deadline.after(5)) == (CLOCK,)
        await toolbox.check()
        good = await toolbox.call("clock", {}, Deadline.after(5))
        bad = await toolbox.call("clock", {"zone": "Mars"}, Deadline.after(5))
    assert good == ToolResult("noon", {"hour": 12}, is_error=False)
    assert bad == ToolResult("No such zone.", None, is_error=True)


async def test_toolbox_says_when_a_tool_is_unknown(toolbox_at):
    async with toolbox_at() as toolbox:
        with pytest.raises(ToolUnknown):
            await toolbox.call("sundial", {}, Deadline.after(5))


async def test_toolbox_says_when_the_gateway_is_down(toolbox_at):
    async with toolbox_at(is_down=True) as toolbox:
        with pytest.raises(GatewayUnreachable):
            await toolbox.tools(Deadline.after(0.5))
        with pytest.raises(GatewayUnreachable):
            await toolbox.check()
