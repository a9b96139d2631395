"""The pure ASGI layers around every service.

Outermost first:
`Telemetry` (context, log line, metrics) → `CallerGuard` (403) → CORS → `ErrorBoundary` →
`BodyRules` (415, 413) → `HotRoutes` → the application.
"""

import asyncio
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TypeAlias

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from servicekit.context import (
    MCP_SESSION_HEADER,
    REQUEST_ID_HEADER,
    TRACEPARENT_HEADER,
    context_from_headers,
    current_context,
    name_of_caller,
    use_context,
)
from servicekit.errors import (
    DeadlineExceeded,
    ForbiddenCaller,
    PayloadTooLarge,
    StackError,
    UnsupportedMediaType,
)
from servicekit.guard import CallerPolicy
from servicekit.logs import get_logger
from servicekit.metrics import observe_request
from servicekit.problems import problem_response
from servicekit.spans import NOTHING, Span, served

log = get_logger()

RawBody: TypeAlias = tuple[str, str]
"""An HTTP method, and a regular expression that the whole path matches."""

# Asked every few seconds by machines. What they find is logged when it changes, by the monitor.
QUIET_ROUTES = frozenset({"/health", "/ready", "/metrics"})


class RequestTooSlow(StackError):
    """The body did not arrive within the request's deadline."""

    type = "request-too-slow"
    title = "The body came too slowly"
    http_status = 408
    rpc_code = -32007


def route_of(scope: Scope) -> str | None:
    """Return the template of the route that matched (`/sessions/{id}`), None without one."""
    path = getattr(scope.get("route"), "path", None)
    return path if isinstance(path, str) else None


class Telemetry:
    """Reads the request's context, and says at the end how the request went."""

    def __init__(
        self, app: ASGIApp, *, default_deadline_seconds: float, names_callers: bool = False
    ) -> None:
        self._app = app
        self._default_deadline_seconds = default_deadline_seconds
        self._names_callers = names_callers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        # A plain mapping: `Headers` goes through all of them for each that is asked for.
        headers = {
            name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]
        }
        context = context_from_headers(
            headers, default_deadline_seconds=self._default_deadline_seconds
        )
        if self._names_callers and context.client_id is None:
            context = replace(context, client_id=_caller(scope, headers))
        started = time.perf_counter()
        status = 499  # stays when the client leaves before the answer begins

        async def send_stamped(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)[REQUEST_ID_HEADER] = context.request_id
            await send(message)

        with use_context(context), _span_of(scope, headers) as hop:
            try:
                try:
                    await self._app(scope, receive, send_stamped)
                finally:
                    seconds = time.perf_counter() - started
                # The loop writes when this task waits: the answer does not wait for its log line.
                await asyncio.sleep(0)
            finally:
                route = route_of(scope)
                _describe(hop, scope["method"], route, status)
                observe_request(method=scope["method"], route=route, status=status, seconds=seconds)
                write = _line_writer(route, status)
                write(
                    "request.finished",
                    method=scope["method"],
                    route=route or "unmatched",
                    status=status,
                    duration_ms=round(seconds * 1000, 2),
                )


def _caller(scope: Scope, headers: Mapping[str, str]) -> str | None:
    session = headers.get(MCP_SESSION_HEADER)
    peer = scope.get("client")
    address = session or (peer[0] if peer else None)
    return None if address is None else name_of_caller(address)


def _span_of(scope: Scope, headers: Mapping[str, str]) -> Span:
    if scope["path"] in QUIET_ROUTES:
        return NOTHING
    return served(scope["method"], headers.get(TRACEPARENT_HEADER))


def _describe(hop: Span, method: str, route: str | None, status: int) -> None:
    if hop is NOTHING:
        return
    hop.rename(f"{method} {route}" if route else method)
    hop.note({"http.request.method": method, "http.response.status_code": status})
    if route:
        hop.note({"http.route": route})
    # By the conventions a caller's mistake is no failure of the server.
    if status >= 499:  # noqa: PLR2004  # ours for a caller who hung up, and HTTP's own numbers
        hop.fail("cancelled" if status == 499 else str(status))  # noqa: PLR2004  # as above


def _line_writer(route: str | None, status: int):  # type: ignore[no-untyped-def]  # structlog's bound methods have no public type
    if route in QUIET_ROUTES:
        return log.debug
    return log.error if status >= 500 else log.info  # noqa: PLR2004  # server errors


def log_refusal(error: StackError) -> None:
    """Write down why a request failed whose caller is not to blame."""
    if error.http_status >= 500:  # noqa: PLR2004  # server errors
        log.warning("request.refused", error_type=error.type, detail=error.detail)


