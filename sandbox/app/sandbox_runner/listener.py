"""The listener: takes connections, keeps the zygote alive and the pool full. Runs no cell."""

import os
import selectors
import signal
import socket
import sys
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Final

from sandbox_runner import kernel, log
from sandbox_runner.arrivals import Arrival, Arrivals
from sandbox_runner.control import Claim, ZygoteReady
from sandbox_runner.fork_pace import ForkPace
from sandbox_runner.house import House
from sandbox_runner.limits import LimitRefused, settle
from sandbox_runner.needs import lacking
from sandbox_runner.protocol import (
    PROTOCOL_VERSION,
    Hello,
    HelloEvent,
    Open,
    ProtocolError,
    RefusalReason,
    Refused,
    SlotUse,
)
from sandbox_runner.seats import Seat, Seats
from sandbox_runner.settings import RunnerSettings
from sandbox_runner.tree import children, descendants, stop_and_kill
from sandbox_runner.visitor import Visitor
from sandbox_runner.zygote import ZygoteConfig
from sandbox_runner.zygote_keeper import ZygoteKeeper

_MAX_VISITORS: Final = 512
_ENDS_REMEMBERED: Final = 64
_TICK_SECONDS: Final = 0.25
_FAREWELL_SECONDS: Final = 6.0


