"""The live sessions: who holds one, who has to go, and why one is gone.

A session is a slot of the runner. Their number and their idle time are bounded;
when a place is needed, the session that was idle for the longest makes room. A
session that is gone is remembered for a while, so that its next call is told the
reason instead of "unknown".
"""

import asyncio
import secrets
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from time import monotonic
from weakref import WeakSet

from servicekit.deadline import Deadline
from servicekit.errors import TooBusy
from servicekit.logs import get_logger
from servicekit.wire.execution import ResourceLimits

from sandbox.cells import CellRunner
from sandbox.end_reason import EndReason
from sandbox.errors import RunnerDown, SessionEnded, SessionUnknown
from sandbox.farewells import Farewells
from sandbox.limits import NO_LIMITS, settle
from sandbox.live_session import LiveSession, SessionView, turns
from sandbox.metrics import SESSION_OPEN_SECONDS, SESSIONS_ENDED, SESSIONS_LIVE
from sandbox.waiting import WaitingRoom

# What it hands out as well: who deals with sessions imports one module.
__all__ = ["LiveSession", "SessionLimits", "SessionView", "Sessions", "Turn"]

log = get_logger()

# Names of sessions that are gone: about 100 bytes each.
_REMEMBERED_ENDS = 10_000
# The runner cleans a slot after its session ended; that takes milliseconds.
_FULL_PAUSES = (0.02, 0.05, 0.1, 0.2)
# Where none is forked in advance any more, more end with each run than begin.
_HURRIED = 2
# Where there is no place, so many; to end all of them would keep the machine from making a new one.
_FREED = 8


@dataclass(frozen=True, slots=True)
class SessionLimits:
    """The bounds of the registry."""

    live: int
    idle_seconds: float


