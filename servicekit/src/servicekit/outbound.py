"""HTTP clients: between our services without any proxy, to the world through it.

Build a client once and keep it: each one builds an SSL context.
"""

import asyncio
from typing import Any

import httpx

from servicekit.context import current_context, outgoing_headers
from servicekit.errors import DeadlineExceeded, StackError, UpstreamUnavailable
from servicekit.problems import Problem, parse_problem
from servicekit.spans import span

# A deadline is the rule; this bounds a call whose request has none.
MAX_SECONDS = 600.0
CONNECT_SECONDS = 5.0
# A connection that rests is let go of by the client, well before the server does that: a request
# that is sent in the moment in which the server hangs up is lost.
IDLE_CONNECTION_SECONDS = 10.0
_LIMITS = httpx.Limits(
    max_connections=512,
    max_keepalive_connections=64,
    keepalive_expiry=IDLE_CONNECTION_SECONDS,
)


class RemoteProblem(StackError):
    """A neighbour's problem document, passed on under its own type and status.

    Parameters
    ----------
    problem
        What it said; one without an error status becomes a 502.
    extensions
        Further members beside its own.
    """

    def __init__(self, problem: Problem, **extensions: Any) -> None:
        super().__init__(problem.detail, retry_after_seconds=problem.retry_after_seconds)
        # Not as keywords: a stranger's member may have any name.
        self.extensions = {**problem.extensions, **extensions}
        self.problem = problem
        self.type = problem.type  # type: ignore[misc]  # the neighbour's class is not ours: its numbers are data
        self.title = problem.title  # type: ignore[misc]  # as above
        self.http_status = problem.status or UpstreamUnavailable.http_status  # type: ignore[misc]  # as above


async def _stamp(request: httpx.Request) -> None:
    """Give a request the running context's headers and no more time than is left."""
    remaining = current_context().deadline.remaining()
    if remaining <= 0:
        raise DeadlineExceeded(
            "The time for this request is over; ask again with a longer deadline."
        )
    for name, value in outgoing_headers().items():
        request.headers.setdefault(name, value)
    seconds = min(remaining, MAX_SECONDS)
    request.extensions["timeout"] = {
        "connect": min(seconds, CONNECT_SECONDS),
        "read": seconds,
        "write": seconds,
        "pool": seconds,
    }


def internal_client(
    base_url: str,
    *,
    limits: httpx.Limits | None = None,
    transport: httpx.AsyncBaseTransport | None = None,
) -> httpx.AsyncClient:
    """Return a client for one of our own services: no proxy, and our context's headers."""
    return httpx.AsyncClient(
        base_url=base_url,
        trust_env=False,
        limits=limits or _LIMITS,
        transport=transport,
        event_hooks={"request": [_stamp]},
    )


def outward_client(*, timeout_seconds: float = 30.0) -> httpx.AsyncClient:
    """Return a client for the world: `HTTPS_PROXY`, `NO_PROXY` and own CAs are honoured."""
    return httpx.AsyncClient(trust_env=True, limits=_LIMITS, timeout=timeout_seconds)


async def request_json(
    client: httpx.AsyncClient, method: str, path: str, *, upstream: str, json: Any = None
) -> Any:
    """Call a neighbour and return its JSON answer.

    Parameters
    ----------
    upstream
        The neighbour's name, for the sentences of the errors.

    Raises
    ------
    UpstreamUnavailable
        It can't be reached, hung up, or answered nonsense.
    DeadlineExceeded
        The running context's deadline came first.
    RemoteProblem
        It answered with a problem document; type, status and detail are its own.
    """
    with span(method, "client", {"http.request.method": method, "peer.service": upstream}) as hop:
        response = await _in_time(client, method, path, upstream=upstream, json=json)
        hop.note({"http.response.status_code": response.status_code})
        if response.is_error:
            hop.fail(str(response.status_code))
    if response.is_success:
        try:
            return response.json() if response.content else None
        except ValueError:
            raise UpstreamUnavailable(f"{upstream} answered something that is no JSON.") from None
    problem = parse_problem(response.content)
    if problem is None:
        raise UpstreamUnavailable(f"{upstream} answered with status {response.status_code}.")
    raise RemoteProblem(problem)


async def _in_time(
    client: httpx.AsyncClient, method: str, path: str, *, upstream: str, json: Any
) -> httpx.Response:
    deadline = current_context().deadline
    try:
        async with asyncio.timeout(deadline.remaining()):
            return await client.request(method, path, json=json)
    except (TimeoutError, httpx.TimeoutException):
        if deadline.remaining() > 0.05:  # noqa: PLR2004  # the connection timed out, not the request
            raise UpstreamUnavailable(
                f"{upstream} does not accept connections; is it running?"
            ) from None
        raise DeadlineExceeded(
            f"{upstream} did not answer in time; ask again, or with a longer deadline."
        ) from None
    except httpx.HTTPError as error:
        raise UpstreamUnavailable(
            f"{upstream} does not answer ({type(error).__name__}); "
            "is it running? Try again in a moment."
        ) from None
