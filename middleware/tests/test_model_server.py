"""What the adapter learns of the server behind an endpoint, and how quietly."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from middleware.adapters.llm_errors import Blame
from middleware.adapters.model_server import ModelServer, listed_window
from middleware.endpoint import Endpoint
from middleware.errors import LlmModelNotFound, LlmNoTools, LlmUnreachable
from servicekit.deadline import Deadline

VERSION = "/api/version"


class Server:
    """Answers each path with a document, and remembers what it was asked."""

    def __init__(self, **answers: Any) -> None:
        self.answers = {f"/{path.replace('_', '/')}": given for path, given in answers.items()}
        self.asked: list[str] = []
        self.is_down = False

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if self.is_down:
            raise httpx.ConnectError("refused")
        path = request.url.path
        self.asked.append(path)
        answer = self.answers.get(path)
        if isinstance(answer, list):
            answer = answer.pop(0) if len(answer) > 1 else answer[0]
        if answer is None:
            return httpx.Response(404, text="404 page not found")
        return httpx.Response(200, json=answer)


def an_ollama(**answers: Any) -> Server:
    usual = {
        "v1_models": {"data": [{"id": "m:latest"}]},
        "api_version": {"version": "0.24.0"},
        "api_show": {"capabilities": ["completion", "tools"]},
        "api_ps": {"models": [{"name": "m:latest", "context_length": 4096}]},
    }
    return Server(**(usual | answers))


@asynccontextmanager
async def behind(
    server: Server, window: int | None = None, kind: Any = "configured"
) -> AsyncIterator[ModelServer]:
    endpoint = Endpoint(kind, "http://server/v1", "m", "key")
    async with httpx.AsyncClient(transport=httpx.MockTransport(server)) as client:
        yield ModelServer(endpoint, client, Blame(endpoint), window)


def soon() -> Deadline:
    return Deadline.after(5)


async def test_model_with_tools_is_well_and_its_card_is_not_asked_for_each_time():
    server = an_ollama()
    async with behind(server) as known:
        for _ in range(3):
            await known.check()
    assert server.asked.count("/api/show") == server.asked.count(VERSION) == 1


async def test_model_without_tools_fails_the_check():
    async with behind(an_ollama(api_show={"capabilities": ["completion"]})) as known:
        with pytest.raises(LlmNoTools, match="can't call tools"):
            await known.check()


async def test_card_without_capabilities_is_trusted():
    async with behind(an_ollama(api_show={"license": "MIT"})) as known:
        await known.check()


async def test_model_that_has_no_card_is_missing():
    async with behind(an_ollama(api_show=None)) as known:
        with pytest.raises(LlmModelNotFound):
            await known.check()


async def test_model_that_ollama_lists_by_a_shorter_name_is_there():
    # As of `library/m` and `registry.ollama.ai/library/m`, which it answers to.
    listed = {"data": [{"id": "of-the-library:latest"}]}
    async with behind(an_ollama(v1_models=listed)) as known:
        await known.check()
    async with behind(an_ollama(v1_models=listed, api_show=None)) as known:
        with pytest.raises(LlmModelNotFound):
            await known.check()


async def test_model_that_another_server_does_not_list_is_missing():
    async with behind(Server(v1_models={"data": [{"id": "other"}]})) as known:
        with pytest.raises(LlmModelNotFound):
            await known.check()


async def test_model_that_vanishes_is_missed_at_the_next_check():
    server = an_ollama()
    async with behind(server) as known:
        await known.check()
        server.answers |= {"/v1/models": {"data": []}, "/api/show": None}
        with pytest.raises(LlmModelNotFound):
            await known.check()


async def test_other_server_is_asked_once_and_left_alone():
    server = Server(v1_models={"data": [{"id": "m"}]})
    async with behind(server) as known:
        for _ in range(3):
            await known.check()
        assert await known.window(soon()) == 8192
        assert known.cutting_window is None
    assert [path for path in server.asked if path.startswith("/api/")] == [VERSION]


async def test_own_model_is_not_asked_for_another_s_api():
    server = Server(v1_models={"data": [{"id": "m"}]})
    async with behind(server, kind="embedded") as known:
        await known.check()
        assert await known.window(soon()) is None
    assert set(server.asked) == {"/v1/models"}


async def test_server_that_was_away_may_be_another_one():
    server = an_ollama()
    async with behind(server) as known:
        await known.check()
        server.is_down = True
        with pytest.raises(LlmUnreachable):
            await known.check()
        server.is_down = False
        server.answers = {"/v1/models": {"data": [{"id": "m"}]}}
        await known.check()
        assert known.cutting_window is None


@pytest.mark.parametrize(("configured", "window"), [(None, 4096), (2048, 2048), (32768, 4096)])
async def test_window_is_what_ollama_has_loaded_or_less_if_so_set(configured, window):
    async with behind(an_ollama(), configured) as known:
        assert await known.window(soon()) == window
        assert known.cutting_window == 4096


async def test_model_that_is_not_loaded_is_loaded_to_learn_its_window():
    loaded = {"models": [{"name": "m:latest", "context_length": 16384}]}
    server = an_ollama(api_ps=[{"models": []}, loaded], api_generate={"done": True})
    async with behind(server) as known:
        assert await known.window(soon()) == 16384
    assert server.asked.count("/api/generate") == 1


async def test_window_that_can_t_be_learnt_is_guessed():
    async with behind(an_ollama(api_ps=None)) as known:
        assert await known.window(soon()) == 8192


async def test_window_that_was_seen_is_kept_while_the_server_is_too_busy_to_say_it():
    server = an_ollama()
    async with behind(server) as known:
        assert await known.window(soon()) == 4096
        server.is_down = True
        assert await known.window(soon()) == 4096


async def test_window_of_a_server_that_is_down_is_guessed():
    server = an_ollama()
    server.is_down = True
    async with behind(server, 1000) as known:
        assert await known.window(soon()) == 1000


async def test_window_in_the_list_of_models_is_used():
    async with behind(Server(v1_models={"data": [{"id": "m", "max_model_len": 32768}]})) as known:
        await known.check()
        assert await known.window(soon()) == 32768


@pytest.mark.parametrize(
    ("entry", "window"),
    [
        ({"id": "m", "context_length": 10}, 10),
        ({"id": "m.gguf", "owned_by": "llamacpp", "meta": {"n_ctx": 20, "n_ctx_train": 9}}, 20),
        ({"id": "m.gguf", "owned_by": "llamacpp", "meta": {"n_ctx_train": 9}}, None),
        ({"id": "other", "context_length": 10}, None),
        ({"id": "m", "context_length": "10"}, None),
        ({"id": "m", "context_length": True}, None),
    ],
)
def test_servers_name_their_window_in_different_places(entry, window):
    assert listed_window("m", json.dumps({"data": [entry]}).encode()) == window
