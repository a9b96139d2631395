"""One live session: what is kept of it, whose turn it is, and how callers see it."""

from dataclasses import dataclass, field
from time import monotonic

from servicekit.errors import TooBusy
from servicekit.wire.execution import ResourceLimits

from sandbox.cells import CellOutcome, CellSession
from sandbox.metrics import SESSION_QUEUE_LENGTH
from sandbox.waiting import FairQueue, WaitingRoom


def _too_busy() -> TooBusy:
    return TooBusy(
        "The session runs another cell, and as many calls wait as may. Try again later, or use "
        "another session.",
        retry_after_seconds=2.0,
    )


def turns(room: WaitingRoom) -> FairQueue:
    """Return the queue of those who want a session, one at a time."""
    return FairQueue(
        room,
        places=1,
        length=SESSION_QUEUE_LENGTH,
        too_busy=_too_busy,
        too_late="The time for this request ended while it waited for the session, which runs "
        "another cell. Try again later or use another session.",
    )


@dataclass(frozen=True, slots=True)
class SessionView:
    """One session as a caller may see it."""

    session_id: str
    is_running: bool
    idle_seconds: float
    ends_in_seconds: float
    age_seconds: float
    cells: int
    resets: int
    waiting: int
    timeout_seconds: float | None
    limits: ResourceLimits


@dataclass(eq=False)
class LiveSession:
    """One session and what the registry keeps of it.

    Attributes
    ----------
    limits
        What it was opened with, every value given; of a session for one run, what was asked for.
    timeout_seconds
        Time limit of its cells that name none; None for the service's own.
    latest
        How its latest cell ended, if it did.
    """

    session_id: str
    cell: CellSession
    limits: ResourceLimits
    turn: FairQueue
    timeout_seconds: float | None = None
    opened_at: float = field(default_factory=monotonic)
    used_at: float = field(default_factory=monotonic)
    cells: int = 0
    resets: int = 0
    resetting: int = 0
    package_set: str | None = None
    latest: CellOutcome | None = None

    @property
    def is_busy(self) -> bool:
        """Whether a cell runs in it or waits for it, or it is being reset."""
        return self.turn.in_use > 0 or self.turn.waiting > 0 or self.resetting > 0

    def view(self, *, most_idle_seconds: float) -> SessionView:
        """Describe it, where sessions end after some seconds without use."""
        now = monotonic()
        idle_seconds = 0.0 if self.is_busy else now - self.used_at
        return SessionView(
            session_id=self.session_id,
            is_running=self.is_busy,
            idle_seconds=idle_seconds,
            ends_in_seconds=max(0.0, most_idle_seconds - idle_seconds),
            age_seconds=now - self.opened_at,
            cells=self.cells,
            resets=self.resets,
            waiting=self.turn.waiting,
            timeout_seconds=self.timeout_seconds,
            limits=self.limits,
        )
