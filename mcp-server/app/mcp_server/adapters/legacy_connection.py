"""A connection to an upstream of the handshake eras (2024-11-05 to 2025-11-25), by the SDK."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import aclosing, asynccontextmanager, contextmanager
from typing import Any, TypeVar, cast

import anyio
import httpx2
from mcp import Client, types
from mcp.client.session import ClientRequestContext, ClientSession
from mcp.shared.exceptions import MCPError
from pydantic import BaseModel, TypeAdapter
from servicekit.context import current_context, new_context, outgoing_meta, use_context
from servicekit.errors import DeadlineExceeded, UpstreamUnavailable
from servicekit.mcp_client import Change
from servicekit.mcp_spans import sent
from servicekit.rpc import RpcError

from mcp_server.settings import UpstreamAddress
from mcp_server.upstream import Caller, Inventory

PING_SECONDS = 2.0
_PING_DEADLINE_SECONDS = 5.0
_MAX_PAGES = 100
_CONNECTION_CLOSED = frozenset({-32000, 408})
_NOT_POSSIBLE = types.ErrorData(
    code=types.INVALID_REQUEST, message="No single caller can be asked at present"
)
_Question = types.CreateMessageRequest | types.ElicitRequest | types.ListRootsRequest
_RESULT: TypeAdapter[Any] = TypeAdapter(dict[str, Any])
R = TypeVar("R")
M = TypeVar("M", bound=BaseModel)


class LegacyConnection:
    """Speaks an older revision to one upstream.

    Notes
    -----
    On one shared session an upstream's question or log message does not say which call it
    belongs to. It reaches the caller while exactly one call is running, and nobody else.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._client: Client | None = None
        self._callers: list[Caller] = []
        self._changes: asyncio.Queue[Change] = asyncio.Queue(maxsize=1000)
        self._is_lost = asyncio.Event()

    @property
    def _session(self) -> ClientSession:
        if self._client is None:
            raise UpstreamUnavailable(f"{self._name} is not connected yet.")
        return self._client.session

    @property
    def protocol_version(self) -> str:
        """The revision that both ends speak."""
        return self._client.protocol_version if self._client else "unknown"

    @asynccontextmanager
    async def opened(self, url: str) -> AsyncIterator["LegacyConnection"]:
        """Shake hands; leave the session at the end."""
        client = Client(
            url,
            mode="legacy",
            cache=None,
            logging_callback=self._on_log,
            sampling_callback=self._on_sampling,
            elicitation_callback=self._on_elicitation,
            list_roots_callback=self._on_roots,
            message_handler=self._on_message,
        )
        async with client:
            self._client = client
            try:
                yield self
            finally:
                self._client = None

    async def inventory(self) -> Inventory:
        """Ask for all lists that the upstream has."""
        session, has = self._session, self._session.server_capabilities
        if has is None:
            return Inventory()
        return Inventory(
            tools=await self._pages(has.tools, session.list_tools, "tools"),
            prompts=await self._pages(has.prompts, session.list_prompts, "prompts"),
            resources=await self._pages(has.resources, session.list_resources, "resources"),
            templates=await self._pages(
                has.resources, session.list_resource_templates, "resource_templates"
            ),
            offers_completions=has.completions is not None,
        )

    async def _pages(
        self, offered: object, fetch: Callable[..., Awaitable[Any]], key: str
    ) -> tuple[dict[str, Any], ...]:
        if offered is None:
            return ()
        items: list[dict[str, Any]] = []
        cursor: str | None = None
        for _ in range(_MAX_PAGES):
            try:
                page = await self._bounded(
                    fetch(params=types.PaginatedRequestParams(cursor=cursor))
                )
            except RpcError as error:
                if error.code == types.METHOD_NOT_FOUND:
                    break
                raise
            items += [_wire(item) for item in getattr(page, key)]
            if (cursor := page.next_cursor) is None:
                break
        return tuple(items)

    async def request(
        self,
        method: str,
        params: Mapping[str, Any],
        caller: Caller,
        headers: Mapping[str, str] | None = None,  # noqa: ARG002  # only 2026-07-28 has Mcp-Param headers
    ) -> dict[str, Any]:
        """Send one request; progress goes to the caller."""
        with sent(method, params):
            return await self._sent(method, params, caller)

    async def _sent(self, method: str, params: Mapping[str, Any], caller: Caller) -> dict[str, Any]:
        meta = {**_meta(params), **outgoing_meta()}
        token = meta.pop("progressToken", None)
        plain = {key: value for key, value in params.items() if key not in _MODERN_PARAMS}

        async def on_progress(progress: float, total: float | None, message: str | None) -> None:
            told = {"progress": progress, "total": total, "message": message}
            await caller.notify("notifications/progress", told)

        request = types.client_request_adapter.validate_python(
            {"method": method, "params": {**plain, "_meta": meta}}
        )
        with self._on_behalf_of(caller):
            result: dict[str, Any] = await self._bounded(
                self._session.send_request(
                    request, _RESULT, progress_callback=None if token is None else on_progress
                )
            )
        return result

    async def _bounded(self, awaitable: Awaitable[R]) -> R:
        """Await an answer until the deadline, or until the connection is known to be lost."""
        deadline = current_context().deadline
        try:
            with anyio.fail_after(deadline.remaining()):
                return await self._while_connected(awaitable)
        except TimeoutError as error:
            raise DeadlineExceeded(
                f"{self._name} did not answer in time. Ask again, or with a longer deadline."
            ) from error
        except MCPError as error:
            if error.code in _CONNECTION_CLOSED or "terminated" in error.message.lower():
                self._is_lost.set()
                raise UpstreamUnavailable(
                    f"{self._name} ended the session. Try again in a moment."
                ) from error
            raise RpcError(error.code, error.message, error.data) from error
        except (httpx2.HTTPError, OSError) as error:
            self._is_lost.set()
            raise UpstreamUnavailable(
                f"{self._name} does not answer ({type(error).__name__}). Try again in a moment."
            ) from error

    async def _while_connected(self, awaitable: Awaitable[R]) -> R:
        """Await an answer; end at once when the connection is lost.

        With anyio's scopes, not with bare tasks: they let the SDK tell the upstream that a
        cancelled call is no longer wanted.
        """
        answer: R | None = None
        failure: Exception | None = None
        is_answered = False
        async with anyio.create_task_group() as group:
            group.start_soon(self._cancel_when_lost, group.cancel_scope)
            try:
                answer = await awaitable
                is_answered = True
            except Exception as error:  # noqa: BLE001  # carried past the group, which would wrap it
                failure = error
            group.cancel_scope.cancel()
        if failure is not None:
            raise failure
        if not is_answered:
            raise UpstreamUnavailable(f"{self._name} went away during the call. Try again.")
        return cast("R", answer)

    async def _cancel_when_lost(self, scope: anyio.CancelScope) -> None:
        await self._is_lost.wait()
        scope.cancel()

    @asynccontextmanager
    async def changes(self, watched: frozenset[str]) -> AsyncIterator[AsyncIterator[Change]]:
        """Follow what the upstream pushes; ping it, because a dead session is silent."""
        for uri in sorted(watched):
            request = types.SubscribeRequest(params=types.SubscribeRequestParams(uri=uri))
            await self._bounded(self._session.send_request(request, _RESULT))
        async with aclosing(self._pushed()) as pushed:
            yield pushed

    async def _pushed(self) -> AsyncGenerator[Change, None]:
        while not self._is_lost.is_set():
            try:
                async with asyncio.timeout(PING_SECONDS):
                    change = await self._changes.get()
            except TimeoutError:
                with use_context(new_context(_PING_DEADLINE_SECONDS)):
                    await self._bounded(self._session.send_request(types.PingRequest(), _RESULT))
            else:
                yield change

    @contextmanager
    def _on_behalf_of(self, caller: Caller) -> Iterator[None]:
        self._callers.append(caller)
        try:
            yield
        finally:
            self._callers.remove(caller)

    def _only_caller(self) -> Caller | None:
        return self._callers[0] if len(self._callers) == 1 else None

    async def _on_message(self, message: object) -> None:
        if isinstance(message, Exception) or not isinstance(message, BaseModel):
            return
        wire = _wire(message)
        method = str(wire.get("method", ""))
        if method.endswith("/list_changed") or method == "notifications/resources/updated":
            if self._changes.full():
                self._is_lost.set()  # the reader is stuck: begin anew rather than miss changes
                return
            self._changes.put_nowait(Change(method, wire.get("params") or {}))

    async def _on_log(self, params: types.LoggingMessageNotificationParams) -> None:
        if (caller := self._only_caller()) is not None:
            await caller.notify("notifications/message", _wire(params))

    async def _on_sampling(
        self,
        context: ClientRequestContext,  # noqa: ARG002  # the SDK passes it by name
        params: types.CreateMessageRequestParams,
    ) -> types.CreateMessageResultWithTools | types.ErrorData:
        question = types.CreateMessageRequest(params=params)
        return await self._ask(question, types.CreateMessageResultWithTools)

    async def _on_elicitation(
        self,
        context: ClientRequestContext,  # noqa: ARG002  # as above
        params: types.ElicitRequestParams,
    ) -> types.ElicitResult | types.ErrorData:
        return await self._ask(types.ElicitRequest(params=params), types.ElicitResult)

    async def _on_roots(
        self,
        context: ClientRequestContext,  # noqa: ARG002  # as above
    ) -> types.ListRootsResult | types.ErrorData:
        return await self._ask(types.ListRootsRequest(), types.ListRootsResult)

    async def _ask(self, question: _Question, kind: type[M]) -> M | types.ErrorData:
        caller = self._only_caller()
        if caller is None or not caller.is_asked_directly:
            return _NOT_POSSIBLE
        try:
            return kind.model_validate(await caller.ask(_wire(question)))
        except RpcError as error:
            return types.ErrorData(code=error.code, message=error.message)


_MODERN_PARAMS = frozenset({"_meta", "inputResponses", "requestState"})


def _meta(params: Mapping[str, Any]) -> dict[str, Any]:
    """Return the caller's `_meta` without the fields that only 2026-07-28 has."""
    meta = params.get("_meta") or {}
    return {
        key: value for key, value in meta.items() if not key.startswith("io.modelcontextprotocol/")
    }


def _wire(model: BaseModel) -> dict[str, Any]:
    return model.model_dump(by_alias=True, mode="json", exclude_none=True)


@asynccontextmanager
async def open_legacy(address: UpstreamAddress) -> AsyncIterator[LegacyConnection]:
    """Open a session with an upstream of the handshake eras."""
    connection = LegacyConnection(address.name)
    async with connection.opened(address.url):
        yield connection
