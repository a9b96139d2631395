"""An MCP server at a path of a FastAPI app: both eras, bounded sessions, the request's context.

The SDK speaks the protocol. This module decides how it is mounted: as a raw ASGI
route (nothing is buffered), with a bound on the sessions that the handshake era
keeps, and with `_meta` read into `servicekit.context` before any handler runs.
"""

import math
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.server.lowlevel.server import NotificationOptions
from mcp.server.models import InitializationOptions
from mcp.server.streamable_http import StreamableHTTPServerTransport
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp.server.subscriptions import InMemorySubscriptionBus, ListenHandler
from mcp.shared.exceptions import MCPError
from mcp.types import SubscriptionsListenRequestParams
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from servicekit.context import context_from_meta, current_context, use_context
from servicekit.errors import ServiceUnavailable, StackError
from servicekit.mcp_metrics import McpTiming
from servicekit.problems import problem_of, problem_response

# A handshake-era session costs about 62 KB; the bound keeps them under 32 MB.
MAX_SESSIONS = 500
SESSION_IDLE_SECONDS = 600.0
MAX_BODY_BYTES = 4 * 1024 * 1024


class ChangingServer(Server[Any]):
    """A server that tells handshake-era clients that its lists change.

    The SDK's session manager never passes `NotificationOptions`, so that without
    this the handshake always advertises `listChanged: false` (mcp 2.3).
    """

    def create_initialization_options(
        self,
        notification_options: NotificationOptions | None = None,
        experimental_capabilities: dict[str, dict[str, Any]] | None = None,
        extensions: dict[str, dict[str, Any]] | None = None,
    ) -> InitializationOptions:
        """Return the SDK's options with every `listChanged` on."""
        return super().create_initialization_options(
            notification_options or NotificationOptions(True, True, True),
            experimental_capabilities,
            extensions,
        )


async def carry_context(ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
    """Run one MCP message in the context that its `_meta` names; render our errors."""
    meta: Mapping[str, Any] = ctx.meta or {}
    with use_context(context_from_meta(meta)) as context:
        try:
            return await call_next(ctx)
        except StackError as error:
            raise MCPError(
                error.rpc_code, error.detail, problem_of(error, context.request_id)
            ) from error


class _BoundedSessions(StreamableHTTPSessionManager):
    """Ends the session that has been idle longest when a new one needs its place.

    The SDK alone would answer 503 until the oldest forgotten session times out.
    """

    def _admit_session(self, requestor: Any) -> StreamableHTTPServerTransport | None:
        if self.max_sessions is not None and len(self._server_instances) >= self.max_sessions:
            self._end_longest_idle()
        return super()._admit_session(requestor)

    def _end_longest_idle(self) -> None:
        idle = [
            (transport.idle_scope.deadline, session_id)
            for session_id, transport in self._server_instances.items()
            # An infinite deadline means that a request is in flight.
            if transport.idle_scope is not None and transport.idle_scope.deadline < math.inf
        ]
        if not idle:
            return
        transport = self._server_instances.pop(min(idle)[1])
        if transport.idle_scope is not None:
            transport.idle_scope.cancel()

    @property
    def session_ids(self) -> frozenset[str]:
        """The handshake-era sessions that are kept at present."""
        return frozenset(self._server_instances)

    def close_streams(self) -> None:
        """End the streams of all sessions that only wait for news."""
        for transport in self._server_instances.values():
            transport.close_standalone_sse_stream()


def _waits_for_news(scope: Scope) -> bool:
    return scope["method"] == "GET" or (b"mcp-method", b"subscriptions/listen") in scope["headers"]


class McpMount:
    """An MCP server as an ASGI endpoint.

    Parameters
    ----------
    server
        The SDK's server with its handlers and `get_tool_input_schema`, which says what tools there
        are; `carry_context` and the timing replace its middleware.
    max_sessions, session_idle_seconds
        Bounds on handshake-era sessions (2025-11-25 and older). The 2026-07-28 era has none.

    Notes
    -----
    `run()` may be entered again after it was left, as tests of an app's lifespan do.
    """

    def __init__(
        self,
        server: Server[Any],
        *,
        max_sessions: int = MAX_SESSIONS,
        session_idle_seconds: float = SESSION_IDLE_SECONDS,
        max_body_bytes: int = MAX_BODY_BYTES,
    ) -> None:
        self.server = server
        self.bus = InMemorySubscriptionBus()
        self._listen = ListenHandler(self.bus)
        self._max_sessions = max_sessions
        self._session_idle_seconds = session_idle_seconds
        self._max_body_bytes = max_body_bytes
        self._manager: _BoundedSessions | None = None
        self._is_draining = False
        self._route: Route | None = None
        server.add_request_handler(
            "subscriptions/listen", SubscriptionsListenRequestParams, self._listen
        )
        # First of all: what runs below it, logs and outbound calls included, sees the context.
        # The SDK's OpenTelemetry middleware is dropped: the stack carries its own traceparent.
        server.middleware[:] = [carry_context, McpTiming(self._is_tool)]

    def _is_tool(self, name: str) -> bool:
        find = self.server.get_tool_input_schema
        return find is not None and find(name) is not None

    @property
    def session_ids(self) -> frozenset[str]:
        """The handshake-era sessions that are kept at present."""
        return self._manager.session_ids if self._manager else frozenset()

    @asynccontextmanager
    async def run(self) -> AsyncIterator[None]:
        """Serve while the block runs; on leaving, end all sessions and streams."""
        manager = _BoundedSessions(
            self.server,
            max_sessions=self._max_sessions,
            session_idle_timeout=self._session_idle_seconds,
            max_request_body_size=self._max_body_bytes,
        )
        async with manager.run():
            self._manager, self._is_draining = manager, False
            try:
                yield
            finally:
                self._manager = None
                self._listen.close()

    def close_streams(self) -> None:
        """End the streams that only wait for news, and open no more: a drain need not wait.

        Calls that are running go on.
        """
        self._is_draining = True
        self._listen.close()
        if self._manager is not None:
            self._manager.close_streams()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one HTTP request of either era."""
        scope["route"] = self._route  # FastAPI's own routes do so: logs and metrics name it
        if self._manager is None or (self._is_draining and _waits_for_news(scope)):
            error = ServiceUnavailable("The service is starting or stopping. Try again soon.")
            response = problem_response(error, current_context().request_id)
            await response(scope, receive, send)
            return
        # RFC 9110, section 5.5: white space around a value is none of it. The server's parser
        # leaves it at the end, where a comparison with the body would fail.
        headers = [(name, value.strip(b" \t")) for name, value in scope["headers"]]
        await self._manager.asgi_app({**scope, "headers": headers}, receive, send)

    def attach(self, app: FastAPI, path: str = "/mcp") -> None:
        """Add the route: raw ASGI, because a FastAPI route would buffer the stream.

        An app that knows when it is ending (`servicekit.service.Service`) also ends the
        subscription streams then, so that no drain waits for a client that listens.
        """
        self._route = Route(path, endpoint=self, name="mcp")
        app.router.routes.append(self._route)
        on_drain: list[Callable[[], None]] | None = getattr(app, "on_drain", None)
        if on_drain is not None:
            on_drain.append(self.close_streams)