class ErrorBoundary:
    """Turns what escaped the application into problem+json; no stack trace leaves the process."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        is_started = False

        async def send_watched(message: Message) -> None:
            nonlocal is_started
            is_started = is_started or message["type"] == "http.response.start"
            await send(message)

        try:
            await self._app(scope, receive, send_watched)
        except StackError as error:
            if is_started:
                raise
            log_refusal(error)
            await problem_response(error, current_context().request_id)(scope, receive, send)
        except Exception:
            log.exception("request.failed")
            if is_started:
                raise  # never answer twice: the server cuts the connection
            unexpected = StackError(
                "Something went wrong inside the service; "
                "its log has the reason under this request id."
            )
            await problem_response(unexpected, current_context().request_id)(scope, receive, send)


def _values(scope: Scope, name: bytes) -> list[str]:
    """Return all values of a header; `Headers` would decode the others' names as well."""
    return [value.decode("latin-1") for key, value in scope["headers"] if key == name]


def _value(scope: Scope, name: bytes) -> str:
    """Return the first value of a header, nothing where there is none."""
    return next((value.decode("latin-1") for key, value in scope["headers"] if key == name), "")


class CallerGuard:
    """Answers 403 to a foreign Host or Origin."""

    def __init__(self, app: ASGIApp, *, policy: CallerPolicy, variable_prefix: str) -> None:
        self._app = app
        self._policy = policy
        self._variable_prefix = variable_prefix

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, if its caller is known."""
        try:
            if scope["type"] in {"http", "websocket"}:
                self._check(scope)
        except ForbiddenCaller as refusal:
            if scope["type"] != "http":
                raise
            await problem_response(refusal, current_context().request_id)(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _check(self, scope: Scope) -> None:
        hosts = _values(scope, b"host")
        if len(hosts) != 1 or not self._policy.knows_host(hosts[0]):
            raise ForbiddenCaller(
                "This service does not answer to that Host name. If it is yours, add it to "
                f"{self._variable_prefix}ALLOWED_HOSTS."
            )
        for origin in _values(scope, b"origin"):
            if not self._policy.knows_origin(origin, authority=hosts[0]):
                raise ForbiddenCaller(
                    "This service does not answer to pages of that origin. If it is yours, "
                    f"add it to {self._variable_prefix}ALLOWED_ORIGINS."
                )


def _is_json(content_type: str) -> bool:
    base = content_type.split(";", 1)[0].strip().lower()
    return base == "application/json" or (
        base.startswith("application/") and base.endswith("+json")
    )


class BodyRules:
    """Reads a body whole first: declared as JSON (415), bounded (413) and in time (408)."""

    def __init__(self, app: ASGIApp, *, max_body_bytes: int, raw_bodies: Sequence[RawBody]) -> None:
        self._app = app
        self._max_body_bytes = max_body_bytes
        self._raw_bodies = tuple((method, re.compile(path)) for method, path in raw_bodies)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if self._is_raw(scope):
            await self._app(scope, receive, send)
            return
        length = _value(scope, b"content-length")
        has_body = length not in {"", "0"} or bool(_values(scope, b"transfer-encoding"))
        if has_body and length.isdigit() and int(length) > self._max_body_bytes:
            raise self._too_large()
        if not has_body:
            await self._app(scope, receive, send)
            return
        if not _is_json(_value(scope, b"content-type")):
            raise UnsupportedMediaType(
                "Send the body as JSON, with the header Content-Type: application/json."
            )
        if (body := await self._read(receive)) is not None:
            given, body = replayed(body, receive), None  # whoever takes it may let go of it
            await self._app(scope, given, send)

    def _is_raw(self, scope: Scope) -> bool:
        return any(
            scope["method"] == method and path.fullmatch(scope["path"])
            for method, path in self._raw_bodies
        )

    def _too_large(self) -> PayloadTooLarge:
        return PayloadTooLarge(
            f"The body may have at most {self._max_body_bytes} bytes; send less.",
            max_body_bytes=self._max_body_bytes,
        )

    async def _read(self, receive: Receive) -> bytes | None:
        chunks: list[bytes] = []
        total = 0
        deadline = current_context().deadline
        if deadline.is_expired:
            raise DeadlineExceeded(
                "There was no time left for this request when it arrived; allow it more."
            )
        try:
            async with asyncio.timeout(deadline.remaining()):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        return None
                    chunks.append(message.get("body", b""))
                    total += len(chunks[-1])
                    if total > self._max_body_bytes:
                        raise self._too_large()
                    if not message.get("more_body", False):
                        return b"".join(chunks)
        except TimeoutError:
            raise RequestTooSlow(
                "The body did not arrive within the request's deadline; send it again."
            ) from None


def replayed(body: bytes, receive: Receive) -> Receive:
    """Return a `receive` that gives a body that was read already, and then what else comes."""
    left: bytes | None = body
    del body

    async def replay() -> Message:
        nonlocal left
        if left is None:
            return await receive()
        given, left = left, None
        return {"type": "http.request", "body": given, "more_body": False}

    return replay
