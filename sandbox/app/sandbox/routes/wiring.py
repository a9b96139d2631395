"""What the routes may call, as one typed value."""

from dataclasses import dataclass

from fastapi import Request
from servicekit.context import RequestContext, current_context

from sandbox.execution import Execution
from sandbox.executions import Executions
from sandbox.files import SessionFiles
from sandbox.isolation import Isolation
from sandbox.packages.install import Packages
from sandbox.reserve import Reserve
from sandbox.sessions import Sessions


@dataclass(frozen=True, slots=True)
class Wiring:
    """The decisions of this service, ready for use."""

    execution: Execution
    executions: Executions
    sessions: Sessions
    files: SessionFiles
    packages: Packages
    isolation: Isolation
    reserve: Reserve


def wiring_of(request: Request) -> Wiring:
    """Return the wiring that the lifespan opened."""
    wiring: Wiring = request.state.wiring
    return wiring


def client_of(request: Request, context: RequestContext | None = None) -> str:
    """Name the caller for fairness: what it says of itself, else its address."""
    client_id = (context or current_context()).client_id
    if client_id is not None:
        return f"id:{client_id}"
    return f"peer:{request.client.host}" if request.client else "peer:unknown"
