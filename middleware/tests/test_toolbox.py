"""The toolbox adapter against an MCP server that answers what a script says."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from middleware.adapters.toolbox import GatewayToolbox, mcp_endpoint
from middleware.errors import (
    GatewayTimeout,
    GatewayUnreachable,
    ToolTimeout,
    ToolUnavailable,
    ToolUnknown,
)
from middleware.pictures import MAX_PICTURES, Picture
from servicekit.deadline import Deadline
from servicekit.errors import ArgumentsInvalid, StackError
from servicekit.mcp_client import McpClient
from servicekit.tool_call_result import META_PROBLEM

TOOLS = {
    "tools": [
        {"name": "clock", "description": "The time", "inputSchema": {"type": "object"}},
        {"name": "bare", "inputSchema": {"type": "object"}},
    ]
}


class Gateway:
    """Answers by method; a list of answers is used up, its last one stays."""

    def __init__(self, **answers: Any) -> None:
        self.answers = {"tools/list": TOOLS} | {
            name.replace("_", "/"): value for name, value in answers.items()
        }
        self.methods: list[str] = []
        self.params: list[dict[str, Any]] = []

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        body = json.loads(request.content)
        self.methods.append(body["method"])
        self.params.append(body["params"])
        answer = self.answers[body["method"]]
        if isinstance(answer, list):
            answer = answer.pop(0) if len(answer) > 1 else answer[0]
        if isinstance(answer, asyncio.Event):
            await answer.wait()
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, httpx.Response):
            return answer
        member = {"error": answer} if "code" in answer else {"result": answer}
        return httpx.Response(200, json={"jsonrpc": "2.0", "id": body["id"], **member})


@asynccontextmanager
async def toolbox_at(
    gateway: Gateway, *, refresh_seconds: float = 60
) -> AsyncIterator[GatewayToolbox]:
    async with httpx.AsyncClient(transport=httpx.MockTransport(gateway)) as http:
        client = McpClient("http://gateway/mcp", peer="mcp-server", http=http)
        yield GatewayToolbox(client, refresh_seconds=refresh_seconds)


def text(words: str, **fields: Any) -> dict[str, Any]:
    return {"content": [{"type": "text", "text": words}], **fields}


def problem(status: int, type_: str = "x") -> dict[str, Any]:
    document = {"type": f"urn:problem:mcp-stack:{type_}", "status": status, "detail": "It said so."}
    return text("It said so.", isError=True, _meta={META_PROBLEM: document})


@pytest.mark.parametrize(
    "url", ["http://g:8000", "http://g:8000/", "http://g:8000/mcp", "http://g:8000/mcp/"]
)
def test_gateway_s_address_may_be_given_with_or_without_the_path(url):
    assert mcp_endpoint(url) == "http://g:8000/mcp"


async def test_tools_are_listed_once_and_remembered():
    gateway = Gateway()
    async with toolbox_at(gateway) as toolbox:
        tools = await toolbox.tools(Deadline.after(5))
        await toolbox.tools(Deadline.after(5))
    assert [(tool.name, tool.description) for tool in tools] == [
        ("clock", "The time"),
        ("bare", ""),
    ]
    assert gateway.methods == ["tools/list"]


async def test_old_list_is_asked_for_again():
    gateway = Gateway()
    async with toolbox_at(gateway, refresh_seconds=0) as toolbox:
        await toolbox.tools(Deadline.after(5))
        await toolbox.tools(Deadline.after(5))
    assert len(gateway.methods) == 2


async def test_many_at_once_share_one_listing():
    gateway = Gateway()
    async with toolbox_at(gateway) as toolbox:
        await asyncio.gather(*(toolbox.tools(Deadline.after(5)) for _ in range(20)))
    assert len(gateway.methods) == 1


async def test_gateway_that_comes_back_is_waited_for():
    gateway = Gateway(tools_list=[httpx.ConnectError("refused"), TOOLS])
    async with toolbox_at(gateway) as toolbox:
        assert len(await toolbox.tools(Deadline.after(5))) == 2


@pytest.mark.parametrize(
    "failure",
    [
        httpx.ConnectError("refused"),
        httpx.ReadError("reset"),
        httpx.RemoteProtocolError("gone"),
        {"code": -32603, "message": "broken"},
        httpx.Response(502, text="bad gateway"),
        httpx.Response(200, text="<html>"),
    ],
)
async def test_gateway_that_is_down_is_named(failure):
    async with toolbox_at(Gateway(tools_list=failure)) as toolbox:
        with pytest.raises(GatewayUnreachable) as caught:
            await toolbox.tools(Deadline.after(0.4))
        with pytest.raises(GatewayUnreachable):
            await toolbox.check()
    assert caught.value.extensions["hop"] == "gateway"


async def test_gateway_that_is_silent_is_a_timeout():
    async with toolbox_at(Gateway(tools_list=asyncio.Event())) as toolbox:
        with pytest.raises(GatewayTimeout):
            await asyncio.wait_for(toolbox.tools(Deadline.after(0.2)), 3)


async def test_check_passes_and_fails_without_tools():
    async with toolbox_at(Gateway()) as toolbox:
        await toolbox.check()
    async with toolbox_at(Gateway(tools_list={"tools": []})) as toolbox:
        with pytest.raises(GatewayUnreachable, match="no tools"):
            await toolbox.check()


async def test_call_gives_text_and_structure_and_passes_the_deadline_on():
    gateway = Gateway(tools_call=text("noon", structuredContent={"hour": 12}))
    async with toolbox_at(gateway) as toolbox:
        result = await toolbox.call("clock", {"zone": "UTC"}, Deadline.after(3))
    assert (result.text, result.structured, result.is_error) == ("noon", {"hour": 12}, False)
    sent = gateway.params[0]
    assert sent["arguments"] == {"zone": "UTC"}
    assert 0 < sent["_meta"]["mcp-stack/deadline-ms"] <= 3000


async def test_what_is_no_text_is_named():
    blocks = [
        {"type": "text", "text": "a plot"},
        {"type": "image", "data": "AA==", "mimeType": "image/png"},
        {"type": "resource", "resource": {"uri": "x:1", "text": "inside"}},
        {"type": "resource_link", "uri": "x:2", "name": "n"},
    ]
    async with toolbox_at(Gateway(tools_call={"content": blocks})) as toolbox:
        result = await toolbox.call("clock", {}, Deadline.after(3))
    assert result.text == "a plot\n[image: image/png]\ninside\n[resource: x:2]"
    assert result.pictures == (Picture("image/png", "AA=="),)


@pytest.mark.parametrize(
    "block",
    [
        {"type": "image", "data": "PHN2Zz4=", "mimeType": "image/svg+xml"},
        {"type": "image", "data": "PHN2Zz4=", "mimeType": "text/html"},
        {"type": "image", "data": 'AA==" onerror="x', "mimeType": "image/png"},
        {"type": "image", "data": "", "mimeType": "image/png"},
        {"type": "audio", "data": "AA==", "mimeType": "audio/wav"},
    ],
)
async def test_what_may_be_no_picture_is_not_shown_as_one(block):
    async with toolbox_at(Gateway(tools_call={"content": [block]})) as toolbox:
        assert (await toolbox.call("clock", {}, Deadline.after(3))).pictures == ()


async def test_one_call_shows_a_bounded_number_of_pictures():
    blocks = [{"type": "image", "data": "AA==", "mimeType": "image/png"}] * 100
    async with toolbox_at(Gateway(tools_call={"content": blocks})) as toolbox:
        result = await toolbox.call("clock", {}, Deadline.after(3))
    assert len(result.pictures) == MAX_PICTURES


async def test_structure_alone_becomes_json():
    answer = {"content": [], "structuredContent": {"a": "é"}}
    async with toolbox_at(Gateway(tools_call=answer)) as toolbox:
        assert (await toolbox.call("clock", {}, Deadline.after(3))).text == '{"a": "é"}'


@pytest.mark.parametrize(
    "answer", [text("NameError", isError=True), problem(422), problem(404), problem(400)]
)
async def test_tool_s_own_failure_is_a_result(answer):
    async with toolbox_at(Gateway(tools_call=answer)) as toolbox:
        result = await toolbox.call("clock", {}, Deadline.after(3))
    assert result.is_error
    assert result.text


@pytest.mark.parametrize(
    ("answer", "kind", "status"),
    [
        (problem(502), ToolUnavailable, 502),
        (problem(500), ToolUnavailable, 502),
        (problem(503), ToolUnavailable, 502),
        (problem(504), ToolTimeout, 504),
        (problem(429, "too-busy"), StackError, 429),
        ({"code": -32001, "message": "down"}, ToolUnavailable, 502),
        ({"code": -32007, "message": "slow"}, ToolTimeout, 504),
        ({"code": -32602, "message": "Unknown tool"}, ArgumentsInvalid, 422),
        (
            {"code": -32602, "message": "x", "data": {"type": "tool-unknown", "status": 404}},
            ToolUnknown,
            404,
        ),
        (
            {"code": -32602, "message": "x", "data": {"type": "arguments-invalid", "status": 422}},
            ArgumentsInvalid,
            422,
        ),
        (httpx.ReadError("reset"), GatewayUnreachable, 502),
        (asyncio.Event(), ToolTimeout, 504),
    ],
)
async def test_what_the_model_can_t_mend_is_a_typed_error(answer, kind, status):
    gateway = Gateway(tools_call=answer)
    async with toolbox_at(gateway) as toolbox:
        with pytest.raises(kind) as caught:
            await asyncio.wait_for(toolbox.call("clock", {}, Deadline.after(0.3)), 3)
    assert caught.value.http_status == status
    # Tools have effects: what may have arrived is never sent twice.
    assert gateway.methods == ["tools/call"]


async def test_problem_of_a_slow_tool_keeps_its_words_and_what_was_printed():
    late = problem(504)
    late["_meta"][META_PROBLEM]["stdout"] = "tick\n"
    async with toolbox_at(Gateway(tools_call=late)) as toolbox:
        with pytest.raises(ToolTimeout) as caught:
            await toolbox.call("clock", {}, Deadline.after(5))

    assert caught.value.detail == "clock did not answer in time: It said so."
    assert caught.value.extensions == {"stdout": "tick\n", "hop": "tool:clock"}


async def test_call_that_never_left_is_made_again():
    gateway = Gateway(tools_call=[httpx.ConnectError("refused"), text("noon")])
    async with toolbox_at(gateway) as toolbox:
        assert (await toolbox.call("clock", {}, Deadline.after(5))).text == "noon"
