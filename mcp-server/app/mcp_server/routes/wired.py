"""How a route gets the wiring."""

from typing import Annotated

from fastapi import Depends, Request

from mcp_server.wiring import Wiring


def wiring_of(request: Request) -> Wiring:
    """Return the wiring that the lifespan gave; a FastAPI dependency."""
    wiring: Wiring = request.state.wiring
    return wiring


Wired = Annotated[Wiring, Depends(wiring_of)]
