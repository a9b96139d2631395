"""One upstream's connection over a scripted connector: loss, back-off, what is kept."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
from mcp_server.settings import UpstreamAddress
from mcp_server.silent_caller import SilentCaller
from mcp_server.upstream import Caller, Inventory, UpstreamAway
from mcp_server.upstream_link import UpstreamLink
from prometheus_client import REGISTRY
from servicekit.errors import UpstreamUnavailable
from servicekit.mcp_client import Change

CALLER = SilentCaller({}, None)
ADDRESS = UpstreamAddress("clock", "http://clock/mcp", is_own=True)


class ScriptedConnection:
    protocol_version = "2026-07-28"

    def __init__(self, tools: list[str]) -> None:
        self.tools = tools
        self.events: asyncio.Queue[Change | None] = asyncio.Queue()
        self.watched: asyncio.Queue[frozenset[str]] = asyncio.Queue()

    async def inventory(self) -> Inventory:
        return Inventory(tools=tuple({"name": name} for name in self.tools))

    async def request(
        self,
        method: str,
        params: Mapping[str, Any],
        caller: Caller,  # noqa: ARG002  # the port's signature
        headers: Mapping[str, str] | None = None,  # noqa: ARG002  # as above
    ) -> dict[str, Any]:
        return {"method": method, "params": dict(params)}

    @asynccontextmanager
    async def changes(self, watched: frozenset[str]) -> AsyncIterator[AsyncIterator[Change]]:
        self.watched.put_nowait(watched)

        async def follow() -> AsyncIterator[Change]:
            while (event := await self.events.get()) is not None:
                yield event

        yield follow()


class ScriptedConnector:
    """Hands out the script's connections in order; an error is raised, None waits for ever."""

    def __init__(self, *script: ScriptedConnection | Exception | None) -> None:
        self.script = list(script)
        self.attempts = 0

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[Any]:
        self.attempts += 1
        step = self.script.pop(0) if self.script else None
        if step is None:
            await asyncio.Event().wait()
        if isinstance(step, Exception):
            raise step
        yield step


class Heard:
    def __init__(self) -> None:
        self.inventories: asyncio.Queue[None] = asyncio.Queue()
        self.updated: asyncio.Queue[str] = asyncio.Queue()

    async def inventory(self) -> None:
        self.inventories.put_nowait(None)

    async def resource(self, uri: str) -> None:
        self.updated.put_nowait(uri)


@asynccontextmanager
async def running(
    connector: ScriptedConnector, *, longest_pause_seconds: float = 60
) -> AsyncIterator[tuple[UpstreamLink, Heard]]:
    heard = Heard()
    link = UpstreamLink(
        ADDRESS,
        connector,
        on_inventory=heard.inventory,
        on_resource_updated=heard.resource,
        longest_pause_seconds=longest_pause_seconds,
    )
    task = asyncio.create_task(link.run())
    try:
        async with asyncio.timeout(10):
            yield link, heard
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def refused(link: UpstreamLink) -> None:
    """Call until the link has noticed that its upstream is gone."""
    with suppress(UpstreamAway):
        while True:
            await link.request("tools/call", {}, CALLER)
            await asyncio.sleep(0)


DOWN = UpstreamUnavailable("clock does not answer.")


async def test_inventory_is_kept_while_the_upstream_is_away() -> None:
    connection = ScriptedConnection(["now"])
    async with running(ScriptedConnector(connection, DOWN)) as (link, heard):
        await heard.inventories.get()
        assert link.status.state == "connected"
        await link.check()
        connection.events.put_nowait(None)
        await refused(link)
        assert link.status.state == "away"
        assert link.inventory.tools == ({"name": "now"},)
        with pytest.raises(UpstreamAway):
            await link.check()
        await link.check_discovered()


def losses() -> float:
    return REGISTRY.get_sample_value("mcp_upstream_losses_total", {"upstream": ADDRESS.name}) or 0.0


async def test_loss_of_a_connection_is_counted_and_a_failed_attempt_is_not() -> None:
    connection = ScriptedConnection(["now"])
    async with running(ScriptedConnector(DOWN, connection, DOWN)) as (link, heard):
        before = losses()
        await heard.inventories.get()
        assert losses() == before
        connection.events.put_nowait(None)
        await refused(link)
        assert losses() == before + 1


async def test_call_to_an_upstream_that_is_away_makes_one_attempt_at_once() -> None:
    connector = ScriptedConnector(*[DOWN] * 20, ScriptedConnection(["now"]))
    async with running(connector) as (link, _):
        # Without the calls the pauses alone, doubling from 0.1 s, would take minutes.
        answered = {}
        while not answered:
            with suppress(UpstreamAway):
                answered = await link.request("tools/call", {"name": "now"}, CALLER)
        assert answered == {"method": "tools/call", "params": {"name": "now"}}


async def test_refused_call_says_why_the_upstream_is_away() -> None:
    async with running(ScriptedConnector(DOWN, DOWN, DOWN)) as (link, _):
        with pytest.raises(UpstreamAway, match="clock does not answer"):
            await link.request("tools/call", {}, CALLER)


async def test_call_waits_for_a_connection_that_is_being_made_but_not_for_ever() -> None:
    async with running(ScriptedConnector(None)) as (link, _):
        with pytest.raises(UpstreamAway, match="was not reached yet"):
            await link.request("tools/call", {}, CALLER)


async def test_upstream_that_was_never_reached_is_not_discovered() -> None:
    async with running(ScriptedConnector(DOWN)) as (link, _):
        with pytest.raises(UpstreamAway):
            await link.check_discovered()


async def test_list_change_is_learnt_and_told() -> None:
    connection = ScriptedConnection(["now"])
    async with running(ScriptedConnector(connection)) as (link, heard):
        await heard.inventories.get()
        connection.tools.append("then")
        connection.events.put_nowait(Change("notifications/tools/list_changed"))
        await heard.inventories.get()
        assert [tool["name"] for tool in link.inventory.tools] == ["now", "then"]


async def test_watched_resources_are_followed_and_their_updates_told() -> None:
    connection = ScriptedConnection(["now"])
    async with running(ScriptedConnector(connection)) as (link, heard):
        assert await connection.watched.get() == frozenset()
        link.watch(frozenset({"test://a"}))
        assert await connection.watched.get() == frozenset({"test://a"})
        updated = Change("notifications/resources/updated", {"uri": "test://a"})
        connection.events.put_nowait(updated)
        assert await heard.updated.get() == "test://a"


async def test_unexpected_failure_of_a_connection_is_a_reason_not_an_end() -> None:
    connector = ScriptedConnector(ZeroDivisionError("odd"), ScriptedConnection(["now"]))
    async with running(connector) as (link, heard):
        await heard.inventories.get()
        assert link.status.state == "connected"
        assert connector.attempts == 2


async def test_connection_that_is_never_made_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mcp_server.upstream_link._DISCOVERY_SECONDS", 0.05)
    async with running(ScriptedConnector(None, ScriptedConnection(["now"]))) as (link, heard):
        async with asyncio.timeout(5):
            await heard.inventories.get()
        assert link.status.state == "connected"


async def test_change_before_the_stream_was_open_is_not_missed() -> None:
    connection = ScriptedConnection(["now"])
    async with running(ScriptedConnector(connection)) as (link, heard):
        await heard.inventories.get()
        await connection.watched.get()
        connection.tools.append("then")  # said to nobody: the stream is about to open anew
        link.watch(frozenset({"test://a"}))
        async with asyncio.timeout(5):
            await heard.inventories.get()
        assert [tool["name"] for tool in link.inventory.tools] == ["now", "then"]
