"""The listener: takes connections, keeps the zygote alive and the pool full. Runs no cell."""

import os
import selectors
import signal
import socket
import sys
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from sandbox_runner import control, kernel, log, zygote
from sandbox_runner.control import ZygoteReady
from sandbox_runner.house import House
from sandbox_runner.limits import LimitRefused, settle
from sandbox_runner.policy import SessionLimits
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
from sandbox_runner.tree import children, descendants
from sandbox_runner.visitor import Visitor
from sandbox_runner.zygote import ZygoteConfig

_BACKLOG: Final = 256
_MAX_VISITORS: Final = 512
_TICK_SECONDS: Final = 0.25
# A session that is claimed should have the processor before the one that is to replace it.
_REFILL_PAUSE_SECONDS: Final = 0.02
_OPEN_PATIENCE_SECONDS: Final = 10.0
_FULL_PATIENCE_SECONDS: Final = 0.5
_MAX_ZYGOTE_FAILURES: Final = 5
_FAREWELL_SECONDS: Final = 6.0
_RESTART_SECONDS: Final = (0.0, 0.1, 0.5, 1.0, 2.0)


class RunnerFailed(Exception):
    """The runner cannot go on; the text says why, `exit_code` how to end."""

    def __init__(self, text: str, exit_code: int = 1) -> None:
        super().__init__(text)
        self.exit_code = exit_code


