"""A tool service in one file: a typed route that a chat can call as the tool `roll_dice`.

Start it, then let the gateway know it:
    .venv/bin/python -P examples/python/tool_service.py
    MCP_SERVER_UPSTREAMS=dice=http://127.0.0.1:9100/mcp make local
"""

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import APIRouter, FastAPI
from pydantic import Field
from servicekit.mcp_bridge import RouteTools
from servicekit.service import build_app, run_service
from servicekit.settings import Port, ServiceSettings, load_settings, service_config
from servicekit.wire.base import WireModel

router = APIRouter(prefix="/tools", tags=["tool"])


class DiceSettings(ServiceSettings):
    """Read from variables that begin with `DICE_`."""

    model_config = service_config("DICE_")

    port: Port = Field(9100, description="port to listen on")


class RollRequest(WireModel):
    """How many dice of which kind."""

    dice: Annotated[int, Field(ge=1, le=100, description="number of dice")] = 1
    sides: Annotated[int, Field(ge=2, le=1000, description="sides of each")] = 6


class Rolled(WireModel):
    """What came; `text` is what a model reads, the rest is for programs."""

    text: str
    rolls: list[int]


@router.post("/roll_dice", operation_id="roll_dice")
async def roll_dice(wanted: RollRequest) -> Rolled:
    """Roll dice and return what they show and their sum."""
    rolls = [secrets.randbelow(wanted.sides) + 1 for _ in range(wanted.dice)]
    return Rolled(text=f"{' + '.join(map(str, rolls))} = {sum(rolls)}", rolls=rolls)


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    # Clients, files and tasks of the service are opened here; this one has none.
    yield None


def main() -> None:
    settings = load_settings(DiceSettings)
    app = build_app(
        name="dice",
        summary="Rolls dice",
        settings=settings,
        lifespan=lifespan,
        routers=[router],
        mcp=RouteTools("tool"),
    )
    run_service(app, settings)


if __name__ == "__main__":
    main()
