"""Who may run now, who waits, and who is sent away.

A fixed number of runs go on at once. Behind them stands a bounded queue that is
fair among callers: each caller has a line of its own, and the lines take turns,
so that one caller with sixty requests does not hold up another with one. Nor does
it keep others out: where the queue is full, the newest of the longest line makes
room for who has fewer waiting.
"""

import asyncio
from collections import OrderedDict, deque
from dataclasses import dataclass, field
from time import monotonic

from servicekit.deadline import Deadline
from servicekit.errors import DeadlineExceeded, TooBusy

from sandbox.metrics import QUEUE_LENGTH, SLOTS, SLOTS_IN_USE, WAIT_SECONDS

# A new run's length is unknown: the mean of the latest ones is the guess for Retry-After.
_SMOOTHING = 0.2


@dataclass(eq=False)
class _Waiter:
    granted: asyncio.Future[None] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )


class Admission:
    """Slots and a bounded, fair queue.

    Parameters
    ----------
    slots
        Runs that go on at once.
    queue_limit
        Runs that may wait; one more is refused.
    """

    def __init__(self, *, slots: int, queue_limit: int) -> None:
        self._slots = slots
        self._queue_limit = queue_limit
        self._in_use = 0
        self._waiting = 0
        self._lines: OrderedDict[str, deque[_Waiter]] = OrderedDict()
        self._mean_seconds = 1.0
        SLOTS.set(slots)

    @property
    def in_use(self) -> int:
        """Slots taken at present."""
        return self._in_use

    @property
    def waiting(self) -> int:
        """Runs that wait at present."""
        return self._waiting

    def slot(self, client: str, deadline: Deadline) -> "Slot":
        """Return a slot to hold for the length of a `with` block.

        Its beginning raises `TooBusy` when the queue is full, also when that comes about while it
        waits, and `DeadlineExceeded` when the request's time ended while it waited.
        """
        return Slot(self, client, deadline)

    async def acquire(self, client: str, deadline: Deadline) -> None:
        """Take a slot, waiting for it; see `slot`."""
        if self._in_use < self._slots and not self._waiting:
            self._take(1)
            return
        if self._waiting >= self._queue_limit and not self._make_room(client):
            raise self._too_busy()
        await self._wait(client, deadline)

    def _make_room(self, client: str) -> bool:
        """Send the newest of the longest line away, if that line stays no shorter than this one."""
        longest = max(self._lines.values(), key=len, default=deque())
        if len(longest) <= len(self._lines.get(client, ())) + 1:
            return False
        newest = longest.pop()
        self._count_waiting(-1)
        newest.granted.set_exception(self._too_busy())
        return True

    def _too_busy(self) -> TooBusy:
        return TooBusy(
            f"All {self._slots} places are taken and {self._waiting} runs wait. "
            "Try again after the time that Retry-After names.",
            retry_after_seconds=self._retry_after_seconds(),
        )

    async def _wait(self, client: str, deadline: Deadline) -> None:
        waiter = _Waiter()
        self._lines.setdefault(client, deque()).append(waiter)
        self._count_waiting(1)
        try:
            async with asyncio.timeout(deadline.remaining()):
                await waiter.granted
        except BaseException as error:
            self._give_up(client, waiter)
            if isinstance(error, TimeoutError):
                raise DeadlineExceeded(
                    "The time for this request ended while it waited for a free place. "
                    "Try again later or allow more time."
                ) from None
            raise

    def release(self, held_seconds: float) -> None:
        """Give a slot back that was held for some seconds."""
        self._mean_seconds += _SMOOTHING * (held_seconds - self._mean_seconds)
        self._release()

    def _give_up(self, client: str, waiter: _Waiter) -> None:
        if waiter.granted.done() and not waiter.granted.cancelled():
            if waiter.granted.exception() is None:
                self._release()  # the slot came in the same moment as the end of the wait
            return
        line = self._lines.get(client)
        if line is not None and waiter in line:
            line.remove(waiter)
            self._count_waiting(-1)
            if not line:
                del self._lines[client]

    def _release(self) -> None:
        waiter = self._next()
        if waiter is None:
            self._take(-1)
        else:
            waiter.granted.set_result(None)  # the slot changes hands and stays in use

    def _next(self) -> _Waiter | None:
        while self._lines:
            client, line = self._lines.popitem(last=False)
            waiter = line.popleft()
            self._count_waiting(-1)
            if line:
                self._lines[client] = line  # to the end: the other callers' turn comes first
            if not waiter.granted.done():
                return waiter
        return None

    def _take(self, change: int) -> None:
        self._in_use += change
        SLOTS_IN_USE.set(self._in_use)

    def _count_waiting(self, change: int) -> None:
        self._waiting += change
        QUEUE_LENGTH.set(self._waiting)

    def _retry_after_seconds(self) -> float:
        return min(60.0, max(1.0, self._mean_seconds * (self._waiting + 1) / self._slots))


class Slot:
    """One slot, held inside of an `async with` block; see `Admission.slot`."""

    __slots__ = ("_admission", "_client", "_deadline", "_started_at")

    def __init__(self, admission: Admission, client: str, deadline: Deadline) -> None:
        self._admission = admission
        self._client = client
        self._deadline = deadline
        self._started_at = 0.0

    async def __aenter__(self) -> None:
        asked_at = monotonic()
        await self._admission.acquire(self._client, self._deadline)
        self._started_at = monotonic()
        WAIT_SECONDS.observe(self._started_at - asked_at)

    async def __aexit__(self, *_: object) -> None:
        self._admission.release(monotonic() - self._started_at)
