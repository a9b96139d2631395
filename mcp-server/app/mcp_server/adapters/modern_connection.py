"""A connection to an upstream of the 2026-07-28 era: stateless requests, one stream of changes."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from typing import Any

from servicekit.context import new_context, use_context
from servicekit.mcp_client import PROTOCOL_VERSION, Change, McpClient
from servicekit.rpc import RpcError

from mcp_server.upstream import Caller, Inventory

PROBE_SECONDS = 1.0
_PROBE_DEADLINE_SECONDS = 5.0
_METHOD_NOT_FOUND = -32601
# The gateway speaks for itself towards the upstream; these fields of a caller stop here.
_HOP_META = frozenset(
    {"io.modelcontextprotocol/protocolVersion", "io.modelcontextprotocol/clientInfo"}
)
_SERVER_INFO = "io.modelcontextprotocol/serverInfo"


class ModernConnection:
    """Speaks 2026-07-28 to one upstream.

    Parameters
    ----------
    client
        The light client.
    capabilities
        What the upstream said on `server/discover`.
    """

    def __init__(self, client: McpClient, capabilities: Mapping[str, Any]) -> None:
        self._client = client
        self._capabilities = capabilities

    @property
    def protocol_version(self) -> str:
        """The revision that both ends speak."""
        return PROTOCOL_VERSION

    async def inventory(self) -> Inventory:
        """Ask for all lists that the upstream has."""
        has = self._capabilities.get
        return Inventory(
            tools=await self._items(has("tools"), "tools/list", "tools"),
            prompts=await self._items(has("prompts"), "prompts/list", "prompts"),
            resources=await self._items(has("resources"), "resources/list", "resources"),
            templates=await self._items(
                has("resources"), "resources/templates/list", "resourceTemplates"
            ),
            offers_completions=has("completions") is not None,
        )

    async def _items(self, offered: Any, method: str, key: str) -> tuple[dict[str, Any], ...]:
        if offered is None:
            return ()
        try:
            return tuple(await self._client.list_all(method, key))
        except RpcError as error:
            if error.code == _METHOD_NOT_FOUND:
                return ()
            raise

    async def request(
        self,
        method: str,
        params: Mapping[str, Any],
        caller: Caller,
        headers: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        """Send one request; what the upstream tells meanwhile goes to the caller."""
        meta = {key: value for key, value in _meta(params).items() if key not in _HOP_META}
        meta["io.modelcontextprotocol/clientCapabilities"] = dict(caller.capabilities)
        if caller.log_level is not None:
            meta["io.modelcontextprotocol/logLevel"] = caller.log_level
        result = await self._client.request(
            method,
            {**params, "_meta": meta},
            headers=headers,
            on_notification=caller.notify,
        )
        if _SERVER_INFO in (meta := dict(_meta(result))):
            del meta[_SERVER_INFO]
            result = {**result, "_meta": meta}
        return result

    @asynccontextmanager
    async def changes(self, watched: frozenset[str]) -> AsyncIterator[AsyncIterator[Change]]:
        """Follow the upstream's stream of changes; probe it where it has none."""
        wanted = self._wanted(watched)
        if not wanted:
            async with aclosing(self._probes()) as probes:
                yield probes
            return
        async with self._client.listen(wanted=wanted) as stream:
            yield stream

    def _wanted(self, watched: frozenset[str]) -> dict[str, Any]:
        wanted: dict[str, Any] = {
            f"{kind}ListChanged": True
            for kind in ("tools", "prompts", "resources")
            # Listen only where it is advertised: others would refuse it again and again.
            if (self._capabilities.get(kind) or {}).get("listChanged") is True
        }
        if watched and (self._capabilities.get("resources") or {}).get("subscribe") is True:
            wanted["resourceSubscriptions"] = sorted(watched)
        return wanted

    async def _probes(self) -> AsyncGenerator[Change, None]:
        """Yield nothing, and raise when the upstream stops answering."""
        while True:
            await asyncio.sleep(PROBE_SECONDS)
            with use_context(new_context(_PROBE_DEADLINE_SECONDS)):
                await self._client.request("server/discover")
        yield  # pragma: no cover  # makes this a generator


def _meta(message: Mapping[str, Any]) -> Mapping[str, Any]:
    meta = message.get("_meta")
    return meta if isinstance(meta, Mapping) else {}
