"""The ends of sessions that nobody uses any more, put off until there is time for them.

To end a session takes the machine as long as some cells: two processes are killed, their memory is
given back, their folder is unmounted. A run that was answered needs none of that, and the next one
should have the processors first. What waits here is stopped, holds a place of the runner and some
memory of its own, so it is bounded: in number, in time, and to sessions that left little behind.
"""

import asyncio
from collections import deque
from math import inf
from time import monotonic
from typing import Final

from sandbox.cells import CellOutcome, CellSession

# As many as the runner forks in advance: more would come slower than they go.
_MOST: Final = 64
_QUIET_SECONDS: Final = 0.01
# Between two ends, while nobody asks for anything.
_PAUSE_SECONDS: Final = 0.002
# Above what a run of little takes, which is what all sessions share for the most part.
_LIGHT_BYTES: Final = 16 << 20


class Farewells:
    """Ends sessions once no other came for a moment, and at once where their places are needed."""

    def __init__(self) -> None:
        self._leaving: deque[CellSession] = deque()
        self._is_wanted = asyncio.Event()
        self._latest = 0.0
        self._least_peak_bytes: float = inf

    def take(self, session: CellSession, outcome: CellOutcome | None) -> None:
        """End a session some time soon; at once, if its run failed to end well or left much."""
        if outcome is None or not self._is_light(outcome):
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
                    self.hurry(1)
                await asyncio.sleep(max(rest, _PAUSE_SECONDS))

    def _is_light(self, outcome: CellOutcome) -> bool:
        self._least_peak_bytes = min(self._least_peak_bytes, outcome.peak_memory_bytes)
        grown = outcome.peak_memory_bytes - self._least_peak_bytes
        files = outcome.files
        has_files = files.added or files.changed or files.is_truncated
        return grown <= _LIGHT_BYTES and not has_files and not outcome.is_session_ended
