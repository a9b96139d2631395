"""Who may run now, and who waits for that.

A fixed number of runs go on at once; the others wait in a fair queue.
"""

from time import monotonic

from servicekit.deadline import Deadline
from servicekit.errors import TooBusy

from sandbox.metrics import QUEUE_LENGTH, SLOTS, SLOTS_IN_USE, WAIT_SECONDS
from sandbox.waiting import FairQueue, WaitingRoom

# A new run's length is unknown: the mean of the latest ones is the guess for Retry-After.
_SMOOTHING = 0.2


class Admission:
    """Slots and a bounded, fair queue.

    Parameters
    ----------
    slots
        Runs that go on at once.
    room
        Where runs wait; others may wait there for other things.
    """

    def __init__(self, *, slots: int, room: WaitingRoom) -> None:
        self._queue = FairQueue(
            room,
            places=slots,
            length=QUEUE_LENGTH,
            too_busy=self._too_busy,
            too_late="The time for this request ended while it waited for a free place. "
            "Try again later or allow more time.",
        )
        self._mean_seconds = 1.0
        SLOTS.set(slots)

    @property
    def in_use(self) -> int:
        """Slots taken at present."""
        return self._queue.in_use

    @property
    def waiting(self) -> int:
        """Runs that wait at present."""
        return self._queue.waiting

    def slot(self, client: str, deadline: Deadline, *, held_bytes: int = 0) -> "Slot":
        """Return a slot to hold for the length of a `with` block; the wait for it begins now.

        Its beginning raises `TooBusy` when there is no room to wait, also when that comes about
        while it waits, and `DeadlineExceeded` when the request's time ended while it waited.

        Parameters
        ----------
        held_bytes
            What the call keeps in memory while it waits.
        """
        return Slot(self, client, deadline, held_bytes)

    async def acquire(self, client: str, deadline: Deadline, held_bytes: int) -> None:
        """Take a slot, waiting for it; see `slot`."""
        if not self._queue.take_free():
            await self._queue.wait(client, held_bytes, deadline)
        SLOTS_IN_USE.set(self._queue.in_use)

    def release(self, held_seconds: float) -> None:
        """Give a slot back that was held for some seconds."""
        self._mean_seconds += _SMOOTHING * (held_seconds - self._mean_seconds)
        self._queue.release()
        SLOTS_IN_USE.set(self._queue.in_use)

    def _too_busy(self) -> TooBusy:
        queue = self._queue
        seconds = self._mean_seconds * (queue.waiting + 1) / queue.places
        return TooBusy(
            f"All {queue.places} places are taken and {queue.waiting} runs wait. "
            "Try again after the time that Retry-After names.",
            retry_after_seconds=min(60.0, max(1.0, seconds)),
        )


class Slot:
    """One slot, held inside of an `async with` block; see `Admission.slot`."""

    __slots__ = ("_admission", "_asked_at", "_client", "_deadline", "_held_bytes", "_started_at")

    def __init__(
        self, admission: Admission, client: str, deadline: Deadline, held_bytes: int
    ) -> None:
        self._admission = admission
        self._client = client
        self._deadline = deadline
        self._held_bytes = held_bytes
        self._asked_at = monotonic()  # with what the request waits for before: its session's turn
        self._started_at = 0.0

    async def __aenter__(self) -> None:
        await self._admission.acquire(self._client, self._deadline, self._held_bytes)
        self._started_at = monotonic()
        WAIT_SECONDS.observe(self._started_at - self._asked_at)

    async def __aexit__(self, *_: object) -> None:
        self._admission.release(monotonic() - self._started_at)
