"""`/mcp`: the gateway's decisions behind the SDK's server, for both protocol eras."""

import asyncio
from collections.abc import Awaitable, Iterable, Mapping
from contextlib import suppress
from typing import Any

from mcp import types
from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.server.session import ServerSession
from mcp.server.subscriptions import (
    PromptsListChanged,
    ResourcesListChanged,
    ResourceUpdated,
    ServerEvent,
    ToolsListChanged,
)
from mcp.shared.exceptions import MCPError
from servicekit.context import MCP_SESSION_HEADER
from servicekit.errors import TooBusy
from servicekit.mcp_mount import ChangingServer, McpMount
from servicekit.rpc import RpcError

from mcp_server.gateway import Gateway, ListKind
from mcp_server.routes.mcp_caller import McpCaller
from mcp_server.upstream import Caller

Context = ServerRequestContext[Any, Any]
# A client that does not read must not hold up the news for the others.
_PUSH_SECONDS = 1.0
# Resources that one client may follow: what it names is kept.
_MAX_WATCHED = 1000
_EVENTS: Mapping[ListKind, ServerEvent] = {
    "tools": ToolsListChanged(),
    "prompts": PromptsListChanged(),
    "resources": ResourcesListChanged(),
}
# What the 2026-07-28 revision asks of every result, and of every list; the SDK drops the
# fields for older clients. An upstream of an older era does not send them.
_COMPLETE: Mapping[str, Any] = {"resultType": "complete"}
_FRESHNESS: Mapping[str, Any] = {**_COMPLETE, "ttlMs": 0, "cacheScope": "private"}


class LegacySession:
    """What the gateway remembers of one handshake-era client."""

    def __init__(self, push: ServerSession) -> None:
        self.push = push
        self.log_level: str | None = None
        self.watched: set[str] = set()


