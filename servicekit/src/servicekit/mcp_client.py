"""A light MCP client of the 2026-07-28 era: one POST a request, no session, no handshake.

It is what the hot path uses (middleware → gateway → tool service): the SDK's client
costs more than the server does. It speaks only this era; the SDK's client speaks the
older ones.

    async with McpClient("http://localhost:8000/mcp", peer="mcp-server") as client:
        result = await client.call_tool("get_current_time", {})

Deadline, request id and trace of the running context travel in `_meta`. Cancelling the
awaiting task closes the stream, which is how this era cancels.
"""

import asyncio
import itertools
import json
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Final, Self

import httpx
from mcp.shared.inbound import encode_header_value

from servicekit.context import current_context, new_context, outgoing_meta, use_context
from servicekit.errors import DeadlineExceeded, UpstreamUnavailable
from servicekit.mcp_spans import sent
from servicekit.outbound import RemoteProblem, internal_client
from servicekit.problems import parse_problem
from servicekit.rpc import (
    STREAM_SILENCE_SECONDS,
    RpcError,
    messages_of,
    read_bounded,
    result_of,
    rpc_error,
)
from servicekit.tool_call_result import ToolCallResult
from servicekit.wire.tools import ToolDescription

PROTOCOL_VERSION: Final = "2026-07-28"
_MAX_PAGES: Final = 100
_LISTEN_SECONDS: Final = 3600.0
_HEADER_NAME_PARAMETER: Final = {
    "tools/call": "name",
    "prompts/get": "name",
    "resources/read": "uri",
}

