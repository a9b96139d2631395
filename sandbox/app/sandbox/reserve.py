"""Sessions opened ahead, so that a run that needs a new one finds it there."""

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Final

from servicekit.deadline import Deadline
from servicekit.errors import StackError
from servicekit.logs import get_logger
from servicekit.wire.execution import ResourceLimits

from sandbox.cells import CellRunner, CellSession, RunnerHello
from sandbox.limits import NO_LIMITS
from sandbox.metrics import SPARE_SESSIONS

# The run that took the last one has the processors first.
_REST_SECONDS: Final = 0.005
# Where there was no place, those who wait for one come before a spare.
_FULL_REST_SECONDS: Final = 2.0
_OPEN_SECONDS: Final = 10.0
_PLACES_FOR_A_SPARE: Final = 8
# How often to look whether a spare is missing that nobody has asked for.
_LOOK_SECONDS: Final = 5.0

log = get_logger()


@dataclass(frozen=True, slots=True)
class Spare:
    """A session that nobody has used, and the package set that it sees."""

    session: CellSession
    package_path: Path | None


class Reserve:
    """A `CellRunner` that opens sessions ahead of those who ask for them.

    A spare has the runner's own limits and the package set that new sessions get; whoever asks for
    others gets a session opened then. It is used once, and given up where its place is needed.

    Parameters
    ----------
    runner
        Where sessions come from.
    size
        Sessions kept; 0 for none. Of a runner with few places an eighth at most, but one.
    package_path
        Returns the package set that a new session sees.
    """

    def __init__(
        self, runner: CellRunner, *, size: int, package_path: Callable[[], Path | None]
    ) -> None:
        self._runner = runner
        self._size = size
        self._package_path = package_path
        self._spares: deque[Spare] = deque()
        self._bounds: ResourceLimits | None = None
        self._is_wanted = asyncio.Event()
        self._rest_until = 0.0
        self._fair_share = 1  # until the runner has said how many places it has

    async def hello(self) -> RunnerHello:
        """Ask the runner how it is."""
        said = await self._runner.hello()
        self._fair_share = max(1, said.slots // _PLACES_FOR_A_SPARE)
        return said

    @property
    def longest_seconds(self) -> float | None:
        """The longest time limit in seconds of a run, as the runner last said; None before."""
        return self._runner.longest_seconds

    async def bounds(self, deadline: Deadline) -> ResourceLimits:
        """Return the most that a session may ask for."""
        self._bounds = await self._runner.bounds(deadline)
        return self._bounds

    async def open(
        self, *, package_path: Path | None, limits: ResourceLimits, deadline: Deadline
    ) -> CellSession | None:
        """Return a spare if there is one that fits, else open a session; see `CellRunner`."""
        is_usual = limits in {NO_LIMITS, self._bounds}
        session = self._take(package_path) if is_usual else None
        if self._size and is_usual:
            SPARE_SESSIONS.labels(outcome="miss" if session is None else "hit").inc()
        if session is None:
            session = await self._runner.open(
                package_path=package_path, limits=limits, deadline=deadline
            )
        if session is None:
            self.give_up()
            self._rest_until = monotonic() + _FULL_REST_SECONDS
        self._is_wanted.set()
        return session

    async def keep(self) -> None:
        """Open spares as they are used, for as long as the service runs."""
        while self._size:
            await asyncio.sleep(max(_REST_SECONDS, self._rest_until - monotonic()))
            self._is_wanted.clear()
            try:
                await self._fill()
            except Exception:
                log.exception("reserve.failed")  # and the next who asks gets one opened then
                self._rest_until = monotonic() + _FULL_REST_SECONDS
            with suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_SECONDS):
                    await self._is_wanted.wait()

    def give_up(self) -> None:
        """End all spares."""
        while self._spares:
            self._spares.popleft().session.close()

    async def _fill(self) -> None:
        self._drop_unfit()
        while len(self._spares) < min(self._size, self._fair_share):
            path = self._package_path()
            try:
                session = await self._runner.open(
                    package_path=path, limits=NO_LIMITS, deadline=Deadline.after(_OPEN_SECONDS)
                )
            except StackError:
                return  # the next who asks is told why
            if session is None:
                self._rest_until = monotonic() + _FULL_REST_SECONDS
                return
            self._spares.append(Spare(session, path))

    def _drop_unfit(self) -> None:
        """End the spares that nobody would get: lost ones, and those with former packages."""
        path = self._package_path()
        for spare in list(self._spares):
            if not (spare.session.is_alive and spare.package_path == path):
                self._spares.remove(spare)
                spare.session.close()

    def _take(self, package_path: Path | None) -> CellSession | None:
        while self._spares:
            spare = self._spares.popleft()
            if spare.session.is_alive and spare.package_path == package_path:
                return spare.session
            spare.session.close()
        return None
