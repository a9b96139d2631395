"""The model adapter against a server that misbehaves in every way that real ones do."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from middleware.adapters.llm import OpenAiChatModel, Sampling
from middleware.adapters.model_server import is_listed
from middleware.conversation import (
    AssistantMessage,
    ModelRequest,
    SystemMessage,
    ToolCall,
    ToolMessage,
    UserMessage,
)
from middleware.endpoint import Endpoint
from middleware.errors import (
    ContextTooLong,
    LlmBusy,
    LlmCutOff,
    LlmFailed,
    LlmModelNotFound,
    LlmNoTools,
    LlmRefusedKey,
    LlmTimeout,
    LlmUnreachable,
)
from middleware.speech import Piece, Speech
from middleware.testing import tool
from servicekit.deadline import Deadline
from servicekit.outbound import internal_client
from starlette.responses import JSONResponse, Response

HELLO = ModelRequest((UserMessage("Hello"),), ())
WITH_TOOLS = ModelRequest(
    (UserMessage("Hello"),), (tool("execute_code", {"code": {"type": "string"}}),)
)


@asynccontextmanager
async def model_at(
    url: str, *, key: str | None = None, name: str = "m", sampling: Sampling | None = None
) -> AsyncIterator[OpenAiChatModel]:
    endpoint = Endpoint("configured", url, name, key)
    async with internal_client(url) as client:
        yield OpenAiChatModel(endpoint, sampling or Sampling(), client)


async def ask(stand_in, request=HELLO, *, seconds: float = 5.0, **options: Any):
    async with model_at(stand_in.url, **options) as model:
        return await asyncio.wait_for(model.answer(request, Deadline.after(seconds)), 15)


async def test_streamed_answer_is_put_together_with_usage(stand_in, wire):
    stand_in.script = [wire.says("Hello there")]
    answer = await ask(stand_in)
    assert (answer.text, answer.finish_reason, answer.usage.total_tokens) == (
        "Hello there", "stop", 10,
    )  # fmt: skip


async def test_request_always_has_a_bound_and_asks_for_a_stream(stand_in, wire):
    stand_in.script = [wire.says("x")]
    await ask(stand_in, sampling=Sampling(max_answer_tokens=99, temperature=0.5))
    body = stand_in.bodies[0]
    assert body["max_tokens"] == 99
    assert body["temperature"] == 0.5
    assert body["stream"] is True
    assert "tools" not in body


async def test_bound_is_renamed_for_servers_that_want_the_other_name(stand_in, wire):
    stand_in.script = [
        wire.fails(400, "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens'."),
        wire.says("x"),
    ]
    assert (await ask(stand_in)).text == "x"
    assert "max_completion_tokens" in stand_in.bodies[1]
    assert "max_tokens" not in stand_in.bodies[1]


async def test_two_streamed_calls_come_back_in_order(stand_in, wire):
    stand_in.script = [
        wire.streams(
            wire.chunk(wire.call_delta(0, "execute_code", '{"code": ')),
            wire.chunk({"tool_calls": [{"index": 0, "function": {"arguments": '"1"}'}}]}),
            wire.chunk(wire.call_delta(1, "list_packages", "{}")),
            wire.chunk({}, "tool_calls"),
            wire.DONE,
        )
    ]
    answer = await ask(stand_in, WITH_TOOLS)
    assert [(call.name, call.arguments_text) for call in answer.calls] == [
        ("execute_code", '{"code": "1"}'),
        ("list_packages", "{}"),
    ]
    assert answer.finish_reason == "tool_calls"


async def test_calls_that_share_an_index_are_told_apart_by_id(stand_in, wire):
    stand_in.script = [
        wire.streams(
            wire.chunk(wire.call_delta(0, "a", "{}", "one")),
            wire.chunk(wire.call_delta(0, "b", "{}", "two")),
            wire.chunk({}, "tool_calls"),
            wire.DONE,
        )
    ]
    assert [call.name for call in (await ask(stand_in, WITH_TOOLS)).calls] == ["a", "b"]


async def test_server_that_ignores_stream_is_understood(stand_in):
    def plain(_: Any, __: dict[str, Any]) -> Response:
        function = {"name": "execute_code", "arguments": '{"code": "1"}'}
        message = {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "i", "type": "function", "function": function}],
        }
        choice = {"index": 0, "message": message, "finish_reason": "tool_calls"}
        return JSONResponse({"id": "x", "object": "chat.completion", "choices": [choice]})

    stand_in.script = [plain]
    answer = await ask(stand_in, WITH_TOOLS)
    assert [(call.id, call.name, call.arguments_text) for call in answer.calls] == [
        ("i", "execute_code", '{"code": "1"}')
    ]


async def test_plain_answer_without_end_is_not_taken_into_memory(stand_in):
    stand_in.script = [lambda *_: Response(b" " * 17_000_000, media_type="application/json")]
    with pytest.raises(LlmFailed, match="more than 16000000 bytes"):
        await ask(stand_in)


async def test_stack_trace_of_the_server_ends_there(stand_in):
    said = "Traceback (most recent call last):\n  File \"/srv/x.py\", line 1\nKeyError: 'y'"
    stand_in.script = [lambda *_: JSONResponse({"error": {"message": said}}, 500)] * 2
    with pytest.raises(LlmFailed, match="status 500: KeyError: 'y'") as caught:
        await ask(stand_in)
    assert "/srv" not in caught.value.detail


async def test_transcript_is_sent_in_the_api_s_form(stand_in, wire):
    stand_in.script = [wire.says("x")]
    call = ToolCall("c1", "execute_code", '{"code": "1"}')
    await ask(
        stand_in,
        ModelRequest(
            (
                SystemMessage("rules"),
                UserMessage("q"),
                AssistantMessage("", (call,)),
                ToolMessage("c1", "execute_code", "1"),
            ),
            WITH_TOOLS.tools,
        ),
    )
    sent = stand_in.bodies[0]
    assert [message["role"] for message in sent["messages"]] == [
        "system", "user", "assistant", "tool",
    ]  # fmt: skip
    assert sent["messages"][2]["tool_calls"][0]["function"]["arguments"] == '{"code": "1"}'
    assert sent["messages"][3]["tool_call_id"] == "c1"
    assert sent["tools"][0]["function"]["name"] == "execute_code"


async def test_thinking_left_in_the_text_is_taken_out(stand_in, wire):
    stand_in.script = [wire.says("<think>hm, well</think>\n\nHello")]
    answer = await ask(stand_in)
    assert answer.text == "Hello"
    assert answer.has_reasoning


async def test_thinking_beside_the_text_is_noticed(stand_in, wire):
    stand_in.script = [
        wire.streams(wire.chunk({"reasoning": "hm"}), wire.chunk({}, "stop"), wire.DONE)
    ]
    answer = await ask(stand_in)
    assert answer.is_empty
    assert answer.has_reasoning


async def test_retry_without_thinking_says_so_to_the_server(stand_in, wire):
    stand_in.script = [wire.says("x")]
    await ask(stand_in, ModelRequest((UserMessage("q"),), (), is_retry_without_thinking=True))
    assert stand_in.bodies[0]["reasoning_effort"] == "none"


async def test_stream_without_done_is_whole_when_it_has_a_finish_reason(stand_in, wire):
    stand_in.script = [wire.streams(wire.chunk({"content": "Hi"}), wire.chunk({}, "stop"))]
    assert (await ask(stand_in)).text == "Hi"


@pytest.mark.parametrize("ends_with_done", [True, False])
async def test_stream_without_finish_reason_is_a_failure(stand_in, wire, ends_with_done):
    # What Ollama sends when its runner dies: a clean end, an empty chunk, no reason.
    events = [wire.chunk({"content": "Half an ans"}), wire.chunk({"content": ""}, None, model="")]
    stand_in.script = [wire.streams(*events, *([wire.DONE] if ends_with_done else []))]
    with pytest.raises(LlmCutOff):
        await ask(stand_in)
    assert len(stand_in.bodies) == 2  # asking has no effects: once more


async def test_stream_that_is_cut_once_is_asked_for_again(stand_in, wire):
    stand_in.script = [wire.breaks_after(wire.chunk({"content": "Half"})), wire.says("Whole")]
    assert (await ask(stand_in)).text == "Whole"


async def test_refusal_without_a_word_is_a_foreign_host_name_and_no_key(stand_in):
    stand_in.script = [lambda _, __: Response(status_code=403)]
    with pytest.raises(LlmFailed, match="host name that it does not know"):
        await ask(stand_in, key="a-key-of-mine")
    assert len(stand_in.bodies) == 1


async def test_answer_that_somebody_has_read_is_not_asked_for_again(stand_in, wire):
    stand_in.script = [wire.breaks_after(wire.chunk({"content": "Half"})), wire.says("Whole")]
    heard: list[Any] = []
    async with model_at(stand_in.url) as model:
        with pytest.raises(LlmCutOff):
            await model.answer(HELLO, Deadline.after(5), Speech(heard.append))
    assert heard == [Piece("Half")]
    assert len(stand_in.bodies) == 1


async def test_answer_of_which_nothing_was_read_is_asked_for_again(stand_in, wire):
    stand_in.script = [wire.breaks_after(wire.chunk({"content": "Half"})), wire.says("Whole")]
    heard: list[Any] = []
    speech = Speech(heard.append)
    async with model_at(stand_in.url) as model:
        answer = await model.answer(WITH_TOOLS, Deadline.after(5), speech)
    speech.finish(answer.text)
    assert heard == [Piece("Whole")]


@pytest.mark.parametrize(("key", "is_hidden"), [("ollama", False), ("sk-long-enough", True)])
async def test_only_what_can_be_a_secret_is_hidden_in_errors(stand_in, wire, key, is_hidden):
    stand_in.script = [wire.fails(400, f"bad {key} request")]
    with pytest.raises(LlmFailed) as caught:
        await ask(stand_in, key=key)
    assert (f"bad {key} request" not in caught.value.detail) is is_hidden


async def test_connection_that_breaks_in_mid_stream_is_a_cut(stand_in, wire):
    stand_in.script = [wire.breaks_after(wire.chunk({"content": "Half"}))]
    with pytest.raises(LlmCutOff):
        await ask(stand_in)


async def test_error_in_mid_stream_is_a_failure_with_its_words(stand_in, wire):
    error = json.dumps({"error": {"message": "runner ran out of memory"}})
    stand_in.script = [wire.streams(wire.chunk({"content": "a"}), f"data: {error}\n\n")]
    with pytest.raises(LlmFailed, match="out of memory"):
        await ask(stand_in)


async def test_stream_that_is_no_json_is_a_failure(stand_in, wire):
    stand_in.script = [wire.streams("data: {oops\n\n")]
    with pytest.raises(LlmFailed):
        await ask(stand_in)


@pytest.mark.parametrize("body", ["<html>login</html>", "[]", '{"ok": true}', ""])
async def test_answer_that_is_no_completion_is_a_failure(stand_in, body):
    stand_in.script = [lambda _, __: Response(body, media_type="text/html")]
    with pytest.raises(LlmFailed):
        await ask(stand_in)


@pytest.mark.parametrize(
    ("status", "message", "kind"),
    [
        (404, "model 'm' not found", LlmModelNotFound),
        (404, "404 page not found", LlmFailed),
        (400, "registry.ollama.ai/library/m does not support tools", LlmNoTools),
        (400, "This model's maximum context length is 8192 tokens", ContextTooLong),
        (413, "The body may have at most 4194304 bytes", ContextTooLong),
        (400, "invalid tool call arguments", LlmFailed),
        (401, "Incorrect API key provided: sk-very-secret", LlmRefusedKey),
        (403, "", LlmRefusedKey),
        (500, "llama runner process has terminated: unexpected EOF", LlmFailed),
        (429, "Rate limit reached", LlmBusy),
        (503, "server busy, please try again.  maximum pending requests exceeded", LlmBusy),
    ],
)
async def test_each_refusal_has_a_type_of_its_own(stand_in, wire, status, message, kind):
    stand_in.script = [wire.fails(status, message)]
    with pytest.raises(kind) as caught:
        await ask(stand_in, WITH_TOOLS, key="sk-very-secret", seconds=1.2)
    assert caught.value.extensions["hop"] == "model"
    assert "sk-very-secret" not in caught.value.detail


async def test_server_that_is_busy_for_a_moment_is_asked_again(stand_in, wire):
    stand_in.script = [wire.fails(503, "server busy"), wire.says("Now")]
    assert (await ask(stand_in)).text == "Now"


async def test_refusal_that_will_stay_is_not_asked_again(stand_in, wire):
    stand_in.script = [wire.fails(400, "m does not support tools")]
    with pytest.raises(LlmNoTools):
        await ask(stand_in)
    assert len(stand_in.bodies) == 1


async def test_nobody_at_the_address_is_unreachable(free_port):
    async with model_at(f"http://127.0.0.1:{free_port}/v1") as model:
        with pytest.raises(LlmUnreachable):
            await model.answer(HELLO, Deadline.after(1.0))
        with pytest.raises(LlmUnreachable):
            await model.check()


async def test_silent_server_is_a_timeout_and_its_work_is_stopped(stand_in, wire):
    stand_in.script = [wire.hangs_after(wire.chunk({"content": "a"}))]
    with pytest.raises(LlmTimeout):
        await ask(stand_in, seconds=0.4)
    await asyncio.wait_for(stand_in.hung_up.wait(), 3)


async def test_cancelling_closes_the_connection(stand_in, wire):
    stand_in.script = [wire.hangs_after(wire.chunk({"content": "a"}))]
    async with model_at(stand_in.url) as model:
        task = asyncio.ensure_future(model.answer(HELLO, Deadline.after(30)))
        async with asyncio.timeout(3):
            while not stand_in.bodies:  # noqa: ASYNC110  # the server's list is no event
                await asyncio.sleep(0.005)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.wait_for(stand_in.hung_up.wait(), 3)


async def test_key_is_sent_and_nothing_of_the_environment_with_it(stand_in, wire, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-openai")
    monkeypatch.setenv("OPENAI_ORG_ID", "org-secret")
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "X-Secret: yes")
    stand_in.script = [wire.says("x")]
    await ask(stand_in, key="mine")
    headers = stand_in.headers[0]
    assert headers["authorization"] == "Bearer mine"
    assert not {"openai-organization", "openai-project", "x-secret"} & set(headers)


async def test_without_a_key_no_authorization_is_sent(stand_in, wire, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-openai")
    stand_in.script = [wire.says("x")]
    async with model_at(stand_in.url) as model:
        await model.answer(HELLO, Deadline.after(5))
        await model.check()
    assert all("authorization" not in headers for headers in stand_in.headers)


async def test_check_passes_when_the_model_is_listed(stand_in):
    async with model_at(stand_in.url) as model:
        await model.check()


@pytest.mark.parametrize("data", [None, [], [{"id": "other", "owned_by": "library"}]])
async def test_check_fails_when_the_model_is_not_listed(stand_in, data):
    stand_in.models = {"object": "list", "data": data}
    async with model_at(stand_in.url) as model:
        with pytest.raises(LlmModelNotFound, match="ollama pull m"):
            await model.check()


@pytest.mark.parametrize(("status", "kind"), [(401, LlmRefusedKey), (500, LlmFailed)])
async def test_check_says_why_it_failed(stand_in, status, kind):
    stand_in.models_status = status
    async with model_at(stand_in.url) as model:
        with pytest.raises(kind):
            await model.check()


async def test_check_passes_where_models_are_not_listed(stand_in):
    stand_in.models_status = 404
    async with model_at(stand_in.url) as model:
        await model.check()


@pytest.mark.parametrize(
    ("model", "entries", "expected"),
    [
        ("llama3.1", [{"id": "llama3.1:latest"}], True),
        ("llama3.1:latest", [{"id": "llama3.1:latest"}], True),
        ("llama3.1:8b", [{"id": "llama3.1:latest"}], False),
        ("any", [{"id": "x.gguf", "owned_by": "llamacpp"}], True),
        ("openai/gpt", [{"id": "openai/*"}], True),
    ],
)
def test_listed_models_are_recognised(model, entries, expected):
    assert is_listed(model, json.dumps({"data": entries}).encode()) is expected
