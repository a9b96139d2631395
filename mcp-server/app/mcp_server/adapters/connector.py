"""Opens a connection to an upstream, in the newest era that it speaks."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
from servicekit.context import MAX_DEADLINE_SECONDS
from servicekit.errors import StackError, UpstreamUnavailable
from servicekit.mcp_client import PROTOCOL_VERSION, ClientIdentity, McpClient
from servicekit.outbound import IDLE_CONNECTION_SECONDS, internal_client
from servicekit.rpc import RpcError
from servicekit.service import package_version

from mcp_server.adapters.legacy_connection import open_legacy
from mcp_server.adapters.modern_connection import ModernConnection
from mcp_server.settings import UpstreamAddress
from mcp_server.upstream import Connection

# What servers of older eras answer to a request that they don't know.
_LEGACY_STATUSES = frozenset({400, 404, 405, 406, 415, 422})
_UNSUPPORTED_VERSION = -32022
_LIMITS = httpx.Limits(
    max_connections=256,
    max_keepalive_connections=32,
    keepalive_expiry=IDLE_CONNECTION_SECONDS,
)


class McpConnector:
    """Connects to one upstream; its HTTP client lives as long as the gateway.

    Parameters
    ----------
    address
        Own services are reached without any proxy, foreign ones through it.
    """

    def __init__(self, address: UpstreamAddress) -> None:
        self._address = address
        self._http = (
            internal_client("")
            if address.is_own
            else httpx.AsyncClient(
                trust_env=True,
                limits=_LIMITS,
                timeout=httpx.Timeout(MAX_DEADLINE_SECONDS, connect=5),
            )
        )

    async def aclose(self) -> None:
        """Close the HTTP connections."""
        await self._http.aclose()

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[Connection]:
        """Open a connection: 2026-07-28 where the upstream speaks it, the handshake else."""
        identity = ClientIdentity(name="mcp-server", version=package_version("mcp-server"))
        client = McpClient(
            self._address.url, peer=self._address.name, identity=identity, http=self._http
        )
        try:
            discovered = await client.request("server/discover")
        except RpcError as error:
            if error.code == _UNSUPPORTED_VERSION and not _speaks_older(error.data):
                raise
            discovered = None
        except StackError as error:
            if not _looks_older(error):
                raise
            discovered = None
        if discovered is not None and PROTOCOL_VERSION in discovered.get("supportedVersions", []):
            yield ModernConnection(client, discovered.get("capabilities") or {})
            return
        async with open_legacy(self._address) as connection:
            yield connection


def _speaks_older(data: object) -> bool:
    supported = data.get("supported") if isinstance(data, dict) else None
    return not isinstance(supported, list) or any(
        isinstance(version, str) and version < PROTOCOL_VERSION for version in supported
    )


def _looks_older(error: StackError) -> bool:
    if not isinstance(error, UpstreamUnavailable):
        return error.http_status in _LEGACY_STATUSES
    return error.extensions.get("upstream_status") in _LEGACY_STATUSES
