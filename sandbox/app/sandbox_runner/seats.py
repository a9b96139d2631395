"""The sessions of a runner: forked in advance, claimed, ended, and their slots wiped."""

import queue
import secrets
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Final

from sandbox_runner import control, log
from sandbox_runner.control import Claim, Spawn, WardenReady
from sandbox_runner.policy import SessionLimits
from sandbox_runner.slots import Slot, SlotHouse

# A fork takes some 10 ms; one that hangs is not to hold up the others.
_FORK_SECONDS: Final = 1.0
_WIPE_ATTEMPTS: Final = 50
_WIPE_PAUSE_SECONDS: Final = 0.1


@dataclass(frozen=True, slots=True)
class Seat:
    """One session, from its fork to the end of its processes.

    Attributes
    ----------
    line
        Control line to the warden; closing it ends the session.
    warden_pid
        0 until the session is ready to be claimed.
    """

    name: str
    slot: Slot
    line: socket.socket
    warden_pid: int = 0
    is_claimed: bool = False
    ordered_at: float = field(default_factory=time.monotonic)

    @property
    def is_ready(self) -> bool:
        """Whether it waits for a client."""
        return self.warden_pid != 0 and not self.is_claimed


class Seats:
    """All seats of the runner.

    Parameters
    ----------
    size
        How many there may be at once.
    on_wiped
        Called, from another thread, when a slot has been wiped.
    """

    def __init__(
        self, house: SlotHouse, bounds: SessionLimits, size: int, on_wiped: Callable[[], None]
    ) -> None:
        self.size = size
        self._house = house
        self._bounds = bounds
        self._seats: dict[int, Seat] = {}
        self._wiper = Wiper(house, on_wiped)

    @property
    def claimed(self) -> int:
        """Seats that a client has."""
        return sum(seat.is_claimed for seat in self._seats.values())

    @property
    def in_use(self) -> int:
        """Seats that a client has, or whose slot is not wiped yet."""
        return self.claimed + self._wiper.pending

    @property
    def has_room(self) -> bool:
        """Whether one more session may be forked."""
        return len(self._seats) + self._wiper.pending < self.size

    @property
    def ready(self) -> int:
        """Seats that are ready to be claimed."""
        return sum(seat.is_ready for seat in self._seats.values())

    @property
    def waiting(self) -> int:
        """Seats that are ready to be claimed, or soon will be."""
        return sum(not seat.is_claimed for seat in self._seats.values())

    @property
    def warden_pids(self) -> frozenset[int]:
        """Process ids of the wardens that are known."""
        return frozenset(seat.warden_pid for seat in self._seats.values() if seat.warden_pid)

    def by_line(self, descriptor: int) -> Seat | None:
        """Return the seat of a control line."""
        return self._seats.get(descriptor)

    def spawn(self, zygote: socket.socket) -> Seat:
        """Have the zygote fork a session; its control line becomes readable when it is ready.

        Raises
        ------
        OSError
            No slot can be made, or the zygote has ended.
        """
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            try:
                slot = self._house.create(self._bounds)
            except OSError:
                ours.close()
                raise
            seat = Seat(secrets.token_hex(8), slot, ours)
            order = Spawn(seat.name, slot.path, slot.has_quota)
            try:
                control.send(zygote, order, (theirs.fileno(),))
            except OSError:
                self.give_up(seat)
                raise
        self._seats[ours.fileno()] = seat
        return seat

    def hear(self, seat: Seat) -> Seat | None:
        """Take the news of a seat: it is ready, or (None) it has ended and is given up."""
        try:
            message, _ = control.receive(seat.line)
        except (EOFError, OSError):
            self.give_up(seat)
            return None
        ready = replace(seat, warden_pid=WardenReady(**message).pid)
        self._seats[seat.line.fileno()] = ready
        return ready

    def claim(self, claim: Claim, client: socket.socket) -> bool:
        """Give a ready seat to a client; say whether there was one."""
        for seat in [seat for seat in self._seats.values() if seat.is_ready]:
            try:
                if claim.limits != self._bounds:
                    self._house.shrink(seat.slot, claim.limits)
                control.send(seat.line, claim, (client.fileno(),))
            except OSError as error:
                log.event("session.lost", level="warning", session=seat.name, reason=repr(error))
                continue  # its end is heard on its line
            self._seats[seat.line.fileno()] = replace(seat, is_claimed=True)
            return True
        return False

    def give_up(self, seat: Seat) -> None:
        """End a session, if it has not ended, and have its slot wiped."""
        self._seats.pop(seat.line.fileno(), None)
        seat.line.close()
        self._wiper.wipe(seat.slot)

    def forking(self, now: float) -> int:
        """Return how many are being forked at a time, without those that take too long for it."""
        oldest = now - _FORK_SECONDS
        return sum(seat.ordered_at > oldest for seat in self.unready())

    def unready(self) -> list[Seat]:
        """Return the seats whose fork is not finished."""
        return [seat for seat in self._seats.values() if seat.warden_pid == 0]

    def all(self) -> list[Seat]:
        """Return every seat."""
        return list(self._seats.values())

    def close(self) -> None:
        """Wait until every slot that was given up is wiped."""
        self._wiper.close()


class Wiper:
    """Wipes slots on a thread of its own: ten thousand files must not hold up a new session."""

    def __init__(self, house: SlotHouse, on_wiped: Callable[[], None]) -> None:
        self._house = house
        self._on_wiped = on_wiped
        self._queue: queue.SimpleQueue[Slot | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._pending = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, name="wiper", daemon=True)
        self._thread.start()

    @property
    def pending(self) -> int:
        """Slots that are not wiped yet."""
        with self._lock:
            return self._pending

    def wipe(self, slot: Slot) -> None:
        """Wipe a slot soon."""
        with self._lock:
            self._pending += 1
        self._queue.put(slot)

    def close(self) -> None:
        """Finish what is queued."""
        self._queue.put(None)
        self._thread.join(timeout=10)

    def _work(self) -> None:
        while (slot := self._queue.get()) is not None:
            for _ in range(_WIPE_ATTEMPTS):
                if self._house.remove(slot):
                    break
                self._stop.wait(_WIPE_PAUSE_SECONDS)
            else:
                log.event("slot.left", level="error", slot=slot.path)
            with self._lock:
                self._pending -= 1
            self._on_wiped()
