"""The composition root of the time service."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from fastapi import FastAPI
from servicekit.mcp_bridge import RouteTools
from servicekit.service import Service, build_app

from time_client.adapters.system_clock import SystemClock
from time_client.clock import Clock
from time_client.routes import tools
from time_client.settings import TimeClientSettings


@dataclass(frozen=True)
class Wiring:
    """What the routes work with."""

    clock: Clock


def create_app(settings: TimeClientSettings, *, clock: Clock | None = None) -> Service:
    """Build the service; tests bring a clock of their own."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[Wiring]:
        yield Wiring(clock=clock or SystemClock())

    return build_app(
        name="time-client",
        summary="Tells the time, here and anywhere, and converts it",
        settings=settings,
        lifespan=lifespan,
        routers=[tools.router],
        mcp=RouteTools(
            tools.TOOL_TAG,
            "Tools for date and time: the current time in UTC or any IANA time zone, "
            "and conversion and formatting of a given time.",
        ),
    )