NotificationHandler = Callable[[str, Mapping[str, Any]], Awaitable[None]]
ProgressHandler = Callable[[float, float | None, str | None], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Change:
    """A notification that something on the server changed."""

    method: str
    params: Mapping[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class _Exchange:
    """One request on the wire."""

    id: int
    body: dict[str, Any]
    headers: dict[str, str]
    on_notification: NotificationHandler | None = None


@dataclass(frozen=True, slots=True)
class ClientIdentity:
    """What a request says about the client."""

    name: str = "mcp-stack"
    version: str = "1"
    capabilities: Mapping[str, Any] = field(default_factory=dict)


class McpClient:
    """Speaks to one MCP server.

    Parameters
    ----------
    url
        The server's endpoint (`http://localhost:8000/mcp`).
    peer
        The server's name, for the sentences of the errors.
    http
        A client to use, and to leave open; by default one for our own services.
    """

    def __init__(
        self,
        url: str,
        *,
        peer: str = "the MCP server",
        identity: ClientIdentity | None = None,
        http: httpx.AsyncClient | None = None,
    ) -> None:
        self._url = url
        self._peer = peer
        self._identity = identity or ClientIdentity()
        self._http = http or internal_client("")
        self._owns_http = http is None
        self._ids = itertools.count(1)

    async def __aenter__(self) -> Self:
        """Return the client itself; connections are opened when they are needed."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the connections."""
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections that this client opened."""
        if self._owns_http:
            await self._http.aclose()

    async def list_tools(self) -> tuple[ToolDescription, ...]:
        """Return all tools, of all pages.

        Raises
        ------
        StackError
            As `call_tool`.
        """
        try:
            raw = await self.list_all("tools/list", "tools")
        except RpcError as error:
            raise error.typed(self._peer) from error
        return tuple(
            ToolDescription(
                name=str(tool["name"]),
                description=str(tool.get("description") or ""),
                input_schema=tool.get("inputSchema") or {"type": "object"},
            )
            for tool in raw
            if "name" in tool
        )

    async def call_tool(
        self,
        name: str,
        arguments: Mapping[str, Any] | None = None,
        *,
        on_progress: ProgressHandler | None = None,
    ) -> ToolCallResult:
        """Call a tool; its own failure is a result with `is_error`.

        Raises
        ------
        UpstreamUnavailable
            The server can't be reached, hung up, or answered nonsense.
        DeadlineExceeded
            The running context's deadline came first.
        RemoteProblem
            The server answered with a problem of its own, among them `tool-unknown`.
        """
        params: dict[str, Any] = {"name": name, "arguments": dict(arguments or {})}
        handler: NotificationHandler | None = None
        if on_progress is not None:
            params["_meta"] = {"progressToken": f"call-{next(self._ids)}"}
            handler = _progress_only(on_progress)
        try:
            result = await self.request("tools/call", params, on_notification=handler)
        except RpcError as error:
            raise error.typed(self._peer) from error
        try:
            return ToolCallResult.parse(result)
        except ValueError as error:
            raise UpstreamUnavailable(f"{self._peer} answered with {error}.") from error

    async def list_all(self, method: str, key: str) -> list[dict[str, Any]]:
        """Return the items of all pages of a list, as they stand on the wire."""
        items: list[dict[str, Any]] = []
        cursor: str | None = None
        for _ in range(_MAX_PAGES):
            result = await self.request(method, {"cursor": cursor} if cursor else {})
            page = result.get(key)
            items += (
                [item for item in page if isinstance(item, dict)] if isinstance(page, list) else []
            )
            following = result.get("nextCursor")
            if not isinstance(following, str) or following == cursor:
                break
            cursor = following
        return items

    async def request(
        self,
        method: str,
        params: Mapping[str, Any] | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        on_notification: NotificationHandler | None = None,
    ) -> dict[str, Any]:
        """Send one request and return its result, as it stands on the wire.

        Parameters
        ----------
        params
            Its `_meta` is completed with the era's fields and the running context.
        headers
            Further HTTP headers (`Mcp-Param-…`).
        on_notification
            Gets what the server sends before its answer: progress and log messages of
            this very request.

        Raises
        ------
        RpcError
            The server answered with a JSON-RPC error.
        UpstreamUnavailable, DeadlineExceeded, RemoteProblem
            As `call_tool`.
        """
        with sent(method, params) as hop:
            # Inside: the message names this very span.
            exchange = self._exchange(method, params, headers, on_notification)
            result = await self._in_time(exchange)
            if result.get("isError") is True:
                hop.fail("tool_error")
            return result

    async def _in_time(self, exchange: _Exchange) -> dict[str, Any]:
        deadline = current_context().deadline
        try:
            async with asyncio.timeout(deadline.remaining()):
                return await self._answer(exchange)
        except (TimeoutError, httpx.TimeoutException) as error:
            if deadline.remaining() > 0.05:  # noqa: PLR2004  # the connection timed out, not the request
                raise UpstreamUnavailable(
                    f"{self._peer} does not accept connections. Is it running?"
                ) from error
            raise DeadlineExceeded(
                f"{self._peer} did not answer in time. Ask again, or with a longer deadline."
            ) from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise self._unreachable(error) from error

    @asynccontextmanager
    async def listen(self, *, wanted: Mapping[str, Any]) -> AsyncIterator[AsyncIterator[Change]]:
        """Open a stream of change notifications.

        Parameters
        ----------
        wanted
            The wire's filter: `{"toolsListChanged": true}`.

        Notes
        -----
        The iterator ends when the server ends the stream in good order, and raises
        `UpstreamUnavailable` when the connection breaks. Nothing is replayed: listen
        again and list again. The running deadline does not bound it.
        """
        with use_context(new_context(_LISTEN_SECONDS)):
            exchange = self._exchange(
                "subscriptions/listen", {"notifications": dict(wanted)}, None, None
            )
            try:
                async with self._http.stream(
                    "POST", self._url, json=exchange.body, headers=exchange.headers
                ) as response:
                    await self._reject_refusal(response, exchange)
                    async with aclosing(messages_of(response)) as messages:
                        await self._acknowledged(messages)
                        async with aclosing(self._changes(messages)) as changes:
                            yield changes
            except (TimeoutError, httpx.HTTPError, httpx.InvalidURL) as error:
                raise self._unreachable(error) from error

    async def _acknowledged(self, messages: AsyncIterator[dict[str, Any]]) -> None:
        async with asyncio.timeout(STREAM_SILENCE_SECONDS):
            async for message in messages:
                if message.get("method") == "notifications/subscriptions/acknowledged":
                    return
                if "error" in message:
                    raise rpc_error(message["error"])
        raise UpstreamUnavailable(f"{self._peer} ended the stream before it began.")

    async def _changes(
        self, messages: AsyncIterator[dict[str, Any]]
    ) -> AsyncGenerator[Change, None]:
        try:
            async for message in messages:
                if "result" in message:
                    return
                if isinstance(method := message.get("method"), str):
                    yield Change(method, message.get("params") or {})
        except (TimeoutError, httpx.HTTPError) as error:
            raise self._unreachable(error) from error

    def _exchange(
        self,
        method: str,
        params: Mapping[str, Any] | None,
        headers: Mapping[str, str] | None,
        on_notification: NotificationHandler | None,
    ) -> _Exchange:
        parameters = dict(params or {})
        parameters["_meta"] = {
            "io.modelcontextprotocol/clientCapabilities": dict(self._identity.capabilities),
            **(parameters.get("_meta") or {}),
            "io.modelcontextprotocol/protocolVersion": PROTOCOL_VERSION,
            "io.modelcontextprotocol/clientInfo": {
                "name": self._identity.name,
                "version": self._identity.version,
            },
            **outgoing_meta(),
        }
        number = next(self._ids)
        name = parameters.get(_HEADER_NAME_PARAMETER.get(method, ""))
        return _Exchange(
            id=number,
            body={"jsonrpc": "2.0", "id": number, "method": method, "params": parameters},
            headers={
                **(headers or {}),
                "accept": "application/json, text/event-stream",
                "mcp-protocol-version": PROTOCOL_VERSION,
                "mcp-method": method,
                **({"mcp-name": encode_header_value(name)} if isinstance(name, str) else {}),
            },
            on_notification=on_notification,
        )

    async def _answer(self, exchange: _Exchange) -> dict[str, Any]:
        async with self._http.stream(
            "POST", self._url, json=exchange.body, headers=exchange.headers
        ) as response:
            await self._reject_refusal(response, exchange)
            async with aclosing(messages_of(response)) as messages:
                async for message in messages:
                    if isinstance(method := message.get("method"), str):
                        if exchange.on_notification is not None:
                            await exchange.on_notification(method, message.get("params") or {})
                    elif message.get("id") == exchange.id:
                        return result_of(message)
        raise UpstreamUnavailable(
            f"{self._peer} hung up before it answered. Try again in a moment."
        )

    async def _reject_refusal(self, response: httpx.Response, exchange: _Exchange) -> None:
        """Raise what an answer with an error status says."""
        if response.is_success:
            return
        body = await read_bounded(response)
        try:
            message = json.loads(body)
        except ValueError:
            message = None
        if isinstance(message, dict) and isinstance(message.get("error"), dict):
            raise rpc_error(message["error"])
        if (problem := parse_problem(body)) is not None:
            raise RemoteProblem(problem)
        raise UpstreamUnavailable(
            f"{self._peer} answered {exchange.body['method']} with HTTP {response.status_code}.",
            upstream_status=response.status_code,
        )

    def _unreachable(self, error: Exception) -> UpstreamUnavailable:
        return UpstreamUnavailable(
            f"{self._peer} does not answer ({type(error).__name__}). "
            "Is it running? Try again in a moment."
        )


def _progress_only(on_progress: ProgressHandler) -> NotificationHandler:
    async def handle(method: str, params: Mapping[str, Any]) -> None:
        progress = params.get("progress")
        if method == "notifications/progress" and isinstance(progress, int | float):
            await on_progress(progress, params.get("total"), params.get("message"))

    return handle
