"""The same adapter against llama.cpp's own server, which has no API of Ollama's."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from middleware.adapters.llm import OpenAiChatModel, Sampling
from middleware.budget import TurnLimits
from middleware.conversation import ModelRequest, ToolResult, UserMessage
from middleware.endpoint import Endpoint
from middleware.errors import ContextTooLong
from middleware.testing import tool, toolbox_of
from middleware.turn import Turn
from servicekit.deadline import Deadline
from servicekit.outbound import internal_client
from stack_support.llama_cpp import llama_server

pytestmark = pytest.mark.ollama

WINDOW = 2048
PYTHON = tool("execute_code", {"code": {"type": "string"}}, required=["code"])


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder: Path = tmp_path_factory.mktemp("llama")
    with llama_server(folder, "caller", window=WINDOW) as url:
        yield url


@asynccontextmanager
async def model_at(url: str) -> AsyncIterator[OpenAiChatModel]:
    async with internal_client(url) as client:
        yield OpenAiChatModel(Endpoint("configured", url, "any-name"), Sampling(200), client)


async def test_tool_is_called_and_its_result_answered(address):
    toolbox = toolbox_of((PYTHON, lambda _: ToolResult("42")))
    async with model_at(address) as model:
        await model.check()
        turn = Turn(model, toolbox, TurnLimits(max_answer_tokens=200))
        outcome = await turn.run((UserMessage("6*7?"),), Deadline.after(20))
    assert (outcome.text, [record.name for record in outcome.records]) == (
        "It is 42.",
        ["execute_code"],
    )


async def test_window_is_read_from_its_list_of_models(address):
    async with model_at(address) as model:
        await model.check()
        assert await model.window(Deadline.after(5)) == WINDOW


async def test_what_is_too_long_for_it_is_said_plainly(address):
    async with model_at(address) as model:
        with pytest.raises(ContextTooLong):
            await model.answer(ModelRequest((UserMessage("x" * 9000),), ()), Deadline.after(20))
