"""Ollama's own API beside its OpenAI-compatible one: what a model can do, and its window.

Any other server answers these addresses with an error, and then nothing is known and
nothing is said.
"""

import asyncio
from dataclasses import dataclass
from typing import Any

import httpx

_ASK_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class ModelCard:
    """What Ollama says of a model; `capabilities` is None with versions that don't say."""

    capabilities: frozenset[str] | None

    @property
    def lacks_tools(self) -> bool:
        """Whether it is known that the model can't call tools."""
        return self.capabilities is not None and "tools" not in self.capabilities


class OllamaApi:
    """Ollama's native API at the root of an endpoint.

    Parameters
    ----------
    root_url
        The address without `/v1`.
    headers
        Sent with each request: the endpoint's key, for a proxy that asks for it.
    """

    def __init__(self, client: httpx.AsyncClient, root_url: str, headers: dict[str, str]) -> None:
        self._client = client
        self._root = root_url.rstrip("/")
        self._headers = headers

    async def version(self) -> str | None:
        """Return Ollama's version; None when something else answers.

        Raises
        ------
        httpx.HTTPError
            When nobody answers.
        """
        document = await self._asked("GET", "/api/version")
        version = document.get("version") if document else None
        return version if isinstance(version, str) and len(document or {}) == 1 else None

    async def card(self, model: str) -> ModelCard | None:
        """Return what a model can do; None when the server has none of that name."""
        document = await self._asked("POST", "/api/show", {"model": model})
        if document is None:
            return None
        listed = document.get("capabilities")
        return ModelCard(frozenset(map(str, listed)) if isinstance(listed, list) else None)

    async def loaded_window(self, model: str) -> int | None:
        """Return the window, in tokens, of a model that is in memory; None when it is not."""
        document = await self._asked("GET", "/api/ps")
        entries = (document or {}).get("models")
        for entry in entries if isinstance(entries, list) else ():
            if isinstance(entry, dict) and _is_same(str(entry.get("name", "")), model):
                window = entry.get("context_length")
                return window if isinstance(window, int) and window > 0 else None
        return None

    async def load(self, model: str, seconds: float) -> None:
        """Bring a model into memory with the window that chats will get; it may take `seconds`."""
        await self._asked("POST", "/api/generate", {"model": model, "stream": False}, seconds)

    async def _asked(
        self,
        method: str,
        path: str,
        body: dict[str, Any] | None = None,
        seconds: float = _ASK_SECONDS,
    ) -> dict[str, Any] | None:
        try:
            async with asyncio.timeout(seconds):
                response = await self._client.request(
                    method, f"{self._root}{path}", json=body, headers=self._headers, timeout=seconds
                )
        except TimeoutError as error:
            raise httpx.ReadTimeout(f"{path} took more than {seconds:g} s") from error
        if not response.is_success:
            return None
        try:
            document = response.json()
        except ValueError:
            return None
        return document if isinstance(document, dict) else None


def _is_same(listed: str, model: str) -> bool:
    return listed in {model, f"{model}:latest"}