class Sessions:
    """The registry of live sessions.

    Parameters
    ----------
    runner
        Where sessions come from.
    limits
        Bounds on their number and idle time.
    default_package_set
        Returns name and path of the package set that a new session sees, if there is one.
    room
        Where calls wait for a session's turn.
    """

    def __init__(
        self,
        runner: CellRunner,
        limits: SessionLimits,
        default_package_set: Callable[[], tuple[str, Path] | None],
        room: WaitingRoom,
    ) -> None:
        self._room = room
        self._runner = runner
        self._limits = limits
        self._default_package_set = default_package_set
        self._live: dict[str, LiveSession] = {}
        # All of them, those of a single run included, for as long as somebody holds them.
        self._held: WeakSet[LiveSession] = WeakSet()
        self._opening = 0
        self._farewells = Farewells()
        self._ends: OrderedDict[str, EndReason] = OrderedDict()

    def raise_if_ended(self, session_id: str) -> None:
        """Raise `SessionEnded` when a session of that name is remembered as gone."""
        if (reason := self._ends.get(session_id)) is not None:
            raise SessionEnded(
                f"The session has ended: {reason.sentence}. Its variables and files are gone; "
                "create a new session.",
                reason=reason.code,
            )

    async def create(
        self,
        deadline: Deadline,
        *,
        limits: ResourceLimits | None = None,
        timeout_seconds: float | None = None,
    ) -> LiveSession:
        """Open a session that lives until it is deleted, idle for too long or needed for another.

        Raises
        ------
        LimitOutOfBounds
            It asks for more than the runner grants; nobody has made room for it then.
        TooBusy
            All sessions are in use.
        """
        settled = settle(limits, await self._runner.bounds(deadline))
        while len(self._live) + self._opening >= self._limits.live:
            if not self.evict_idlest():
                raise TooBusy(
                    f"All {self._limits.live} sessions are running code. Try again later, or "
                    "delete a session that is not needed.",
                    retry_after_seconds=2.0,
                )
        self._opening += 1
        try:
            session = await self._open(deadline, settled)
        finally:
            self._opening -= 1
        session.timeout_seconds = timeout_seconds
        self._live[session.session_id] = session
        SESSIONS_LIVE.set(len(self._live))
        return session

    @property
    def longest_seconds(self) -> float | None:
        """The longest time limit in seconds that the runner grants a run, if it has said so."""
        return self._runner.longest_seconds

    async def meet_runner(self, deadline: Deadline) -> None:
        """Ask the runner for its bounds, where it has not said them yet."""
        if self._runner.longest_seconds is None:
            await self._runner.bounds(deadline)

    async def check(self, limits: ResourceLimits | None, deadline: Deadline) -> ResourceLimits:
        """Return what a session for one run is to be opened with.

        Raises
        ------
        LimitOutOfBounds
            More is asked for than the runner grants.
        """
        if limits is None:
            return NO_LIMITS  # the runner's own, and no need to know them
        return settle(limits, await self._runner.bounds(deadline))

    @asynccontextmanager
    async def fresh(self, deadline: Deadline, limits: ResourceLimits) -> AsyncIterator[LiveSession]:
        """Hold a session of one's own that ends with the `with` block, or soon afterwards."""
        session = await self._open(deadline, limits)
        try:
            yield session
        finally:
            self._farewells.take(session.cell, session.latest)
        if not session.cell.was_waiting:
            self._farewells.hurry(_HURRIED)

    async def keep(self) -> None:
        """End the sessions that `fresh` is through with, for as long as the service runs."""
        await self._farewells.keep()

    def use(
        self, session_id: str, deadline: Deadline, *, client: str = "", held_bytes: int = 0
    ) -> "Turn":
        """Return a turn in a live session, to hold for the length of a `with` block.

        Who comes while it is busy waits in its caller's line; the lines take turns. Its beginning
        raises `SessionUnknown` or `SessionEnded` when there is no session of that name, or no
        longer, `TooBusy` when too many calls wait, and `DeadlineExceeded` when the request's time
        ended while it waited.

        Parameters
        ----------
        client
            The caller's name; without one it shares a line with others that have none.
        held_bytes
            What the call keeps in memory while it waits.
        """
        return Turn(self, session_id, deadline, client, held_bytes)

    async def take_turn(
        self, session_id: str, deadline: Deadline, client: str, held_bytes: int
    ) -> LiveSession:
        """Begin a turn; see `use`."""
        session = self.find(session_id)
        if session.turn.take_free():
            return session
        await session.turn.wait(client, held_bytes, deadline)
        try:
            return self.find(session_id)  # it may have ended while this call waited
        except BaseException:
            self.end_turn(session)
            raise

    def end_turn(self, session: LiveSession) -> None:
        """End a turn."""
        session.used_at = monotonic()
        session.turn.release()

    async def reset(self, session_id: str) -> LiveSession:
        """Give a session a fresh interpreter; a run in progress ends as cancelled first.

        Raises
        ------
        SessionUnknown, SessionEnded
            There is none of that name, or no longer.
        RunnerDown
            It was lost on the way.
        """
        session = self.find(session_id)
        session.resetting += 1
        try:
            await session.cell.reset()
        except RunnerDown:
            self.raise_if_ended(session_id)  # somebody deleted it meanwhile
            self.end(session_id, EndReason.RUNNER_LOST)
            raise
        except BaseException:  # hang-up and shutdown in the middle of it
            self.end(session_id, EndReason.CANCELLED)
            raise
        finally:
            session.resetting -= 1
            session.used_at = monotonic()
        session.resets += 1
        log.info("session.reset", resets=session.resets, cells=session.cells)
        return session

    def find(self, session_id: str) -> LiveSession:
        """Return a live session by its name.

        Raises
        ------
        SessionUnknown, SessionEnded
            There is none of that name, or no longer.
        """
        session = self._live.get(session_id)
        if session is not None and not session.cell.is_alive:
            self.end(session_id, EndReason.RUNNER_LOST)
            session = None
        if session is not None:
            return session
        self.raise_if_ended(session_id)
        raise SessionUnknown("There is no such session. Create one with POST /sessions.")

    def end(self, session_id: str, reason: EndReason) -> None:
        """End a session and remember why; nothing happens when it is gone already."""
        session = self._live.pop(session_id, None)
        if session is None:
            return
        session.cell.close()
        self._ends[session_id] = reason
        while len(self._ends) > _REMEMBERED_ENDS:
            self._ends.popitem(last=False)
        SESSIONS_LIVE.set(len(self._live))
        SESSIONS_ENDED.labels(reason=reason.code).inc()
        log.info("session.ended", reason=reason.code, cells=session.cells)

    def evict_idlest(self) -> bool:
        """End the session that was idle for the longest; False when all are busy."""
        idle = [session for session in self._live.values() if not session.is_busy]
        if not idle:
            return False
        self.end(min(idle, key=lambda session: session.used_at).session_id, EndReason.EVICTED)
        return True

    def evict_overdue(self) -> None:
        """End the sessions that were idle for too long or whose other end is gone."""
        oldest = monotonic() - self._limits.idle_seconds
        for session in list(self._live.values()):
            if not session.cell.is_alive and not session.is_busy:
                self.end(session.session_id, EndReason.RUNNER_LOST)
            elif not session.is_busy and session.used_at < oldest:
                self.end(session.session_id, EndReason.IDLE)

    def package_sets(self) -> frozenset[str]:
        """Return the names of the package sets that sessions see."""
        held = (each.package_set for each in self._held if each.cell.is_alive)
        return frozenset(name for name in held if name is not None)

    def close_all(self) -> None:
        """End all sessions, at the end of the service."""
        for session_id in list(self._live):
            self.end(session_id, EndReason.DELETED)
        self._farewells.hurry()

    def views(self) -> tuple[SessionView, ...]:
        """Describe the live sessions, the oldest first."""
        live = (session for session in self._live.values() if session.cell.is_alive)
        return tuple(session.view(most_idle_seconds=self._limits.idle_seconds) for session in live)

    def view(self, session_id: str) -> SessionView:
        """Describe one live session; raises as `find`."""
        return self.find(session_id).view(most_idle_seconds=self._limits.idle_seconds)

    async def _open(self, deadline: Deadline, limits: ResourceLimits) -> LiveSession:
        package_set = self._default_package_set()
        name, path = package_set or (None, None)
        began_at = monotonic()
        for attempt in count():
            asked_at = monotonic()
            cell = await self._runner.open(package_path=path, limits=limits, deadline=deadline)
            if cell is not None:
                SESSION_OPEN_SECONDS.observe(monotonic() - asked_at)
                session = LiveSession(
                    secrets.token_urlsafe(16), cell, limits, turns(self._room), package_set=name
                )
                self._held.add(session)
                return session
            self._farewells.hurry(_FREED)
            # A slot that is being cleaned is free in a moment; only then does a session make room.
            # The runner may have waited itself: it says no late where it can't fork another one.
            has_waited = monotonic() - began_at >= sum(_FULL_PAUSES)
            is_hopeless = has_waited and not self.evict_idlest()
            if is_hopeless or deadline.is_expired:
                break
            pause = _FULL_PAUSES[min(attempt, len(_FULL_PAUSES) - 1)]
            await asyncio.sleep(min(pause, deadline.remaining()))
        raise TooBusy(
            "The sandbox has no free place for a session, or its machine can't start one at "
            "present. Try again later, or delete a session that is not needed.",
            retry_after_seconds=2.0,
        )


class Turn:
    """A live session that is this call's, inside of an `async with` block; see `Sessions.use`."""

    __slots__ = ("_client", "_deadline", "_held_bytes", "_session", "_session_id", "_sessions")

    def __init__(
        self,
        sessions: Sessions,
        session_id: str,
        deadline: Deadline,
        client: str,
        held_bytes: int,
    ) -> None:
        self._sessions = sessions
        self._session_id = session_id
        self._deadline = deadline
        self._client = client
        self._held_bytes = held_bytes
        self._session: LiveSession | None = None

    async def __aenter__(self) -> LiveSession:
        self._session = await self._sessions.take_turn(
            self._session_id, self._deadline, self._client, self._held_bytes
        )
        return self._session

    async def __aexit__(self, *_: object) -> None:
        if self._session is not None:
            self._sessions.end_turn(self._session)
