"""The composition root of the gateway."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial

from fastapi import FastAPI
from servicekit.health import Dependency
from servicekit.mcp_bridge import Bridge
from servicekit.service import Service, build_app, package_version

from mcp_server.adapters.connector import McpConnector
from mcp_server.gateway import OWN, Gateway
from mcp_server.own_tools import OwnTools
from mcp_server.routes import own_tools, tools
from mcp_server.routes.mcp_endpoint import McpEndpoint
from mcp_server.settings import McpServerSettings, UpstreamAddress
from mcp_server.upstream import Connector
from mcp_server.upstream_link import UpstreamLink
from mcp_server.wiring import Wiring

SUMMARY = "One MCP endpoint in front of all tool services"
INSTRUCTIONS = (
    "Tools of a code interpreter, a clock and whatever else is connected. Tools of foreign "
    "servers are named server__tool."
)
Connecting = Callable[[UpstreamAddress], Connector]
# An upstream that hangs holds up the start no longer than a restart may take.
_FIRST_ATTEMPT_SECONDS = 2.0


def create_app(settings: McpServerSettings, *, connecting: Connecting | None = None) -> Service:
    """Build the gateway.

    Parameters
    ----------
    connecting
        Makes the connector of an upstream; tests bring scripted ones.
    """
    composed: list[tuple[Gateway, McpEndpoint]] = []

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[Wiring]:
        gateway, endpoint = composed[0]
        async with AsyncExitStack() as stack:
            links = [
                UpstreamLink(
                    address,
                    await _connector(address, connecting, stack),
                    on_inventory=gateway.refresh,
                    on_resource_updated=gateway.resource_updated,
                    longest_pause_seconds=settings.reconnect_max_seconds,
                )
                for address in settings.addresses
            ]
            gateway.connect(links, endpoint)
            await stack.enter_async_context(endpoint.mount.run())
            await stack.enter_async_context(_running(links))
            yield Wiring(gateway=gateway)

    app = build_app(
        name=OWN,
        summary=SUMMARY,
        settings=settings,
        lifespan=lifespan,
        routers=[tools.router, own_tools.router],
        dependencies=_dependencies,
        default_deadline_seconds=settings.default_deadline_seconds,
        names_callers=True,
    )
    version = package_version(OWN)
    bridge = Bridge(app, name=OWN, version=version, tag=own_tools.TOOL_TAG)
    gateway = Gateway(OwnTools(bridge))
    endpoint = McpEndpoint(
        gateway,
        name=OWN,
        version=version,
        instructions=INSTRUCTIONS,
        max_sessions=settings.max_sessions,
        session_idle_seconds=settings.session_idle_seconds,
    )
    endpoint.mount.attach(app)
    composed.append((gateway, endpoint))
    return app


async def _connector(
    address: UpstreamAddress, connecting: Connecting | None, stack: AsyncExitStack
) -> Connector:
    if connecting is not None:
        return connecting(address)
    connector = McpConnector(address)
    stack.push_async_callback(connector.aclose)
    return connector


@asynccontextmanager
async def _running(links: list[UpstreamLink]) -> AsyncIterator[None]:
    """Run the links' owner tasks for as long as the block runs."""
    tasks = [asyncio.create_task(link.run(), name=f"upstream-{link.name}") for link in links]
    try:
        await _first_attempts(links)
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _first_attempts(links: list[UpstreamLink]) -> None:
    """Wait, for a moment, until each own upstream was reached or found away.

    A port that opens sooner calls tools unknown that were there before a restart.
    """
    with suppress(TimeoutError):
        async with asyncio.timeout(_FIRST_ATTEMPT_SECONDS):
            for link in links:
                if link.address.is_own:
                    await link.first_attempt()


def _dependencies(wiring: Wiring) -> list[Dependency]:
    """Each upstream, softly; hard is only that each own one was reached once.

    A tool service that restarts must not take the gateway, and with it all other tools,
    out of service.
    """
    links = wiring.gateway.links
    return [
        *(Dependency(link.name, link.check, is_hard=False) for link in links),
        Dependency("tool-discovery", partial(_check_discovered, links)),
    ]


async def _check_discovered(links: tuple[UpstreamLink, ...]) -> None:
    for link in links:
        if link.address.is_own:
            await link.check_discovered()