@dataclass(frozen=True, slots=True)
class Arrival:
    """An open request that waits for a ready seat; `is_full` if all were taken when it came."""

    visitor: Visitor
    limits: SessionLimits
    package_path: str | None
    expires: float
    is_full: bool


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
        self._probe_slot = house.slots.create(settings.bounds)
        self._selector = selectors.DefaultSelector()
        self._visitors: dict[int, Visitor] = {}
        self._greeting: deque[Visitor] = deque()
        self._arrivals: deque[Arrival] = deque()
        self._zygote: socket.socket | None = None
        self._zygote_pid = 0
        self._zygote_failures = 0
        self._restart_at = 0.0
        self._is_zygote_ready = False
        self._ready: ZygoteReady | None = None
        self._spawn_after = 0.0
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
        left = self._spawn_after - time.monotonic()
        if left > 0:
            return left
        is_busy = self._visitors or self._arrivals or self._zygote is None
        return _TICK_SECONDS if is_busy else 20 * _TICK_SECONDS

    def _stop(self, number: int, _frame: Any) -> None:
        log.event("runner.stopping", signal=signal.Signals(number).name)
        self._is_stopping = True

    def _leave(self) -> None:
        """End every session and the zygote, wipe the slots."""
        self._listening.close()
        for seat in self._seats.all():
            self._seats.give_up(seat)
        if self._zygote is not None:
            self._zygote.close()
        limit = time.monotonic() + _FAREWELL_SECONDS
        while time.monotonic() < limit and not self._all_reaped():
            time.sleep(0.005)
        for pid in descendants(os.getpid()):
            _kill(pid)
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
        if self._zygote is None and now >= self._restart_at:
            self._start_zygote()
        self._fill_pool(now)
        self._serve_arrivals(now)
        for visitor in [v for v in self._visitors.values() if v.is_overdue]:
            self._dismiss(visitor)

    # ------------------------------------------------------------ zygote

    def _start_zygote(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        main = Path(__file__).with_name("__main__.py")
        nothing = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        with theirs:
            self._zygote_pid = os.posix_spawn(
                sys.executable,
                [sys.executable, "-I", "-B", str(main), "--zygote"],
                zygote.environment(self._house.cache),
                file_actions=[
                    (os.POSIX_SPAWN_DUP2, theirs.fileno(), zygote.LINE_FD),
                    (os.POSIX_SPAWN_DUP2, nothing, 0),
                    (os.POSIX_SPAWN_DUP2, 2, 1),
                ],
            )
        os.close(nothing)
        control.send(
            ours,
            ZygoteConfig(
                self._settings,
                self._house.cache,
                self._probe_slot.path,
                self._probe_slot.has_quota,
                self._house.has_private_mounts,
                self._house.view,
                self._house.view_problem,
            ),
        )
        self._zygote = ours
        self._is_zygote_ready = False
        self._watch(ours, self._hear_zygote)

    def _hear_zygote(self) -> None:
        if self._zygote is None:
            return
        try:
            message, _ = control.receive(self._zygote)
        except (EOFError, OSError):
            self._lose_zygote()
            return
        self._ready = ready = ZygoteReady.from_json(message)
        self._is_zygote_ready = True
        self._zygote_failures = 0
        self._seats.size = self._settings.slots if ready.is_safe else 1
        log.event(
            "runner.ready",
            is_safe=ready.is_safe,
            preloaded=ready.preloaded,
            protections={item.name: item.state for item in ready.protections},
        )
        while self._greeting:
            self._greeting.popleft().say(self._hello())

    def _lose_zygote(self) -> None:
        if self._zygote is None:
            return
        self._selector.unregister(self._zygote)
        self._zygote.close()
        self._zygote = None
        lost = self._seats.unready()
        for seat in lost:
            self._end(seat)
        status = _wait_for(self._zygote_pid)
        if not self._is_zygote_ready and status is not None and status > 0:
            text = "The sandbox runner's zygote refused to start; its last line says why."
            if os.waitstatus_to_exitcode(status) == zygote.EXIT_REFUSED:
                raise RunnerFailed(text, zygote.EXIT_REFUSED)
        self._zygote_failures += 1
        if self._zygote_failures > _MAX_ZYGOTE_FAILURES:
            raise RunnerFailed("The sandbox runner's zygote ends again and again.")
        pause = _RESTART_SECONDS[min(self._zygote_failures, len(_RESTART_SECONDS)) - 1]
        self._restart_at = time.monotonic() + pause
        log.event("zygote.lost", level="error", sessions_lost=len(lost), restart_in_seconds=pause)

    def _reap(self) -> None:
        """Collect what has ended; end what belonged to a warden that was killed."""
        known = self._seats.warden_pids | {self._zygote_pid}
        for child in children(os.getpid()):
            if child not in known:
                for orphan in (child, *descendants(child)):
                    _kill(orphan)
        while True:
            try:
                pid, _ = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                break
            if pid == 0:
                break
            if pid == self._zygote_pid:
                self._lose_zygote()

    # ------------------------------------------------------------ seats

    def _fill_pool(self, now: float) -> None:
        if self._zygote is None or not self._may_open() or now < self._spawn_after:
            return
        wanted = max(self._settings.pool, len(self._arrivals))
        while self._seats.waiting < wanted and self._seats.has_room:
            try:
                seat = self._seats.spawn(self._zygote)
            except OSError as error:
                log.event("session.failed", level="error", reason=repr(error))
                self._spawn_after = now + _TICK_SECONDS
                return
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
            self._spawn_after = time.monotonic() + _TICK_SECONDS
        else:
            log.event("session.ended", session=seat.name)

    def _end(self, seat: Seat) -> None:
        self._selector.unregister(seat.line)
        self._seats.give_up(seat)

    def _may_open(self) -> bool:
        if not self._is_zygote_ready or self._ready is None:
            return False
        return self._ready.is_safe or self._settings.allow_unsafe

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
        if self._ready is None:
            self._greeting.append(visitor)  # the answer follows as soon as it is known
        else:
            visitor.say(self._hello())

    def _hello(self) -> HelloEvent:
        ready = self._ready or ZygoteReady((), is_safe=False, preloaded=())
        return HelloEvent(
            protocol=PROTOCOL_VERSION,
            python=".".join(str(part) for part in sys.version_info[:3]),
            protections=ready.protections,
            is_safe=ready.is_safe,
            preloaded=ready.preloaded,
            slots=SlotUse(self._seats.size, self._seats.in_use),
            bounds=self._settings.wire_bounds,
        )

    def _open(self, visitor: Visitor, request: Open) -> None:
        if self._ready is not None and not self._ready.is_safe and not self._settings.allow_unsafe:
            detail = "; ".join(
                f"{item.name}: {item.detail}"
                for item in self._ready.protections
                if item.name in {"landlock", "seccomp"} and item.state == "unavailable"
            )
            self._refuse(visitor, "unsafe", f"this machine cannot confine a session ({detail})")
            return
        try:
            limits = settle(request.limits, self._settings.bounds)
        except LimitRefused as error:
            self._refuse(visitor, "bad-request", str(error))
            return
        # A session that has just been closed counts until its processes are gone: wait that long.
        is_full = self._seats.claimed + len(self._arrivals) >= self._seats.size
        patience = _FULL_PATIENCE_SECONDS if is_full else _OPEN_PATIENCE_SECONDS
        self._forget(visitor)
        self._arrivals.append(
            Arrival(visitor, limits, request.package_path, time.monotonic() + patience, is_full)
        )
        self._serve_arrivals(time.monotonic())

    def _serve_arrivals(self, now: float) -> None:
        while self._arrivals:
            first = self._arrivals[0]
            if not self._seats.claim(first.limits, first.package_path, first.visitor.connection):
                break
            first.visitor.connection.close()
            self._arrivals.popleft()
            if self._seats.waiting:
                self._spawn_after = now + _REFILL_PAUSE_SECONDS
        for late in [arrival for arrival in self._arrivals if now > arrival.expires]:
            self._arrivals.remove(late)
            detail = "no session became ready in time"
            if late.is_full:
                detail = f"all {self._seats.size} slots are in use"
            late.visitor.say(Refused("full", detail))
            late.visitor.connection.close()

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


def bind(path: str, group: int | None) -> socket.socket:
    """Return a socket listening on `path`, for its owner only or for a group too.

    Raises
    ------
    RunnerFailed
        The path is taken by a runner that lives, or cannot be bound.
    """
    try:
        Path(path).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _remove_stale(path)
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        former = os.umask(0o177)
        try:
            listening.bind(path)
        finally:
            os.umask(former)
        if group is not None:
            os.chown(path, -1, group)
            Path(path).chmod(0o660)
        listening.listen(_BACKLOG)
    except OSError as error:
        raise RunnerFailed(f"The sandbox runner cannot listen on {path}: {error}", 78) from error
    return listening


def _remove_stale(path: str) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as trial:
        try:
            trial.connect(path)
        except FileNotFoundError:
            return
        except ConnectionRefusedError:
            Path(path).unlink(missing_ok=True)
            return
    raise RunnerFailed(f"Another sandbox runner listens on {path}.", 78)


def _wait_for(pid: int) -> int | None:
    try:
        return os.waitpid(pid, 0)[1]
    except ChildProcessError:
        return None


def _kill(pid: int) -> None:
    for number in (signal.SIGSTOP, signal.SIGKILL):
        try:
            os.kill(pid, number)
        except OSError:
            return  # it has just ended
