"""Who asked for a session and waits for a seat: in order, and not for ever."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from sandbox_runner.control import Claim
from sandbox_runner.protocol import Refused
from sandbox_runner.visitor import Visitor

OPEN_PATIENCE_SECONDS: Final = 5.0
"""How long who asks waits at most: the service, which waits for longer, is then told why."""
# A session that has just been closed counts until its processes are gone: wait that long.
_FULL_PATIENCE_SECONDS: Final = 0.5


@dataclass(frozen=True, slots=True)
class Arrival:
    """An open request that waits for a ready seat; `is_full` if all were taken when it came."""

    visitor: Visitor
    claim: Claim
    expires: float
    is_full: bool


class Arrivals:
    """The line before the seats. Times are monotonic seconds."""

    def __init__(self) -> None:
        self._line: deque[Arrival] = deque()

    def __len__(self) -> int:
        """Return how many wait."""
        return len(self._line)

    def add(self, visitor: Visitor, claim: Claim, *, now: float, is_full: bool) -> None:
        """Take in who is nobody's visitor any more; its connection is closed when it is served."""
        patience = _FULL_PATIENCE_SECONDS if is_full else OPEN_PATIENCE_SECONDS
        self._line.append(Arrival(visitor, claim, now + patience, is_full))

    def serve(self, give_seat: Callable[[Arrival], bool]) -> None:
        """Give seats out in order, for as long as there are some."""
        while self._line and give_seat(self._line[0]):
            self._line.popleft().visitor.connection.close()
        # No session was waiting for these.
        for place, left in enumerate(self._line):
            self._line[place] = replace(left, claim=replace(left.claim, was_waiting=False))

    def refuse_late(self, now: float, *, slots: int) -> None:
        """Tell those who waited for long enough that there is no place."""
        for late in [arrival for arrival in self._line if now > arrival.expires]:
            self._line.remove(late)
            detail = "no session became ready in time"
            if late.is_full:
                detail = f"all {slots} slots are in use"
            late.visitor.say(Refused("full", detail))
            late.visitor.connection.close()
