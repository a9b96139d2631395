"""The long-lived connection to one upstream: one task owns it, reconnects, keeps what it learnt."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from typing import Any, Literal

from servicekit.context import current_context, new_context, use_context
from servicekit.errors import StackError
from servicekit.logs import get_logger
from servicekit.mcp_client import Change
from servicekit.rpc import RpcError

from mcp_server.call_ledger import UPSTREAM_LOSSES, UPSTREAM_TOOLS, UPSTREAM_UP
from mcp_server.settings import UpstreamAddress
from mcp_server.upstream import Caller, Connection, Connector, Inventory, UpstreamAway

log = get_logger()

LinkState = Literal["connecting", "connected", "away"]
FIRST_PAUSE_SECONDS = 0.1
# A call to an upstream that is away waits this long for one attempt to reach it.
GRACE_SECONDS = 1.0
_DISCOVERY_SECONDS = 15.0
_LIST_CHANGES = frozenset(
    f"notifications/{what}/list_changed" for what in ("tools", "prompts", "resources")
)


@dataclass(frozen=True, slots=True)
class LinkStatus:
    """How a link stands."""

    name: str
    state: LinkState
    protocol_version: str | None
    tools: int
    since_seconds: float
    last_error: str | None


class UpstreamLink:
    """One upstream's connection.

    Parameters
    ----------
    address
        Whose connection it is.
    connector
        Opens connections.
    on_inventory
        Called when the inventory was learnt or changed.
    on_resource_updated
        Called with the URI of a watched resource that changed.
    longest_pause_seconds
        Bound of the exponential pause between two attempts.

    Notes
    -----
    While the upstream is away its last known inventory stays: a restart of a second must
    not make tools vanish from the lists of all clients. Calls then end in `UpstreamAway`.
    """

    def __init__(
        self,
        address: UpstreamAddress,
        connector: Connector,
        *,
        on_inventory: Callable[[], Awaitable[None]],
        on_resource_updated: Callable[[str], Awaitable[None]],
        longest_pause_seconds: float,
    ) -> None:
        self.address = address
        self.inventory = Inventory()
        self.was_discovered = False
        self._connector = connector
        self._on_inventory = on_inventory
        self._on_resource_updated = on_resource_updated
        self._longest_pause_seconds = longest_pause_seconds
        self._connection: Connection | None = None
        # From the start and at 0: of a series that begins at 1 the first rise is not seen.
        self._losses = UPSTREAM_LOSSES.labels(address.name)
        self._state: LinkState = "connecting"
        self._since = time.monotonic()
        self._last_error: str | None = None
        self._watched: frozenset[str] = frozenset()
        self._rewatch = asyncio.Event()
        self._wake = asyncio.Event()
        # Set whenever an attempt has ended, one way or the other.
        self._settled = asyncio.Event()

    @property
    def name(self) -> str:
        """The upstream's name."""
        return self.address.name

    @property
    def status(self) -> LinkStatus:
        """How the link stands now."""
        return LinkStatus(
            name=self.name,
            state=self._state,
            protocol_version=self._connection.protocol_version if self._connection else None,
            tools=len(self.inventory.tools),
            since_seconds=time.monotonic() - self._since,
            last_error=self._last_error,
        )

    async def check(self) -> None:
        """Raise what is wrong when there is no connection; for `/health`."""
        if self._connection is None:
            raise UpstreamAway(self._away_sentence())

    async def check_discovered(self) -> None:
        """Raise until the upstream was reached once; for `/ready`."""
        if not self.was_discovered:
            raise UpstreamAway(self._away_sentence())

    async def first_attempt(self) -> None:
        """Wait until the upstream was reached, its lists taken over, or was found away."""
        await self._settled.wait()

    async def request(
        self,
        method: str,
        params: Mapping[str, Any],
        caller: Caller,
        headers: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        """Send one request through the connection; see `Connection.request`.

        Raises
        ------
        UpstreamAway
            There is no connection, and one more attempt failed too.
        """
        connection = self._connection or await self._reconnected()
        return await connection.request(method, params, caller, headers)

    def watch(self, uris: frozenset[str]) -> None:
        """Say which resources' updates are wanted."""
        if uris != self._watched:
            self._watched = uris
            self._rewatch.set()

    async def _reconnected(self) -> Connection:
        self._settled.clear()
        self._wake.set()
        remaining = current_context().deadline.remaining()
        with suppress(TimeoutError):
            async with asyncio.timeout(min(remaining, GRACE_SECONDS)):
                await self._settled.wait()
        if self._connection is None:
            raise UpstreamAway(self._away_sentence(), retry_after_seconds=1)
        return self._connection

    def _away_sentence(self) -> str:
        reason = self._last_error or f"{self.name} was not reached yet."
        return f"{reason} The gateway keeps trying to connect to {self.name}."

    async def run(self) -> None:
        """Own the connection until cancelled."""
        pause = FIRST_PAUSE_SECONDS
        while True:
            self._wake.clear()
            started = time.monotonic()
            try:
                await self._connect_and_follow()
            except Exception as error:  # noqa: BLE001  # whatever ends a connection, the next attempt follows
                self._lost(_reason(self.name, error))
            else:
                self._lost(f"{self.name} ended the connection.")
            if time.monotonic() - started > self._longest_pause_seconds:
                pause = FIRST_PAUSE_SECONDS
            await self._sleep(pause)
            pause = min(pause * 2, self._longest_pause_seconds)

    async def _sleep(self, seconds: float) -> None:
        """Pause; a call for this upstream ends the pause."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._wake.wait()

    async def _connect_and_follow(self) -> None:
        async with AsyncExitStack() as stack:
            stack.callback(setattr, self, "_connection", None)
            with use_context(new_context(_DISCOVERY_SECONDS)):
                # The handshake of the older eras is the SDK's, which knows no deadline of ours.
                async with asyncio.timeout(_DISCOVERY_SECONDS):
                    connection = await stack.enter_async_context(self._connector.connect())
            await self._learn(connection)
            self._connection = connection
            self.was_discovered = True
            self._last_error = None
            self._enter("connected")
            await self._on_inventory()
            self._settled.set()
            await self._follow(connection)

    async def _learn(self, connection: Connection) -> None:
        with use_context(new_context(_DISCOVERY_SECONDS)):
            self.inventory = await connection.inventory()
        UPSTREAM_TOOLS.labels(self.name).set(len(self.inventory.tools))

    async def _follow(self, connection: Connection) -> None:
        """Follow the upstream's changes; return or raise when it is gone."""
        while True:
            self._rewatch.clear()
            async with connection.changes(self._watched) as changes:
                await self._catch_up(connection)
                while True:
                    change = await self._next_change(changes.__anext__())
                    if change is None:
                        return
                    if change == "rewatch":
                        break
                    await self._apply(connection, change)

    async def _catch_up(self, connection: Connection) -> None:
        """Learn what changed before the stream was open: nothing is replayed."""
        known = self.inventory
        await self._learn(connection)
        if self.inventory != known:
            await self._on_inventory()

    async def _next_change(self, upcoming: Awaitable[Change]) -> Change | Literal["rewatch"] | None:
        """Return the next change, "rewatch" when the wanted resources changed, None at the end."""
        following = asyncio.ensure_future(upcoming)
        rewatch = asyncio.ensure_future(self._rewatch.wait())
        try:
            await asyncio.wait({following, rewatch}, return_when=asyncio.FIRST_COMPLETED)
            return following.result() if following.done() else "rewatch"
        except StopAsyncIteration:
            return None
        finally:
            for task in (following, rewatch):
                task.cancel()
            await asyncio.gather(following, rewatch, return_exceptions=True)

    async def _apply(self, connection: Connection, change: Change) -> None:
        if change.method in _LIST_CHANGES:
            await self._learn(connection)
            await self._on_inventory()
        elif change.method == "notifications/resources/updated":
            await self._on_resource_updated(str(change.params.get("uri", "")))

    def _enter(self, state: LinkState) -> None:
        UPSTREAM_UP.labels(self.name).set(1 if state == "connected" else 0)
        if state != self._state:
            self._state, self._since = state, time.monotonic()
            log.info("upstream.state", upstream=self.name, state=state)

    def _lost(self, reason: str) -> None:
        if self._state == "connected" or self._last_error is None:
            log.warning("upstream.lost", upstream=self.name, reason=reason)
        if self._state == "connected":
            self._losses.inc()
        self._last_error = reason
        self._enter("away")
        self._settled.set()


def _reason(name: str, error: BaseException) -> str:
    """Return a sentence on why the connection ended."""
    if isinstance(error, BaseExceptionGroup):
        return _reason(name, error.exceptions[0])
    if isinstance(error, StackError):
        return error.detail
    if isinstance(error, RpcError):
        return f"{name} refused the gateway: {error.message}"
    return f"{name} can't be used ({type(error).__name__}: {str(error)[:200]})."
