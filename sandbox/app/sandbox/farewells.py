"""The ends of sessions that nobody uses any more, put off until there is time for them.

To end a session takes the machine as long as some cells: two processes are killed, their memory is
given back, their folder is unmounted. A run that was answered needs none of that, and the next one
should have the processors first. What waits here is stopped, holds a place of the runner and some
memory of its own, so it is bounded: in number, in time, and to sessions that left little behind.
"""

import asyncio
from collections import deque
from time import monotonic
from typing import Final

from servicekit.logs import get_logger

from sandbox.cells import CellOutcome, CellSession

# As many as the runner forks in advance: more would come slower than they go.
_MOST: Final = 64
_QUIET_SECONDS: Final = 0.01
# Between two ends, while nobody asks for anything.
_PAUSE_SECONDS: Final = 0.002

log = get_logger()


class Farewells:
    """Ends sessions once no other came for a moment, and at once where their places are needed."""

    def __init__(self) -> None:
        self._leaving: deque[CellSession] = deque()
        self._is_wanted = asyncio.Event()
        self._latest = 0.0

    def take(self, session: CellSession, outcome: CellOutcome | None) -> None:
        """End a session some time soon; at once, if its run did not come to an end or left much."""
        if outcome is None or not outcome.is_light:
            session.close()
            return
        self._leaving.append(session)
        self._latest = monotonic()
        self._is_wanted.set()
        if len(self._leaving) > _MOST:
            self.hurry(1)

    def hurry(self, count: int = _MOST) -> None:
        """End so many at once: their places are needed."""
        for _ in range(min(count, len(self._leaving))):
            self._leaving.popleft().close()

    async def keep(self) -> None:
        """End sessions one after the other in quiet moments, for as long as the service runs."""
        while True:
            await self._is_wanted.wait()
            self._is_wanted.clear()
            while self._leaving:
                rest = self._latest + _QUIET_SECONDS - monotonic()
                if rest <= 0:
                    self._end_one()
                await asyncio.sleep(max(rest, _PAUSE_SECONDS))

    def _end_one(self) -> None:
        try:
            self.hurry(1)
        except Exception:
            log.exception("farewell.failed")  # and the others have their turn
