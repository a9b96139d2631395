"""The service over HTTP, its model and its tools scripted."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from middleware.conversation import AssistantMessage, SystemMessage, ToolResult, UserMessage
from middleware.errors import (
    GatewayUnreachable,
    LlmTimeout,
    LlmUnreachable,
    ToolTimeout,
    ToolUnavailable,
)
from middleware.pictures import Picture
from middleware.settings import MiddlewareSettings
from middleware.testing import (
    FakeToolbox,
    HangingModel,
    ScriptedModel,
    calls,
    says,
    tool,
    toolbox_of,
)

from middleware.app import create_app

PYTHON = tool("execute_code", {"code": {"type": "string"}}, required=["code"])
CLOCK = tool("get_current_time", {"timezone": {"type": "string"}}, description="The time now")
JSON = {"content-type": "application/json"}


def run_code(arguments: dict[str, Any]) -> ToolResult:
    return {
        "1/0": ToolResult("ZeroDivisionError", is_error=True),
    }.get(arguments["code"], ToolResult("42", {"result": 42}))


def usual_tools() -> FakeToolbox:
    return toolbox_of((PYTHON, run_code), (CLOCK, lambda _: ToolResult("2026-11-22 17:03 UTC")))


@asynccontextmanager
async def service(
    model: Any = None, toolbox: FakeToolbox | None = None, **settings: Any
) -> AsyncIterator[httpx.AsyncClient]:
    app = create_app(
        MiddlewareSettings(**settings),
        model=model or ScriptedModel([says("Hello.")]),
        toolbox=toolbox or usual_tools(),
    )
    async with app.router.lifespan_context(app) as state:
        scope_state = state or {}

        async def with_state(scope: Any, receive: Any, send: Any) -> None:
            await app({**scope, "state": dict(scope_state)}, receive, send)

        transport = httpx.ASGITransport(app=with_state)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost:8002") as http:
            yield http


def user(content: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": content}]}


def kind_of(response: httpx.Response) -> str:
    assert response.headers["content-type"] == "application/problem+json"
    return response.json()["type"].rpartition(":")[2]


async def test_chat_answers_with_the_calls_of_the_turn():
    model = ScriptedModel([calls(("execute_code", '{"code": "6*7"}')), says("It is 42.")])
    async with service(model) as http:
        response = await http.post("/chat", json=user("what is 6*7?"))
    answer = response.json()
    assert response.status_code == 200
    assert answer["response"] == "It is 42."
    (call,) = answer["tool_calls"]
    assert call.pop("duration_ms") >= 0
    assert call == {
        "name": "execute_code", "arguments": {"code": "6*7"}, "output": "42", "is_error": False,
    }  # fmt: skip
    assert answer["finish_reason"] == "stop"
    assert answer["usage"] == {"prompt_tokens": 20, "completion_tokens": 10, "total_tokens": 30}
    assert answer["model"] == "scripted"
    assert answer["request_id"] == response.headers["x-request-id"]


@pytest.mark.parametrize("is_streamed", [False, True])
async def test_chat_shows_a_tool_s_pictures(is_streamed: bool):
    toolbox = toolbox_of(
        (CLOCK, lambda _: ToolResult("a face", pictures=(Picture("image/png", "AA=="),)))
    )
    model = ScriptedModel([calls(("get_current_time", "{}")), says("Here.")])
    async with service(model, toolbox) as http:
        response = await http.post("/chat", json=user("the clock?") | {"stream": is_streamed})
    answer = events_of(response)[-1][1] if is_streamed else response.json()
    (call,) = answer["tool_calls"]
    assert call["images"] == [{"media_type": "image/png", "data": "AA=="}]
    if is_streamed:
        assert events_of(response)[1][1] == call


def events_of(response: httpx.Response) -> list[tuple[str, dict[str, Any]]]:
    blocks = [block for block in response.text.split("\n\n") if block.startswith("event: ")]
    pairs = [block.split("\n", 1) for block in blocks]
    return [
        (name.removeprefix("event: "), json.loads(data.removeprefix("data: ")))
        for name, data in pairs
    ]


async def test_streamed_chat_tells_calls_and_text_and_ends_with_the_whole_answer():
    model = ScriptedModel([calls(("execute_code", '{"code": "6*7"}')), says("It is 42.")])
    async with service(model) as http:
        response = await http.post("/chat", json=user("6*7?") | {"stream": True})
    assert response.headers["content-type"].startswith("text/event-stream")
    events = events_of(response)
    assert [name for name, _ in events] == ["tool_call_started", "tool_call", "text", "answer"]
    assert events[0][1] == {"name": "execute_code", "arguments": {"code": "6*7"}}
    assert (events[1][1]["name"], events[1][1]["output"]) == ("execute_code", "42")
    assert events[2][1] == {"text": "It is 42."}
    assert events[3][1]["response"] == "It is 42."
    assert len(events[3][1]["tool_calls"]) == 1


async def test_streamed_chat_tells_no_call_that_is_not_made():
    model = ScriptedModel([calls(("no_such_tool", "{}")), says("Sorry.")])
    async with service(model) as http:
        response = await http.post("/chat", json=user("?") | {"stream": True})
    assert [name for name, _ in events_of(response)] == ["tool_call", "text", "answer"]


async def test_streamed_chat_that_fails_at_once_has_the_status_of_its_error():
    async with service(ScriptedModel([LlmUnreachable("Down.")])) as http:
        response = await http.post("/chat", json=user("?") | {"stream": True})
    assert response.status_code == 502
    assert kind_of(response) == "llm-unreachable"


async def test_streamed_chat_that_fails_later_ends_with_the_problem():
    async def slow(_: dict[str, Any]) -> ToolResult:
        for _ in range(100):  # turns of the loop, in which the stream begins
            await asyncio.sleep(0)
        return ToolResult("noon")

    first, second = calls(("execute_code", '{"code": "6*7"}')), calls(("get_current_time", "{}"))
    toolbox = toolbox_of((PYTHON, run_code), (CLOCK, slow))
    async with service(ScriptedModel([first, second, LlmUnreachable("Down.")]), toolbox) as http:
        response = await http.post("/chat", json=user("?") | {"stream": True})
    events = events_of(response)
    assert [name for name, _ in events] == ["tool_call_started", "tool_call"] * 2 + ["problem"]
    assert events[-1][1]["type"].endswith("llm-unreachable")
    assert events[-1][1]["tool_calls"][0]["output"] == "42"


async def test_system_prompt_stands_first_and_the_client_s_joins_it():
    model = ScriptedModel([says("Yes.")])
    messages = [
        {"role": "system", "content": "Speak like a pirate."},
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Arr"},
        {"role": "user", "content": "Again"},
    ]
    async with service(model) as http:
        await http.post("/chat", json={"messages": messages})
    sent = model.requests[0].messages
    assert isinstance(sent[0], SystemMessage)
    assert "execute_code" in sent[0].text
    assert sent[0].text.endswith("Speak like a pirate.")
    assert sent[1:] == (UserMessage("Hi"), AssistantMessage("Arr"), UserMessage("Again"))


async def test_system_prompt_is_replaced_by_a_file(tmp_path):
    path = tmp_path / "prompt.md"
    path.write_text("Answer in Latin.\n")
    model = ScriptedModel([says("Ave.")])
    async with service(model, system_prompt_path=path) as http:
        await http.post("/chat", json=user("Hi"))
    assert model.requests[0].messages[0] == SystemMessage("Answer in Latin.")


def test_system_prompt_that_can_t_be_read_ends_the_start(tmp_path):
    with pytest.raises(SystemExit, match="MIDDLEWARE_SYSTEM_PROMPT_PATH"):
        create_app(MiddlewareSettings(system_prompt_path=tmp_path / "none.md"))


@pytest.mark.parametrize(
    ("body", "status", "kind"),
    [
        ({"messages": []}, 422, "messages-empty"),
        (user(""), 422, "messages-empty"),
        (user(" \n"), 422, "messages-empty"),
        ({"messages": [{"role": "wizard", "content": "x"}]}, 422, "role-unknown"),
        ({"messages": [{"role": "assistant", "content": "x"}]}, 422, "last-message-not-user"),
        ({"messages": [{"role": "system", "content": "x"}]}, 422, "last-message-not-user"),
        (user("x") | {"model": "gpt-17"}, 422, "model-not-served"),
        (user("x") | {"modell": "m"}, 422, "arguments-invalid"),
        (user("x") | {"timeout_seconds": 0}, 422, "arguments-invalid"),
        ({}, 422, "arguments-invalid"),
        ([], 422, "arguments-invalid"),
        ({"messages": "hello"}, 422, "arguments-invalid"),
        ({"messages": [{"role": "user"}]}, 422, "arguments-invalid"),
        ({"messages": [{"role": "user", "content": None}]}, 422, "arguments-invalid"),
        ({"messages": [{"role": "user", "content": "x", "name": "y"}]}, 422, "arguments-invalid"),
    ],
)
async def test_bad_chat_is_a_typed_problem(body, status, kind):
    async with service() as http:
        response = await http.post("/chat", json=body)
    assert (response.status_code, kind_of(response)) == (status, kind)


@pytest.mark.parametrize(
    ("content", "headers", "status", "kind"),
    [
        (b"{", JSON, 400, "body-not-json"),
        (b"", JSON, None, None),
        (b"\xff\xfe", JSON, 400, "body-not-json"),
        (b"{}", {"content-type": "text/plain"}, 415, "unsupported-media-type"),
        (b"{}", {}, 415, "unsupported-media-type"),
        (b" " * (4 * 1024 * 1024 + 1), JSON, 413, "payload-too-large"),
        (b'{"messages": [{"role": "user", "content": "\\ud800"}]}', JSON, 422, None),
        (b"[" * 50_000, JSON, None, None),
        (b'{"messages": [{"role": "\\ud800", "content": "x"}]}', JSON, None, None),
        (b'{"name": "\\ud800"}', JSON, None, None),
        (b'{"name": "execute_code", "parameters": {"code": "\\ud800"}}', JSON, 422, None),
        (b'{"name": "execute_code", "parameters": {"code": NaN}}', JSON, 422, None),
        (b"{}", {**JSON, "origin": "https://evil.example"}, 403, "forbidden-caller"),
        (b"{}", {**JSON, "host": "evil.example"}, 403, "forbidden-caller"),
    ],
)
@pytest.mark.parametrize("path", ["/chat", "/execute"])
async def test_bad_body_is_a_typed_problem(path, content, headers, status, kind):
    async with service() as http:
        response = await http.post(path, content=content, headers=headers)
    assert 400 <= response.status_code < 500
    if kind is not None:
        assert (response.status_code, kind_of(response)) == (status, kind)
    elif status is not None:
        assert (response.status_code, kind_of(response)) == (status, "arguments-invalid")


@pytest.mark.parametrize(
    ("error", "status", "kind"),
    [
        (LlmUnreachable("Nobody there."), 502, "llm-unreachable"),
        (LlmTimeout("Too slow."), 504, "llm-timeout"),
    ],
)
async def test_model_s_failure_is_a_typed_problem(error, status, kind):
    async with service(ScriptedModel([error])) as http:
        response = await http.post("/chat", json=user("Hi"))
    assert (response.status_code, kind_of(response)) == (status, kind)
    assert response.json()["tool_calls"] == []


async def test_gateway_that_is_down_is_a_typed_problem():
    toolbox = usual_tools()
    toolbox.failure = GatewayUnreachable("Down.")
    async with service(None, toolbox) as http:
        for response in (
            await http.post("/chat", json=user("Hi")),
            await http.get("/tools"),
            await http.post("/execute", json={"name": "execute_code", "parameters": {}}),
        ):
            assert (response.status_code, kind_of(response)) == (502, "gateway-unreachable")


@pytest.mark.parametrize("wanted", ["request", "header", "setting"])
async def test_chat_answers_within_its_deadline_when_the_model_hangs(wanted):
    settings = {"chat_timeout_seconds": 0.3} if wanted == "setting" else {}
    body = user("Hi") | ({"timeout_seconds": 0.3} if wanted == "request" else {})
    headers = {"x-deadline-ms": "300"} if wanted == "header" else {}
    async with service(HangingModel(), **settings) as http:
        begun = asyncio.get_running_loop().time()
        response = await asyncio.wait_for(http.post("/chat", json=body, headers=headers), 3)
    assert asyncio.get_running_loop().time() - begun < 1.5
    assert (response.status_code, kind_of(response)) == (504, "llm-timeout")
    assert response.json()["hop"] == "model"


async def test_client_that_hangs_up_stops_the_model():
    model = HangingModel()
    app = create_app(MiddlewareSettings(), model=model, toolbox=usual_tools())
    body = json.dumps(user("Hi")).encode()
    left = asyncio.Event()
    messages = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> dict[str, Any]:
        if messages:
            return messages.pop()
        await left.wait()
        return {"type": "http.disconnect"}

    async def send(_: Any) -> None: ...

    scope = {
        "type": "http", "method": "POST", "path": "/chat", "raw_path": b"/chat", "root_path": "",
        "scheme": "http", "query_string": b"", "http_version": "1.1",
        "headers": [(b"content-type", b"application/json"), (b"host", b"localhost")],
        "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 8002),
    }  # fmt: skip
    async with app.router.lifespan_context(app) as state:
        task = asyncio.ensure_future(app({**scope, "state": dict(state or {})}, receive, send))
        await asyncio.wait_for(model.was_asked.wait(), 3)
        left.set()
        await asyncio.wait_for(model.was_cancelled.wait(), 3)
        await asyncio.wait_for(asyncio.gather(task, return_exceptions=True), 3)


async def test_tools_are_listed_as_the_gateway_lists_them():
    async with service() as http:
        tools = (await http.get("/tools")).json()["tools"]
    assert [each["name"] for each in tools] == ["execute_code", "get_current_time"]
    assert set(tools[0]) == {"name", "description", "input_schema"}


async def test_execute_answers_with_the_outcome():
    async with service() as http:
        good = await http.post(
            "/execute", json={"name": "execute_code", "parameters": {"code": "1"}}
        )
        none = await http.post("/execute", json={"name": "get_current_time"})
    assert good.json() == {
        "success": True, "output": "42", "structured": {"result": 42}, "error": None,
    }  # fmt: skip
    assert none.json()["output"] == "2026-11-22 17:03 UTC"


async def test_tool_s_own_failure_is_success_false():
    call = {"name": "execute_code", "parameters": {"code": "1/0"}}
    async with service() as http:
        response = await http.post("/execute", json=call)
    assert response.status_code == 200
    assert response.json()["success"] is False
    assert response.json()["error"] == "ZeroDivisionError"


@pytest.mark.parametrize(
    ("body", "status", "kind"),
    [
        ({"name": "exekute_code", "parameters": {}}, 404, "tool-unknown"),
        ({"name": "execute_code", "parameters": {}}, 422, "arguments-invalid"),
        ({"name": "execute_code", "parameters": {"code": 5}}, 422, "arguments-invalid"),
        ({"name": "execute_code", "parameters": {"code": "1", "x": 1}}, 422, "arguments-invalid"),
        ({"name": "execute_code", "parameters": []}, 422, "arguments-invalid"),
        ({"name": "execute_code", "arguments": {}}, 422, "arguments-invalid"),
        ({"parameters": {}}, 422, "arguments-invalid"),
        ({"name": ""}, 422, "arguments-invalid"),
    ],
)
async def test_bad_execute_is_a_typed_problem(body, status, kind):
    async with service() as http:
        response = await http.post("/execute", json=body)
    assert (response.status_code, kind_of(response)) == (status, kind)
    if status == 404:
        assert "execute_code" in response.json()["detail"]


@pytest.mark.parametrize(
    ("error", "status"), [(ToolUnavailable("Down."), 502), (ToolTimeout("Slow."), 504)]
)
async def test_tool_s_service_that_fails_is_a_typed_problem(error, status):
    def fail(_: dict[str, Any]) -> ToolResult:
        raise error

    async with service(None, toolbox_of((CLOCK, fail))) as http:
        response = await http.post("/execute", json={"name": "get_current_time"})
    assert (response.status_code, kind_of(response)) == (status, error.type)


@pytest.mark.parametrize("broken", ["model", "toolbox"])
async def test_ready_says_what_is_missing(broken):
    model, toolbox = ScriptedModel([says("x")]), usual_tools()
    async with service(model, toolbox) as http:
        assert (await http.get("/ready")).status_code == 200
    (model if broken == "model" else toolbox).failure = LlmUnreachable("Not there.")
    async with service(model, toolbox) as http:
        ready = await http.get("/ready")
        health = await http.get("/health")
    assert ready.status_code == 503
    assert set(ready.json()["waiting_for"]) == {"llm" if broken == "model" else "mcp-server"}
    assert health.json()["status"] == "error"


async def test_origin_of_the_list_gets_cors_and_passes_the_guard():
    origin = {"origin": "https://chat.example"}
    preflight = {
        **origin,
        "access-control-request-method": "POST",
        "access-control-request-headers": "content-type",
    }
    async with service(cors_origins=("https://chat.example",)) as http:
        asked = await http.options("/chat", headers=preflight)
        answered = await http.post("/chat", json=user("Hi"), headers=origin)
    for response in (asked, answered):
        assert response.status_code == 200
        assert response.headers["access-control-allow-origin"] == "https://chat.example"


async def test_metrics_tell_turns_by_outcome():
    async with service(ScriptedModel([LlmTimeout("Slow.")])) as http:
        await http.post("/chat", json=user("Hi"))
        text = (await http.get("/metrics")).text
    assert 'chat_turns_total{outcome="llm-timeout"}' in text
    assert "chat_turn_seconds_bucket" in text
    assert "chat_steps_bucket" in text


async def test_metrics_tell_a_defect_from_a_chat_that_was_given_up():
    async with service(ScriptedModel([RuntimeError("a defect")])) as http:
        answer = await http.post("/chat", json=user("Hi"))
        text = (await http.get("/metrics")).text
    assert answer.status_code == 500
    assert 'chat_turns_total{outcome="internal-error"} 1.0' in text