class Listener:
    """Serves the socket until it is told to stop.

    Parameters
    ----------
    listening
        The bound socket.
    """

    def __init__(self, settings: RunnerSettings, house: House, listening: socket.socket) -> None:
        self._settings = settings
        self._house = house
        self._listening = listening
        self._waking, woken = socket.socketpair()
        self._waking.setblocking(False)
        woken.setblocking(False)
        self._woken = woken
        self._seats = Seats(house.slots, settings.bounds, settings.slots, self._wake)
        self._zygote = ZygoteKeeper(_zygote_config(settings, house))
        self._selector = selectors.DefaultSelector()
        self._visitors: dict[int, Visitor] = {}
        self._greeting: deque[Visitor] = deque()
        self._arrivals = Arrivals()
        # Wardens whose lines have ended, themselves a moment later.
        self._ended: deque[int] = deque(maxlen=_ENDS_REMEMBERED)
        self._started_seconds = time.time()
        self._pace = ForkPace()
        self._is_stopping = False

    # ------------------------------------------------------------ life

    def run(self) -> None:
        """Serve until SIGTERM or SIGINT.

        Raises
        ------
        RunnerFailed
            The zygote cannot be kept alive.
        """
        kernel.prctl(kernel.PR_SET_CHILD_SUBREAPER, 1)
        signal.set_wakeup_fd(self._woken.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        self._listening.setblocking(False)
        self._watch(self._listening, self._accept)
        self._watch(self._waking, self._woke)
        try:
            while not self._is_stopping:
                self._tend()
                for key, _ in self._selector.select(self._patience()):
                    if self._is_current(key):
                        key.data()
        finally:
            self._leave()

    def _is_current(self, key: selectors.SelectorKey) -> bool:
        """Say whether an event is still of the end that it was reported for.

        An earlier event of the same moment may have ended it; its number may be another's by now.
        """
        try:
            return self._selector.get_map()[key.fd] is key
        except KeyError:
            return False

    def _patience(self) -> float:
        """Return how long nothing is due, in seconds."""
        left = self._pace.due(len(self._arrivals)) - time.monotonic()
        if left > 0:
            return left
        is_busy = self._visitors or self._arrivals or self._zygote.line is None
        return _TICK_SECONDS if is_busy else 20 * _TICK_SECONDS

    def _stop(self, number: int, _frame: Any) -> None:
        log.event("runner.stopping", signal=signal.Signals(number).name)
        self._is_stopping = True

    def _leave(self) -> None:
        """End every session and the zygote, wipe the slots."""
        self._listening.close()
        for seat in self._seats.all():
            self._seats.give_up(seat)
        self._zygote.close()
        limit = time.monotonic() + _FAREWELL_SECONDS
        while time.monotonic() < limit and not self._all_reaped():
            time.sleep(0.005)
        for pid in descendants(os.getpid()):
            stop_and_kill(pid)
        self._seats.close()
        self._house.slots.close()

    def _all_reaped(self) -> bool:
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return True
        return False

    def _watch(self, end: socket.socket, handler: Callable[[], None]) -> None:
        self._selector.register(end, selectors.EVENT_READ, handler)

    def _wake(self) -> None:
        try:
            self._woken.send(b"\0")
        except OSError:
            return  # it is awake as can be

    def _woke(self) -> None:
        try:
            self._waking.recv(4096)
        except BlockingIOError:
            return
        self._reap()

    def _tend(self) -> None:
        """Do what is due: start the zygote, fill the pool, serve who waits, drop who is late."""
        now = time.monotonic()
        if (line := self._zygote.start_if_due(now)) is not None:
            self._watch(line, self._hear_zygote)
        self._fill_pool(now)
        self._serve_arrivals(now)
        for visitor in [v for v in self._visitors.values() if v.is_overdue]:
            self._dismiss(visitor)

    # ------------------------------------------------------------ zygote

    def _hear_zygote(self) -> None:
        ready = self._zygote.hear()
        if ready is None:
            self._lose_zygote()
            return
        self._seats.size = self._settings.slots if ready.is_safe else 1
        while self._greeting:
            self._greeting.popleft().say(self._hello())

    def _lose_zygote(self) -> None:
        if self._zygote.line is None:
            return
        self._selector.unregister(self._zygote.line)
        lost = self._seats.unready()
        for seat in lost:
            self._end(seat)
        self._zygote.lose(sessions_lost=len(lost))

    def _reap(self) -> None:
        """Collect what has ended; end what belonged to a warden that was killed."""
        known = self._seats.warden_pids | {self._zygote.pid}
        for child in children(os.getpid()):
            if child not in known:
                for orphan in (child, *descendants(child)):
                    stop_and_kill(orphan)
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                break
            if pid == 0:
                break
            if pid == self._zygote.pid:
                self._lose_zygote()
            elif status and (pid in known or pid in self._ended):  # its zygote went before
                log.event("warden.killed", level="error", pid=pid, status=status)

    # ------------------------------------------------------------ seats

    def _fill_pool(self, now: float) -> None:
        line, pace, arrivals = self._zygote.line, self._pace, len(self._arrivals)
        if line is None or not (self._zygote.is_ready and self._runs_code):
            return
        wanted = max(self._settings.pool, arrivals)
        while self._seats.waiting < wanted and self._seats.has_room and now >= pace.due(arrivals):
            ready = self._seats.ready
            if self._seats.forking(now) >= pace.at_once(ready=ready, arrivals=arrivals):
                return
            try:
                seat = self._seats.spawn(line)
            except OSError as error:
                log.event("session.failed", level="error", reason=repr(error))
                pace.failed(now)
                return
            pace.forked(now, ready=ready)
            self._watch_seat(seat)

    def _watch_seat(self, seat: Seat) -> None:
        descriptor = seat.line.fileno()
        self._watch(seat.line, lambda: self._hear_seat(descriptor))

    def _hear_seat(self, descriptor: int) -> None:
        seat = self._seats.by_line(descriptor)
        if seat is None:
            return
        self._selector.unregister(seat.line)
        heard = self._seats.hear(seat)
        if heard is not None:
            self._watch_seat(heard)
        elif seat.warden_pid == 0:
            log.event("session.failed", level="error", reason="it ended before it was ready")
            self._pace.failed(time.monotonic())
        else:
            log.event("session.ended", session=seat.name)
            self._ended.append(seat.warden_pid)

    def _end(self, seat: Seat) -> None:
        self._selector.unregister(seat.line)
        self._seats.give_up(seat)

    @property
    def _runs_code(self) -> bool:
        """Whether sessions are safe, or lack Landlock alone and a setting accepts that."""
        found = self._zygote.findings
        if found is None:
            return False
        accepts = self._settings.allow_unsafe
        return found.is_safe or not lacking(found.protections, accepts_no_landlock=accepts)

    # ------------------------------------------------------------ visitors

    def _accept(self) -> None:
        try:
            connection, _ = self._listening.accept()
        except OSError:
            return  # it went away again
        if len(self._visitors) >= _MAX_VISITORS:
            connection.close()
            return
        visitor = Visitor(connection)
        self._visitors[connection.fileno()] = visitor
        self._watch(connection, lambda: self._listen(visitor))
        self._listen(visitor)  # what it wants is here already, most times

    def _listen(self, visitor: Visitor) -> None:
        try:
            request = visitor.receive()
        except EOFError:
            self._dismiss(visitor)
            return
        except ProtocolError as error:
            self._refuse(visitor, "bad-request", str(error))
            return
        match request:
            case None:
                return
            case Hello():
                self._greet(visitor)
            case Open():
                self._open(visitor, request)
            case other:
                self._refuse(
                    visitor, "bad-request", f"{type(other).__name__} needs an open session"
                )

    def _greet(self, visitor: Visitor) -> None:
        if self._zygote.findings is None:
            self._greeting.append(visitor)  # the answer follows as soon as it is known
        else:
            visitor.say(self._hello())

    def _hello(self) -> HelloEvent:
        ready = self._zygote.findings or ZygoteReady((), is_safe=False, preloaded=())
        return HelloEvent(
            protocol=PROTOCOL_VERSION,
            python=".".join(str(part) for part in sys.version_info[:3]),
            protections=ready.protections,
            is_safe=ready.is_safe,
            runs_code=self._runs_code,
            preloaded=ready.preloaded,
            slots=SlotUse(self._seats.size, self._seats.in_use),
            bounds=self._settings.wire_bounds,
            started_seconds=self._started_seconds,
        )

    def _open(self, visitor: Visitor, request: Open) -> None:
        found = self._zygote.findings
        if found is not None and not self._runs_code:
            lack = lacking(found.protections)
            detail = "; ".join(f"{item.name}: {item.detail}" for item in lack)
            self._refuse(visitor, "unsafe", f"this machine cannot confine a session ({detail})")
            return
        try:
            limits = settle(request.limits, self._settings.bounds)
        except LimitRefused as error:
            self._refuse(visitor, "bad-request", str(error))
            return
        is_full = self._seats.claimed + len(self._arrivals) >= self._seats.size
        self._forget(visitor)
        claim = Claim(limits, request.package_path, was_waiting=True)
        now = time.monotonic()
        self._arrivals.add(visitor, claim, now=now, is_full=is_full)
        self._serve_arrivals(now)

    def _serve_arrivals(self, now: float) -> None:
        def give_seat(arrival: Arrival) -> bool:
            if not self._seats.claim(arrival.claim, arrival.visitor.connection):
                return False
            if self._seats.waiting:
                self._pace.claimed(now)
            return True

        self._arrivals.serve(give_seat)
        self._arrivals.refuse_late(now, slots=self._seats.size)

    def _refuse(self, visitor: Visitor, reason: RefusalReason, detail: str) -> None:
        visitor.say(Refused(reason, detail))
        self._dismiss(visitor)

    def _dismiss(self, visitor: Visitor) -> None:
        self._forget(visitor)
        visitor.connection.close()

    def _forget(self, visitor: Visitor) -> None:
        self._visitors.pop(visitor.connection.fileno(), None)
        self._selector.unregister(visitor.connection)
        if visitor in self._greeting:
            self._greeting.remove(visitor)


def _zygote_config(settings: RunnerSettings, house: House) -> ZygoteConfig:
    probe_slot = house.slots.create(settings.bounds)
    return ZygoteConfig(
        settings,
        house.cache,
        probe_slot.path,
        probe_slot.has_quota,
        house.has_private_mounts,
        house.view,
        house.view_problem,
    )
