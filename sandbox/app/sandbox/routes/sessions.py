"""Create, list, inspect and end sessions."""

from typing import Annotated

from fastapi import APIRouter, Path, Request, Response, status
from pydantic import Field
from servicekit.context import current_context
from servicekit.hangup import until_hangup
from servicekit.wire.base import WireReply
from servicekit.wire.execution import ResourceLimits, SessionCreated, SessionRequest

from sandbox.end_reason import EndReason
from sandbox.routes.wiring import Wiring, wiring_of
from sandbox.sessions import SessionView

router = APIRouter(prefix="/sessions", tags=["sessions"])

_USUAL = SessionRequest()
SessionName = Annotated[str, Path(min_length=1, max_length=64)]


class SessionDescription(WireReply):
    """One live session."""

    session_id: str
    execution_id: str | None = Field(description="the run in progress, for a cancellation")
    is_running: bool = Field(description="whether a cell, a file call or a reset goes on or waits")
    idle_seconds: float = Field(description="seconds since its last cell ended; 0 while one runs")
    ends_in_seconds: float = Field(description="seconds after which it is ended, if it stays idle")
    age_seconds: float
    cells: int = Field(description="cells that were run in it so far")
    resets: int = Field(description="times that it was given a fresh interpreter")
    waiting: int = Field(description="calls that wait for it")
    timeout_seconds: float = Field(description="time limit of its cells that name none")
    limits: ResourceLimits


class SessionList(WireReply):
    """All live sessions, the oldest first."""

    sessions: tuple[SessionDescription, ...]


def _describe(view: SessionView, wiring: Wiring) -> SessionDescription:
    return SessionDescription(
        session_id=view.session_id,
        execution_id=wiring.executions.of_session(view.session_id),
        is_running=view.is_running,
        idle_seconds=round(view.idle_seconds, 3),
        ends_in_seconds=round(view.ends_in_seconds, 3),
        age_seconds=round(view.age_seconds, 3),
        cells=view.cells,
        resets=view.resets,
        waiting=view.waiting,
        timeout_seconds=wiring.execution.usual_seconds(view.timeout_seconds),
        limits=view.limits,
    )


@router.post(
    "", operation_id="sandbox_create_session", tags=["tool"], status_code=status.HTTP_201_CREATED
)
async def create_session(
    request: Request, response: Response, wanted: SessionRequest | None = None
) -> SessionCreated:
    """Create a session: variables, imports and files last from cell to cell until it ends."""
    wiring = wiring_of(request)
    order, deadline = wanted or _USUAL, current_context().deadline
    if order.timeout_seconds is not None:
        await wiring.execution.choose_seconds(order.timeout_seconds, None, deadline)
    creation = wiring.sessions.create(
        deadline, limits=order.limits, timeout_seconds=order.timeout_seconds
    )
    session = await until_hangup(request, creation)
    response.headers["location"] = f"/sessions/{session.session_id}"
    return SessionCreated(session_id=session.session_id)


@router.get("", operation_id="sandbox_list_sessions", tags=["tool"])
async def list_sessions(request: Request) -> SessionList:
    """List the live sessions."""
    wiring = wiring_of(request)
    views = wiring.sessions.views()
    return SessionList(sessions=tuple(_describe(view, wiring) for view in views))


@router.get("/{session_id}", operation_id="sandbox_get_session", tags=["tool"])
async def get_session(session_id: SessionName, request: Request) -> SessionDescription:
    """Describe a live session; 410 says why one has ended."""
    wiring = wiring_of(request)
    return _describe(wiring.sessions.view(session_id), wiring)


@router.post("/{session_id}/reset", operation_id="sandbox_reset_session", tags=["tool"])
async def reset_session(session_id: SessionName, request: Request) -> SessionDescription:
    """Give a session a fresh interpreter: variables and imports go, files and packages stay.

    A run in progress ends first, with the status `cancelled`; the session lives on.
    """
    wiring = wiring_of(request)
    await until_hangup(request, wiring.sessions.reset(session_id))
    return _describe(wiring.sessions.view(session_id), wiring)


@router.delete(
    "/{session_id}",
    operation_id="sandbox_end_session",
    tags=["tool"],
    status_code=status.HTTP_204_NO_CONTENT,
)
async def end_session(session_id: SessionName, request: Request) -> None:
    """End a session and kill what runs in it."""
    sessions = wiring_of(request).sessions
    sessions.find(session_id)
    sessions.end(session_id, EndReason.DELETED)
