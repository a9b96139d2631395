"""The middleware's model adapter against a real Ollama, in each way in which that hurts."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import httpx
import psutil
import pytest
from middleware.adapters.completion import wire_tools
from middleware.adapters.llm import OpenAiChatModel, Sampling
from middleware.budget import TurnLimits
from middleware.completion_request import CompletionRequest, wanted
from middleware.conversation import ModelRequest, Tool, ToolResult, UserMessage
from middleware.endpoint import Endpoint
from middleware.errors import (
    ContextTooLong,
    LlmBusy,
    LlmCutOff,
    LlmEmptyAnswer,
    LlmModelNotFound,
    LlmNoTools,
    LlmUnreachable,
)
from middleware.offer import Offer
from middleware.testing import FakeToolbox, tool, toolbox_of
from middleware.turn import Turn, TurnOutcome
from servicekit.deadline import Deadline
from servicekit.errors import StackError
from servicekit.outbound import internal_client
from stack_support.real_ollama import RealOllama, real_ollama
from stack_support.scripted_models import CODE

pytestmark = pytest.mark.ollama

PYTHON = tool("execute_code", {"code": {"type": "string"}}, required=["code"])
CLOCK = tool("get_timezone_time", {"timezone": {"type": "string"}})
HELLO = (UserMessage("Hello"),)
WITH_TOOLS = ModelRequest(HELLO, (PYTHON, CLOCK))


@asynccontextmanager
async def model_at(
    ollama: RealOllama, name: str, *, answer_tokens: int = 200
) -> AsyncIterator[OpenAiChatModel]:
    endpoint = Endpoint("configured", ollama.url, name, "ollama")
    async with internal_client(ollama.url) as client:
        yield OpenAiChatModel(endpoint, Sampling(answer_tokens), client)


async def ask(ollama: RealOllama, name: str, request: ModelRequest = WITH_TOOLS, **options: Any):
    async with model_at(ollama, name, **options) as model:
        return await model.answer(request, Deadline.after(20))


def tools() -> FakeToolbox:
    return toolbox_of(
        (PYTHON, lambda _: ToolResult("42")), (CLOCK, lambda _: ToolResult("09:00 JST"))
    )


async def turn(ollama: RealOllama, name: str, toolbox: FakeToolbox, text: str = "6*7?"):
    async with model_at(ollama, name) as model:
        loop = Turn(model, toolbox, TurnLimits(max_answer_tokens=200))
        outcome: TurnOutcome = await loop.run((UserMessage(text),), Deadline.after(20))
        return outcome


async def test_tool_is_called_and_its_result_answered(ollama):
    toolbox = tools()
    outcome = await turn(ollama, "caller", toolbox)
    assert (outcome.text, outcome.end, outcome.steps) == ("It is 42.", "stop", 2)
    assert toolbox.made == [("execute_code", {"code": CODE})]
    assert outcome.usage.completion_tokens > 0


async def test_two_calls_of_one_answer_are_both_made(ollama):
    toolbox = tools()
    outcome = await turn(ollama, "two-calls", toolbox)
    assert [name for name, _ in toolbox.made] == ["execute_code", "get_timezone_time"]
    assert outcome.text == "Both tools have answered."


@pytest.mark.parametrize("name", ["empty", "unknown-tool", "broken-call"])
async def test_answer_that_ollama_swallowed_is_a_failure_and_no_answer(ollama, name):
    with pytest.raises(LlmEmptyAnswer, match="empty answer twice"):
        await turn(ollama, name, tools())


async def test_model_that_never_ends_is_bounded(ollama):
    answer = await ask(ollama, "endless", answer_tokens=60)
    assert (answer.finish_reason, answer.usage.completion_tokens) == ("length", 60)
    assert answer.text.startswith("and so on, and so on")


async def test_model_without_tools_is_told_of_at_the_check_and_at_the_answer(ollama):
    async with model_at(ollama, "no-tools") as model:
        with pytest.raises(LlmNoTools, match="no-tools can't call tools"):
            await model.check()
        with pytest.raises(LlmNoTools):
            await model.answer(WITH_TOOLS, Deadline.after(10))
        assert (await model.answer(ModelRequest(HELLO, ()), Deadline.after(10))).text


async def test_model_that_is_missing_says_how_to_get_it(ollama):
    async with model_at(ollama, "nowhere") as model:
        with pytest.raises(LlmModelNotFound, match="ollama pull nowhere"):
            await model.check()
        with pytest.raises(LlmModelNotFound, match="ollama pull nowhere"):
            await model.answer(WITH_TOOLS, Deadline.after(10))


@pytest.mark.parametrize("name", ["words", "words:latest"])
async def test_model_is_well_under_both_of_its_names(ollama, name):
    async with model_at(ollama, name) as model:
        await model.check()


async def test_window_is_the_loaded_one(ollama):
    async with model_at(ollama, "small-window") as model:
        assert await model.window(Deadline.after(10)) == 1024
    async with model_at(ollama, "words") as model:
        assert await model.window(Deadline.after(10)) == 4096


async def test_message_that_can_t_fit_is_refused_before_it_is_sent(ollama):
    with pytest.raises(ContextTooLong, match="window has 1024"):
        await turn(ollama, "small-window", tools(), "long " * 2000)


async def test_prompt_that_ollama_cut_without_a_word_is_a_failure(ollama):
    # Signs that cost more tokens than the estimate thinks: each letter of a scripted model is one.
    request = ModelRequest((UserMessage("x" * 3000),), ())
    async with model_at(ollama, "small-window") as model:
        await model.window(Deadline.after(10))
        with pytest.raises(ContextTooLong, match="cut it without a word"):
            await model.answer(request, Deadline.after(10))


async def test_foreign_schemas_reach_the_model_in_words(ollama):
    schema = {
        "type": ["object", "null"],
        "properties": {
            "anything": True,
            "count": {"type": "integer", "minimum": 1, "maximum": 9, "default": 3},
            "odd": {"type": "string", "description": {"not": "a string"}},
            "place": {"$ref": "#/$defs/place"},
        },
        "required": "count",
        "$defs": {"place": {"type": "string", "maxLength": 40, "description": "a town"}},
    }
    offer = Offer.of([Tool("foreign", "From another server", schema)])
    answer = await ask(ollama, "shows-tools", ModelRequest(HELLO, offer.tools))
    assert answer.text
    async with httpx.AsyncClient(trust_env=False) as client:
        raw = {"parameters": schema, "name": "foreign", "description": ""}
        body = {"model": "shows-tools", "messages": [{"role": "user", "content": "x"}]}
        refused = await client.post(
            f"{ollama.url}/chat/completions",
            json=body | {"tools": [{"type": "function", "function": raw}]},
        )
        assert refused.status_code == 400  # else this test would prove nothing
        rendered = await client.post(
            f"{ollama.root_url}/api/chat",
            json=body | {"tools": wire_tools(offer.tools), "_debug_render_only": True},
        )
    prompt = json.loads(rendered.content)["_debug_info"]["rendered_template"]
    assert "at least 1, at most 9, default 3" in prompt
    assert "a town (at most 40 characters)" in prompt


async def test_history_of_a_client_with_broken_arguments_is_accepted(ollama):
    call = {"id": "c", "type": "function", "function": {"name": "t", "arguments": "{oops"}}
    history = CompletionRequest.model_validate(
        {
            "messages": [
                {"role": "user", "content": "x"},
                {"role": "assistant", "content": None, "tool_calls": [call]},
                {"role": "tool", "tool_call_id": "c", "content": "no"},
                {"role": "user", "content": "again"},
            ]
        }
    )
    messages = wanted(history, system_prompt="rules").messages
    assert (await ask(ollama, "words", ModelRequest(messages, ()))).text


async def test_retry_without_thinking_is_accepted_by_a_model_that_can_t_think(ollama):
    request = ModelRequest(HELLO, (), is_retry_without_thinking=True)
    assert (await ask(ollama, "words", request)).text


async def test_runner_that_dies_in_mid_stream_is_asked_again(tmp_path):
    with real_ollama(tmp_path, ["endless"]) as own:
        async with model_at(own, "endless", answer_tokens=1500) as model:
            asking = asyncio.ensure_future(model.answer(WITH_TOOLS, Deadline.after(40)))
            await killed(own, asking)
            answer = await asking
    assert (answer.finish_reason, answer.usage.completion_tokens) == ("length", 1500)


async def test_runner_that_dies_each_time_is_a_failure(tmp_path):
    with real_ollama(tmp_path, ["endless"]) as own:
        async with model_at(own, "endless", answer_tokens=3000) as model:
            asking = asyncio.ensure_future(model.answer(WITH_TOOLS, Deadline.after(40)))
            await killed(own, asking)
            await killed(own, asking)
            with pytest.raises(LlmCutOff, match="may have crashed"):
                await asking


async def test_server_that_is_killed_in_mid_stream_is_a_typed_failure(tmp_path):
    with real_ollama(tmp_path, ["endless"]) as own:
        async with model_at(own, "endless", answer_tokens=3000) as model:
            asking = asyncio.ensure_future(model.answer(WITH_TOOLS, Deadline.after(8)))
            await generating(own, asking)
            own.end(is_killed=True)
            with pytest.raises((LlmCutOff, LlmUnreachable)):
                await asking
            with pytest.raises(LlmUnreachable):
                await model.check()


async def test_full_queue_is_busy_and_says_when_to_ask_again(tmp_path):
    with real_ollama(tmp_path, ["endless"], OLLAMA_MAX_QUEUE="1", OLLAMA_NUM_PARALLEL="1") as own:
        async with model_at(own, "endless", answer_tokens=3000) as model:
            asked = [
                asyncio.ensure_future(model.answer(WITH_TOOLS, Deadline.after(1.5)))
                for _ in range(8)
            ]
            ended = await asyncio.gather(*asked, return_exceptions=True)
    busy = [error for error in ended if isinstance(error, LlmBusy)]
    assert busy, ended
    assert all(error.http_status == 503 and error.retry_after_seconds for error in busy)
    assert all(isinstance(error, StackError) for error in ended if isinstance(error, Exception))


async def generating(own: RealOllama, asking: "asyncio.Future[Any]") -> None:
    """Wait until a runner is at work on an answer."""
    async with asyncio.timeout(20):
        while not any(is_at_work(runner) for runner in own.runners()):
            assert not asking.done()
            await asyncio.sleep(0.02)


def is_at_work(runner: psutil.Process) -> bool:
    # Loading one of these small models takes less.
    with suppress(psutil.NoSuchProcess):
        return bool(runner.cpu_times().user > 0.3)
    return False


async def killed(own: RealOllama, asking: "asyncio.Future[Any]") -> None:
    """Kill the runner while it makes an answer."""
    await generating(own, asking)
    assert own.kill_runners()
