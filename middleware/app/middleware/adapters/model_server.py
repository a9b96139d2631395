"""What stands behind the endpoint: whether it has the model, what that can do, and its window.

All servers are asked for their list of models. Where it is Ollama, its own API says more;
where it is not, that is found out quietly, once for each life of the server.
"""

import asyncio
import json
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import httpx
from servicekit.deadline import Deadline
from servicekit.logs import get_logger

from middleware.adapters.llm_errors import Blame, of_status
from middleware.adapters.ollama import OllamaApi
from middleware.endpoint import Endpoint

log = get_logger()

_CHECK_SECONDS = 2.5
_LOAD_SHARE = 0.9
# A model may be pulled anew under its old name; its card is read again after this.
_CARD_SECONDS = 30.0
# Reachable, and without a list of models: not every endpoint has one.
_NO_LIST = frozenset({400, 404, 405, 501})
# Where servers say a model's window in their list: vLLM, OpenRouter and LiteLLM, llama.cpp.
_WINDOW_FIELDS = ("max_model_len", "context_length", "context_window", "n_ctx")


class ModelServer:
    """The server of one model.

    Parameters
    ----------
    configured_window
        The window, in tokens, that whoever runs this service has set.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        client: httpx.AsyncClient,
        blame: Blame,
        configured_window: int | None = None,
    ) -> None:
        self._endpoint = endpoint
        self._client = client
        self._blame = blame
        self._configured = configured_window
        key = endpoint.api_key
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._ollama = OllamaApi(client, endpoint.root_url, self._headers)
        # None: not known yet, or no longer since the server was away.
        self._is_ollama: bool | None = False if endpoint.kind == "embedded" else None
        self._good_card_until = 0.0
        self._listed_window: int | None = None
        self._seen: int | None = None

    @property
    def cutting_window(self) -> int | None:
        """The window, in tokens, to which the server cuts a prompt without a word.

        None where it is not known to do so: others than Ollama refuse what is too long.
        """
        return self._seen if self._is_ollama else None

    async def check(self) -> None:
        """Return when a chat with the model works; raise the reason otherwise."""
        try:
            async with asyncio.timeout(_CHECK_SECONDS):
                await self._check()
        except (TimeoutError, httpx.TimeoutException):
            self._forget()
            raise self._blame.slow() from None
        except httpx.HTTPError:
            self._forget()
            raise self._blame.unreachable() from None

    async def window(self, deadline: Deadline) -> int | None:
        """Return the window that the model has now, in tokens; None where there is none.

        The smaller one of what is set and what the server says. Ollama loads the model to
        say it, which the chat that follows needs in any case.
        """
        # Else what was seen last is the best guess, and the chat that follows finds the same
        # failure and says it better.
        with suppress(httpx.HTTPError):
            self._note(await self._seen_window(deadline))
        known = [number for number in (self._seen, self._configured) if number is not None]
        return min(known) if known else self._endpoint.default_window

    async def _check(self) -> None:
        response = await self._client.get(
            f"{self._endpoint.base_url}/models", headers=self._headers, timeout=_CHECK_SECONDS
        )
        is_there = True
        if response.status_code not in _NO_LIST:
            if not response.is_success:
                raise of_status(response.status_code, response.text, self._blame)
            is_there = is_listed(self._endpoint.model, response.content)
            self._listed_window = listed_window(self._endpoint.model, response.content)
        if not is_there:
            self._good_card_until = 0.0
        # Ollama lists a model by its short name alone, and knows it by its longer ones as well.
        if await self._asks_ollama():
            await self._check_card()
        elif not is_there:
            raise self._blame.model_not_found()

    async def _check_card(self) -> None:
        if time.monotonic() < self._good_card_until:
            return
        card = await self._ollama.card(self._endpoint.model)
        if card is None:
            raise self._blame.model_not_found()
        if card.lacks_tools:
            raise self._blame.no_tools()
        self._good_card_until = time.monotonic() + _CARD_SECONDS

    async def _asks_ollama(self) -> bool:
        if self._is_ollama is None:
            version = await self._ollama.version()
            self._is_ollama = version is not None
            log.info("llm.server", kind="ollama" if version else "openai", version=version or "")
        return self._is_ollama

    async def _seen_window(self, deadline: Deadline) -> int | None:
        if not await self._asks_ollama():
            return self._listed_window
        model = self._endpoint.model
        window = await self._ollama.loaded_window(model)
        if window is None:
            # Not all of the time: the chat has to find out that this was too slow.
            await self._ollama.load(model, max(0.1, deadline.remaining() * _LOAD_SHARE))
            window = await self._ollama.loaded_window(model)
        return window

    def _note(self, seen: int | None) -> None:
        """Keep and log a window that is new; one that was set too large is worth a warning."""
        if seen is None or seen == self._seen:
            return
        self._seen = seen
        if self._configured is not None and self._configured > seen:
            log.warning(
                "llm.window",
                context_tokens=seen,
                advice=f"MIDDLEWARE_CONTEXT_TOKENS is {self._configured}, and the server's window "
                "is smaller; with Ollama, raise OLLAMA_CONTEXT_LENGTH.",
            )
        else:
            log.info("llm.window", context_tokens=seen)

    def _forget(self) -> None:
        """Another server may come back at the same address."""
        if self._endpoint.kind != "embedded":
            self._is_ollama = None
        self._seen = None
        self._good_card_until = 0.0


def is_listed(model: str, body: bytes) -> bool:
    """Whether a list of models has this one, as far as the list can be trusted."""
    entries = _entries(body)
    if entries is None:
        return True
    ids = {str(entry.get("id")) for entry in entries}
    # LiteLLM lists patterns.
    if any(_is_llama_cpp(entry) for entry in entries) or any("*" in name for name in ids):
        return True
    return not ids.isdisjoint(_names(model))


def listed_window(model: str, body: bytes) -> int | None:
    """Return the window that a list of models gives for this one; None when it gives none."""
    for entry in _entries(body) or ():
        if str(entry.get("id")) in _names(model) or _is_llama_cpp(entry):
            meta = entry.get("meta")
            for source in (entry, meta if isinstance(meta, dict) else {}):
                window = _window_in(source)
                if window is not None:
                    return window
    return None


def _window_in(source: Mapping[str, Any]) -> int | None:
    numbers = (source.get(name) for name in _WINDOW_FIELDS)
    return next((n for n in numbers if isinstance(n, int) and n > 0 and n is not True), None)


def _is_llama_cpp(entry: Mapping[str, Any]) -> bool:
    # It serves its one model under any name.
    return entry.get("owned_by") == "llamacpp"


def _names(model: str) -> set[str]:
    return {model, f"{model}:latest", model.removesuffix(":latest")}


def _entries(body: bytes) -> list[dict[str, Any]] | None:
    try:
        document = json.loads(body)
    except ValueError:
        return None
    if not isinstance(document, dict) or "data" not in document:
        return None
    listed = document["data"]
    return (
        [entry for entry in listed if isinstance(entry, dict)] if isinstance(listed, list) else []
    )
