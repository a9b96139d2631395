"""The OpenAI-compatible door, by the official client over a real port where it matters."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import openai
import pytest
import uvicorn
from middleware.conversation import AssistantMessage, SystemMessage, ToolMessage, ToolResult
from middleware.errors import GatewayUnreachable, LlmBusy, LlmCutOff
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

CLOCK = tool("get_current_time", {"timezone": {"type": "string"}})
ASK_USER = {
    "type": "function",
    "function": {
        "name": "ask_user",
        "description": "Ask",
        "parameters": {"type": "object", "properties": {"question": {"type": "string"}}},
    },
}


def usual_tools() -> FakeToolbox:
    return toolbox_of((CLOCK, lambda _: ToolResult("17:03 UTC")))


@asynccontextmanager
async def served(
    model: Any, toolbox: FakeToolbox | None = None, **settings: Any
) -> AsyncIterator[openai.AsyncOpenAI]:
    app = create_app(MiddlewareSettings(**settings), model=model, toolbox=toolbox or usual_tools())
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        config = uvicorn.Config(app, log_config=None, ws="none", timeout_graceful_shutdown=1)
        server = uvicorn.Server(config)
        # Not serve(): that takes over the process's signals, which are pytest's.
        task = asyncio.ensure_future(server._serve([listener]))
        async with asyncio.timeout(10):
            while not server.started:  # noqa: ASYNC110  # uvicorn offers no event
                await asyncio.sleep(0.005)
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
        http = httpx.AsyncClient(trust_env=False)
        client = openai.AsyncOpenAI(
            base_url=url,
            api_key="any",
            max_retries=0,
            timeout=10,
            http_client=http,  # type: ignore[arg-type]  # the SDK takes httpx's client too
        )
        try:
            yield client
        finally:
            await client.close()
            server.should_exit = True
            server.force_exit = True
            async with asyncio.timeout(10):
                await task


def user(text: str) -> list[Any]:
    return [{"role": "user", "content": text}]


async def test_models_lists_the_model_that_answers():
    async with served(ScriptedModel([says("x")])) as client:
        models = await client.models.list()
    assert [model.id for model in models.data] == ["scripted"]


async def test_completion_runs_our_tools_inside():
    model = ScriptedModel([calls(("get_current_time", "{}")), says("It is 17:03.")])
    async with served(model) as client:
        done = await client.chat.completions.create(model="any", messages=user("time?"))
    assert done.choices[0].message.content == "It is 17:03."
    assert done.choices[0].message.tool_calls is None
    assert done.choices[0].finish_reason == "stop"
    assert done.usage is not None
    assert done.usage.total_tokens == 30
    assert done.model == "scripted"


@pytest.mark.parametrize("has_usage", [True, False])
async def test_stream_ends_with_reason_usage_and_done(has_usage):
    model = ScriptedModel([calls(("get_current_time", "{}")), says("It is 17:03.")])
    options: Any = {"stream_options": {"include_usage": True}} if has_usage else {}
    async with served(model) as client:
        stream = await client.chat.completions.create(
            model="any", messages=user("time?"), stream=True, **options
        )
        chunks = [chunk async for chunk in stream]
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    reasons = [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices]
    assert text == "It is 17:03."
    assert reasons[-1] == "stop"
    assert [chunk.usage.total_tokens for chunk in chunks if chunk.usage] == [30] * has_usage


async def test_answer_is_heard_while_the_model_still_makes_it():
    goes_on = asyncio.Event()
    words = [f"word{number}" for number in range(200)]
    model = ScriptedModel([says(" ".join(words))])

    async def between_words() -> None:
        nonlocal spoken
        spoken += 1
        if spoken == 100:
            await goes_on.wait()

    spoken = 0
    model.between_words = between_words
    text, was_heard_early = "", False
    async with served(model) as client, asyncio.timeout(10):
        stream = await client.chat.completions.create(
            model="any", messages=user("tell"), stream=True
        )
        async for chunk in stream:
            text += chunk.choices[0].delta.content or ""
            if "word99" in text and not goes_on.is_set():
                was_heard_early = True
                goes_on.set()
    assert was_heard_early
    assert text == " ".join(words)


async def test_words_before_a_call_are_not_streamed():
    before = calls(("get_current_time", "{}"), text="Let me look at the clock.")
    model = ScriptedModel([before, says("It is 17:03.")])
    async with served(model) as client:
        stream = await client.chat.completions.create(
            model="any", messages=user("time?"), stream=True
        )
        text = "".join([chunk.choices[0].delta.content or "" async for chunk in stream])
    assert text == "It is 17:03."


async def test_stream_says_done_on_the_wire():
    async with served(ScriptedModel([says("x")])) as client:
        raw = await client.chat.completions.with_raw_response.create(
            model="any", messages=user("hi"), stream=True
        )
        body = (await raw.http_response.aread()).decode()
    assert body.endswith("data: [DONE]\n\n")


@pytest.mark.parametrize("is_stream", [True, False])
async def test_client_s_tool_is_handed_back_and_its_result_is_taken(is_stream):
    model = ScriptedModel([calls(("ask_user", '{"question": "Which?"}')), says("The blue one.")])
    messages = user("Choose.")
    async with served(model) as client:
        if is_stream:
            stream = await client.chat.completions.create(
                model="any",
                messages=messages,
                tools=[ASK_USER],  # type: ignore[list-item]  # a plain dict is what users send
                stream=True,
            )
            deltas = [chunk.choices[0] async for chunk in stream if chunk.choices]
            (call,) = [piece for delta in deltas for piece in delta.delta.tool_calls or ()]
            assert deltas[-1].finish_reason == "tool_calls"
            call_id, function = call.id, call.function
        else:
            done = await client.chat.completions.create(
                model="any",
                messages=messages,
                tools=[ASK_USER],  # type: ignore[list-item]  # as above
            )
            assert done.choices[0].finish_reason == "tool_calls"
            (whole,) = done.choices[0].message.tool_calls or ()
            call_id, function = whole.id, whole.function  # type: ignore[union-attr, assignment]  # a function
        assert function is not None
        assert (function.name, function.arguments) == ("ask_user", '{"question": "Which?"}')
        made = {"id": call_id, "type": "function", "function": function.model_dump()}
        answer = await client.chat.completions.create(
            model="any",
            messages=[
                *messages,
                {"role": "assistant", "content": None, "tool_calls": [made]},
                {"role": "tool", "tool_call_id": call_id, "content": "blue"},
            ],
            tools=[ASK_USER],  # type: ignore[list-item]  # as above
        )
    assert answer.choices[0].message.content == "The blue one."
    history = model.requests[-1].messages
    assert isinstance(history[-2], AssistantMessage)
    assert history[-1] == ToolMessage(str(call_id), "ask_user", "blue")


async def test_hidden_task_is_answered_as_text_without_tools():
    model = ScriptedModel([says('{"title": "Time"}')])
    prompt = "### Task:\nGive a title.\n<chat>run ```python\nprint(1)\n```</chat>"
    async with served(model) as client:
        done = await client.chat.completions.create(
            model="any",
            messages=user(prompt),
            tools=[ASK_USER],  # type: ignore[list-item]  # as above
        )
    assert done.choices[0].message.content == '{"title": "Time"}'
    assert model.requests[0].tools == ()
    assert not any(isinstance(message, SystemMessage) for message in model.requests[0].messages)


async def test_tool_choice_none_offers_no_tools():
    model = ScriptedModel([says("x")])
    async with served(model) as client:
        await client.chat.completions.create(model="m", messages=user("hi"), tool_choice="none")
    assert model.requests[0].tools == ()


async def test_text_parts_are_joined():
    model = ScriptedModel([says("x")])
    parts: Any = [{"type": "text", "text": "What"}, {"type": "text", "text": "time?"}]
    async with served(model) as client:
        await client.chat.completions.create(
            model="m", messages=[{"role": "user", "content": parts}]
        )
    assert model.requests[0].messages[-1].text == "What\ntime?"


@pytest.mark.parametrize(
    "messages",
    [
        [],
        [{"role": "wizard", "content": "x"}],
        [{"role": "assistant", "content": "x"}],
        [{"role": "user", "content": ""}],
        [{"role": "user", "content": 5}],
        [{"role": "tool", "content": "x", "tool_call_id": "never-made"}],
    ],
)
async def test_bad_request_is_an_openai_error(messages):
    async with served(ScriptedModel([says("x")])) as client:
        with pytest.raises(openai.BadRequestError) as caught:
            await client.chat.completions.create(model="m", messages=messages)
    assert caught.value.code
    assert caught.value.type == "invalid_request_error"


async def test_body_that_is_no_json_is_an_openai_error():
    async with served(ScriptedModel([says("x")])) as client, httpx.AsyncClient() as http:
        response = await http.post(
            f"{client.base_url}chat/completions",
            content=b"{",
            headers={"content-type": "application/json"},
        )
    assert response.status_code == 400
    assert "message" in json.dumps(response.json())


@pytest.mark.parametrize("is_stream", [True, False])
@pytest.mark.parametrize(
    ("error", "status"), [(LlmBusy("Busy.", retry_after_seconds=2), 503), (LlmCutOff("Cut."), 502)]
)
async def test_failure_of_the_model_has_its_status_even_when_streaming(is_stream, error, status):
    async with served(ScriptedModel([error])) as client:
        with pytest.raises(openai.APIStatusError) as caught:
            await client.chat.completions.create(model="m", messages=user("hi"), stream=is_stream)
    assert caught.value.status_code == status
    assert caught.value.code == error.type


async def test_gateway_that_is_down_is_an_openai_error():
    toolbox = usual_tools()
    toolbox.failure = GatewayUnreachable("Down.")
    async with served(ScriptedModel([says("x")]), toolbox) as client:
        with pytest.raises(openai.APIStatusError) as caught:
            await client.chat.completions.create(model="m", messages=user("hi"))
    assert (caught.value.status_code, caught.value.code) == (502, "gateway-unreachable")


async def test_failure_in_mid_stream_is_said_in_the_stream():
    # The chat's time ends after the stream has begun.
    async with served(HangingModel(), chat_timeout_seconds=1.6) as client:
        stream = await client.chat.completions.create(model="m", messages=user("hi"), stream=True)
        with pytest.raises(openai.APIError, match="in time"):
            async for _ in stream:
                pass


@pytest.mark.parametrize("is_stream", [True, False])
async def test_client_that_hangs_up_stops_the_model(is_stream):
    model = HangingModel()
    async with served(model) as client:

        async def ask() -> None:
            answer = await client.chat.completions.create(
                model="m", messages=user("hi"), stream=is_stream
            )
            if is_stream:
                async for _ in answer:  # type: ignore[union-attr]  # a stream here
                    pass

        task = asyncio.ensure_future(ask())
        await asyncio.wait_for(model.was_asked.wait(), 5)
        if is_stream:
            # Into the stream itself, past the wait for an early error.
            await asyncio.wait((task,), timeout=1.2)
        task.cancel()
        await asyncio.wait_for(model.was_cancelled.wait(), 5)
        await asyncio.gather(task, return_exceptions=True)