class McpEndpoint:
    """Serves MCP to the world.

    Parameters
    ----------
    gateway
        Decides; this class only translates.
    """

    def __init__(
        self,
        gateway: Gateway,
        *,
        name: str,
        version: str,
        instructions: str,
        max_sessions: int,
        session_idle_seconds: float,
    ) -> None:
        self._gateway = gateway
        self._sessions: dict[str, LegacySession] = {}
        self._listened: dict[object, frozenset[str]] = {}
        server = ChangingServer(
            name,
            version=version,
            instructions=instructions,
            on_list_tools=self._list_tools,
            on_call_tool=self._call_tool,
            on_list_prompts=self._list_prompts,
            on_get_prompt=self._get_prompt,
            on_list_resources=self._list_resources,
            on_list_resource_templates=self._list_templates,
            on_read_resource=self._read_resource,
            on_subscribe_resource=self._subscribe,
            on_unsubscribe_resource=self._unsubscribe,
            on_completion=self._complete,
            get_tool_input_schema=self._input_schema,
        )
        # By the method, not by the constructor's argument: that one warns that it is deprecated,
        # and clients of the older eras still use it.
        server.add_request_handler(
            "logging/setLevel", types.SetLevelRequestParams, self._set_log_level
        )
        server.add_notification_handler(
            "notifications/initialized", types.NotificationParams, self._remember
        )
        self.mount = McpMount(
            server, max_sessions=max_sessions, session_idle_seconds=session_idle_seconds
        )
        server.middleware += [self._in_our_words, self._track_watched]

    # --- the audience: what the gateway tells its clients ---

    async def lists_changed(self, kinds: frozenset[ListKind]) -> None:
        """Tell both eras which lists to read again."""
        for kind in sorted(kinds):
            await self.mount.bus.publish(_EVENTS[kind])
        pushes = {
            "tools": ServerSession.send_tool_list_changed,
            "prompts": ServerSession.send_prompt_list_changed,
            "resources": ServerSession.send_resource_list_changed,
        }
        await _push_all(
            pushes[kind](session.push)
            for session in self._live_sessions().values()
            for kind in sorted(kinds)
        )

    async def resource_updated(self, uri: str) -> None:
        """Tell those who watch a resource that it changed."""
        await self.mount.bus.publish(ResourceUpdated(uri))
        await _push_all(
            session.push.send_resource_updated(uri)
            for session in self._live_sessions().values()
            if uri in session.watched
        )

    # --- sessions of the handshake eras ---

    def _live_sessions(self) -> dict[str, LegacySession]:
        """Return the sessions that still are, and forget the others."""
        live = self.mount.session_ids
        self._sessions = {key: kept for key, kept in self._sessions.items() if key in live}
        return self._sessions

    def _session(self, ctx: Context) -> LegacySession | None:
        key = ctx.request.headers.get(MCP_SESSION_HEADER) if ctx.request is not None else None
        return self._sessions.get(key) if key else None

    async def _remember(self, ctx: Context, _: types.NotificationParams) -> None:
        key = ctx.request.headers.get(MCP_SESSION_HEADER) if ctx.request is not None else None
        if key:
            self._live_sessions()[key] = LegacySession(ctx.session)

    async def _set_log_level(
        self, ctx: Context, params: types.SetLevelRequestParams
    ) -> types.EmptyResult:
        if (session := self._session(ctx)) is not None:
            session.log_level = params.level
        return types.EmptyResult()

    async def _subscribe(
        self, ctx: Context, params: types.SubscribeRequestParams
    ) -> types.EmptyResult:
        if (session := self._session(ctx)) is not None:
            if len(session.watched) >= _MAX_WATCHED:
                raise TooBusy(
                    f"This session watches {_MAX_WATCHED} resources already; unsubscribe from some."
                )
            session.watched.add(str(params.uri))
            self._watch()
        return types.EmptyResult()

    async def _unsubscribe(
        self, ctx: Context, params: types.UnsubscribeRequestParams
    ) -> types.EmptyResult:
        if (session := self._session(ctx)) is not None:
            session.watched.discard(str(params.uri))
            self._watch()
        return types.EmptyResult()

    def _watch(self) -> None:
        wanted = [session.watched for session in self._live_sessions().values()]
        self._gateway.watch_resources(frozenset().union(*wanted, *self._listened.values()))

    # --- around every message ---

    async def _in_our_words(self, ctx: Context, call_next: CallNext) -> HandlerResult:
        """Hand an upstream's own refusal on as it stands."""
        try:
            return await call_next(ctx)
        except RpcError as error:
            raise MCPError(error.code, error.message, error.data) from error

    async def _track_watched(self, ctx: Context, call_next: CallNext) -> HandlerResult:
        """While a client listens, follow at the upstreams the resources that it named."""
        wanted = ((ctx.params or {}).get("notifications") or {}).get("resourceSubscriptions")
        if ctx.method != "subscriptions/listen" or not isinstance(wanted, list):
            return await call_next(ctx)
        token = object()
        self._listened[token] = frozenset(str(uri) for uri in wanted[:_MAX_WATCHED])
        self._watch()
        try:
            return await call_next(ctx)
        finally:
            del self._listened[token]
            self._watch()

    def _caller(self, ctx: Context) -> Caller:
        session = self._session(ctx)
        return McpCaller(ctx, session_log_level=session.log_level if session else None)

    # --- the methods ---

    def _input_schema(self, name: str) -> dict[str, Any] | None:
        tool = self._gateway.catalog.tools.get(name)
        return tool.input_schema if tool else None

    async def _list_tools(self, _: Context, __: object) -> Any:
        return {"tools": [dict(t.wire) for t in self._gateway.catalog.tools.values()], **_FRESHNESS}

    async def _list_prompts(self, _: Context, __: object) -> Any:
        prompts = self._gateway.catalog.prompts.values()
        return {"prompts": [dict(prompt.wire) for prompt in prompts], **_FRESHNESS}

    async def _list_resources(self, _: Context, __: object) -> Any:
        resources = self._gateway.catalog.resources.values()
        return {"resources": [dict(resource) for _source, resource in resources], **_FRESHNESS}

    async def _list_templates(self, _: Context, __: object) -> Any:
        templates = self._gateway.catalog.templates
        return {
            "resourceTemplates": [dict(template) for _source, template in templates],
            **_FRESHNESS,
        }

    async def _call_tool(self, ctx: Context, _: object) -> Any:
        return {**_COMPLETE, **await self._gateway.call_tool(ctx.params or {}, self._caller(ctx))}

    async def _get_prompt(self, ctx: Context, _: object) -> Any:
        return {**_COMPLETE, **await self._gateway.get_prompt(ctx.params or {}, self._caller(ctx))}

    async def _read_resource(self, ctx: Context, _: object) -> Any:
        result = await self._gateway.read_resource(ctx.params or {}, self._caller(ctx))
        return result if result.get("resultType") == "input_required" else {**_FRESHNESS, **result}

    async def _complete(self, ctx: Context, _: object) -> Any:
        return {**_COMPLETE, **await self._gateway.complete(ctx.params or {}, self._caller(ctx))}


async def _push_all(sendings: Iterable[Awaitable[None]]) -> None:
    """Send side by side: those who don't read hold up all others once, not once each."""
    await asyncio.gather(*map(_push, sendings))


async def _push(sending: Awaitable[None]) -> None:
    with suppress(Exception):
        await asyncio.wait_for(sending, _PUSH_SECONDS)
