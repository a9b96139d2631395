"""Who waits for a place: in lines that take turns, and bounded in all.

A queue has a number of places. Behind them each caller has a line of its own, and
the lines take turns, so that one caller with sixty requests does not hold up another
with one. All queues of the service share one room, which bounds how many calls wait
and what they hold in memory meanwhile. Nor does one caller keep others out there:
where the room is full, the newest of who has most in it is sent away for who has less.
"""

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from prometheus_client import Gauge
from servicekit.deadline import Deadline
from servicekit.errors import DeadlineExceeded, TooBusy


@dataclass(eq=False, slots=True)
class _Waiter:
    queue: "FairQueue"
    client: str
    held_bytes: int
    granted: asyncio.Future[None] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )


class WaitingRoom:
    """The bounds on all who wait, whatever they wait for.

    Parameters
    ----------
    most_calls
        Calls that may wait.
    most_bytes
        What they may hold together while they wait.
    """

    def __init__(self, *, most_calls: int, most_bytes: int) -> None:
        self._most_calls = most_calls
        self._most_bytes = most_bytes
        self._calls = 0
        self._bytes = 0
        self._of: dict[str, dict[_Waiter, None]] = {}

    def enter(self, newcomer: _Waiter) -> None:
        """Take in a call that has to wait; others may have to leave for it.

        Raises
        ------
        TooBusy
            There is no room, and nobody has more in it than this caller.
        """
        while not self._has_room_for(newcomer):
            if (other := self._who_leaves_for(newcomer)) is None:
                raise newcomer.queue.too_busy()
            other.queue.send_away(other)
        self._of.setdefault(newcomer.client, {})[newcomer] = None
        self._calls += 1
        self._bytes += newcomer.held_bytes

    def leave(self, waiter: _Waiter) -> None:
        """Forget a call that waits no more."""
        mine = self._of[waiter.client]
        del mine[waiter]
        if not mine:
            del self._of[waiter.client]
        self._calls -= 1
        self._bytes -= waiter.held_bytes

    def _has_room_for(self, newcomer: _Waiter) -> bool:
        is_one_too_many = self._calls >= self._most_calls
        return not is_one_too_many and self._bytes + newcomer.held_bytes <= self._most_bytes

    def _who_leaves_for(self, newcomer: _Waiter) -> _Waiter | None:
        """Return the newest of who has most in here, if that is still as much as the newcomer's."""
        weigh: Callable[[Collection[_Waiter]], int]
        weigh, added = (_held, newcomer.held_bytes)
        if self._calls >= self._most_calls:
            weigh, added = len, 1
        heaviest = max(self._of.values(), key=weigh, default={})
        if weigh(heaviest) <= weigh(self._of.get(newcomer.client, {})) + added:
            return None
        return next(reversed(heaviest))


def _held(waiters: Collection[_Waiter]) -> int:
    return sum(waiter.held_bytes for waiter in waiters)


class FairQueue:
    """Places, and lines of those who wait for one.

    Parameters
    ----------
    room
        Where they wait.
    places
        How many are in at once.
    length
        The metric that counts who waits.
    too_busy
        Makes the error of who can't even wait.
    too_late
        The words for who waited until its time was over.
    """

    __slots__ = (
        "_length",
        "_lines",
        "_room",
        "_too_late",
        "in_use",
        "places",
        "too_busy",
        "waiting",
    )

    def __init__(
        self,
        room: WaitingRoom,
        *,
        places: int,
        length: Gauge,
        too_busy: Callable[[], TooBusy],
        too_late: str,
    ) -> None:
        self._room = room
        self._length = length
        self._too_late = too_late
        self._lines: OrderedDict[str, deque[_Waiter]] = OrderedDict()
        self.places = places
        self.too_busy = too_busy
        self.in_use = 0
        self.waiting = 0

    def take_free(self) -> bool:
        """Take a place if one is free and nobody waits for it; say whether."""
        if self.in_use < self.places and not self.waiting:
            self.in_use += 1
            return True
        return False

    async def wait(self, client: str, held_bytes: int, deadline: Deadline) -> None:
        """Wait for a place in a caller's line.

        Parameters
        ----------
        held_bytes
            What the call keeps in memory meanwhile.

        Raises
        ------
        TooBusy
            There is no room to wait in, or it was needed for others meanwhile.
        DeadlineExceeded
            The request's time ended first.
        """
        waiter = _Waiter(self, client, held_bytes)
        self._room.enter(waiter)
        self._lines.setdefault(client, deque()).append(waiter)
        self._count(1)
        try:
            async with asyncio.timeout(deadline.remaining()):
                await waiter.granted
        except BaseException as error:
            self._give_up(waiter)
            if isinstance(error, TimeoutError):
                raise DeadlineExceeded(self._too_late) from None
            raise

    def release(self) -> None:
        """Give a place back: to the next in line, if somebody waits."""
        while self._lines:
            client, line = self._lines.popitem(last=False)
            waiter = line.popleft()
            if line:
                self._lines[client] = line  # to the end: the other callers' turn comes first
            self._forget(waiter)
            if not waiter.granted.done():
                waiter.granted.set_result(None)  # the place changes hands and stays in use
                return
        self.in_use -= 1

    def send_away(self, waiter: _Waiter) -> None:
        """Have a call wait no more: its room is needed."""
        self._take_out(waiter)
        if not waiter.granted.done():  # else it gives up by itself, in this same moment
            waiter.granted.set_exception(self.too_busy())

    def _give_up(self, waiter: _Waiter) -> None:
        if waiter.granted.done() and not waiter.granted.cancelled():
            if waiter.granted.exception() is None:
                self.release()  # the place came in the same moment as the end of the wait
        elif waiter in self._lines.get(waiter.client, ()):
            self._take_out(waiter)

    def _take_out(self, waiter: _Waiter) -> None:
        line = self._lines[waiter.client]
        line.remove(waiter)
        if not line:
            del self._lines[waiter.client]
        self._forget(waiter)

    def _forget(self, waiter: _Waiter) -> None:
        self._room.leave(waiter)
        self._count(-1)

    def _count(self, change: int) -> None:
        self.waiting += change
        self._length.inc(change)
