"""Routes that are asked so often, and answer so soon, that a framework's own work would show.

A hot route takes what is right about a request and nothing else: whatever it can't read goes on to
the route of the same path that FastAPI has, which says what is wrong, answers in other media types,
and documents the form for people and for MCP. All layers of `asgi` stand before it as before any
other route.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

from pydantic import BaseModel, ValidationError
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from servicekit.asgi import replayed

Order = TypeVar("Order", bound=BaseModel)
_CONTENT_TYPE: Final = (b"content-type", b"application/json")


@dataclass(frozen=True, slots=True)
class RouteName:
    """What logs and metrics call the route by, as of a route of FastAPI's."""

    path: str


@dataclass(frozen=True, slots=True)
class HotRoute(Generic[Order]):
    """A POST route with a JSON body and a JSON answer.

    Attributes
    ----------
    path
        The whole path.
    order
        The form of the body.
    answer
        Does the work; what it raises is rendered as any route's errors are.
    takes
        Whether the request is one for this route, by its headers.
    """

    path: str
    order: type[Order]
    answer: Callable[[Order, Request], Awaitable[BaseModel]]
    takes: Callable[[Headers], bool]


class HotRoutes:
    """Serves hot routes, and hands on all else."""

    def __init__(self, app: ASGIApp, *, routes: Sequence[HotRoute[Any]]) -> None:
        self._app = app
        self._routes = {route.path: (route, RouteName(route.path)) for route in routes}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        found = self._routes.get(scope["path"]) if scope["type"] == "http" else None
        if found is None or scope["method"] != "POST" or not found[0].takes(Headers(scope=scope)):
            await self._app(scope, receive, send)
            return
        route, name = found
        message = await receive()  # the whole body: `BodyRules` has read it
        body = message.get("body", b"")
        try:
            order = route.order.model_validate_json(body)
        except ValidationError:
            await self._app(scope, replayed(body, receive), send)
            return
        # While the work waits, it is the order that is kept and not its text as well.
        del message, body
        scope["route"] = name
        answer = await route.answer(order, Request(scope, receive))
        content = answer.model_dump_json(by_alias=True).encode()
        length = (b"content-length", str(len(content)).encode("ascii"))
        await send(
            {"type": "http.response.start", "status": 200, "headers": [_CONTENT_TYPE, length]}
        )
        await send({"type": "http.response.body", "body": content})
