"""An MCP server behind the gateway, as the gateway sees it: values and ports, no I/O."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from servicekit.errors import UpstreamUnavailable
from servicekit.mcp_client import Change

WireObject = Mapping[str, Any]


class UpstreamAway(UpstreamUnavailable):
    """The upstream is known, and at present there is no connection to it."""


@dataclass(frozen=True, slots=True)
class Inventory:
    """What an upstream offers, as it stands on the wire."""

    tools: tuple[WireObject, ...] = ()
    prompts: tuple[WireObject, ...] = ()
    resources: tuple[WireObject, ...] = ()
    templates: tuple[WireObject, ...] = ()
    offers_completions: bool = False


class Caller(Protocol):
    """Who waits for an answer, and what he can be told or asked in the meantime."""

    @property
    def capabilities(self) -> WireObject:
        """What he declared that he can do (`elicitation`, `sampling`, `roots`)."""
        ...

    @property
    def log_level(self) -> str | None:
        """The lowest level of log messages that he wants; None for none."""
        ...

    @property
    def is_asked_directly(self) -> bool:
        """Whether he can be asked while his request runs.

        Callers of the 2026-07-28 era are not: they get the question as the result, and
        repeat their request with the answer.
        """
        ...

    @property
    def headers(self) -> Mapping[str, str]:
        """His HTTP request's headers."""
        ...

    @property
    def state(self) -> Mapping[str, Any] | None:
        """The application's lifespan state, for tools that live in this process."""
        ...

    async def notify(self, method: str, params: WireObject) -> None:
        """Tell him something about his running request: progress, a log message."""
        ...

    async def ask(self, request: WireObject) -> dict[str, Any]:
        """Put a server's question to him and return his answer.

        Raises
        ------
        RpcError
            He refused, or can't be asked.
        """
        ...


class Connection(Protocol):
    """A live connection to one upstream."""

    @property
    def protocol_version(self) -> str:
        """The protocol revision that both ends speak."""
        ...

    async def inventory(self) -> Inventory:
        """Ask for everything that the upstream offers."""
        ...

    async def request(
        self,
        method: str,
        params: Mapping[str, Any],
        caller: Caller,
        headers: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        """Send one request on behalf of a caller; return the result as it stands on the wire.

        Raises
        ------
        RpcError
            The upstream refused, in its own words.
        StackError
            It can't be reached, or the deadline came first.
        """
        ...

    def changes(
        self, watched: frozenset[str]
    ) -> AbstractAsyncContextManager[AsyncIterator[Change]]:
        """Follow what changes at the upstream, and the resources whose URIs are `watched`.

        The iterator ends, or raises a `StackError`, when the upstream is gone.
        """
        ...


class Connector(Protocol):
    """Opens connections to one upstream."""

    def connect(self) -> AbstractAsyncContextManager[Connection]:
        """Open a connection; the task that enters it also leaves it.

        Raises
        ------
        StackError
            The upstream can't be reached.
        """
        ...
