"""The warden: the trusted half of a session. It owns time, killing, counting and the reports."""

import os
import select
import socket
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sandbox_runner import control, kernel, landlock, link, log, report, slot_usage
from sandbox_runner.control import Claim, Spawn, WardenReady
from sandbox_runner.file_desk import FileDesk, Interrupted, Overtaken, Stalled
from sandbox_runner.file_messages import FileChanges, FileEvent, FileRequest
from sandbox_runner.held_worker import HeldWorker
from sandbox_runner.inbox import Inbox
from sandbox_runner.limits import LimitRefused, settle_run
from sandbox_runner.output import OutputMeter
from sandbox_runner.policy import SessionLimits
from sandbox_runner.protocol import (
    MAX_OUTPUT_BYTES,
    MAX_REQUEST_BYTES,
    Cancel,
    CellError,
    Close,
    Done,
    FrameDecoder,
    FrameKind,
    Opened,
    Packages,
    PackagesApplied,
    ProtocolError,
    Refused,
    Request,
    Reset,
    ResetDone,
    Run,
    Status,
    encode_event,
    encode_frame,
    parse_request,
)
from sandbox_runner.slot_changes import ChangeWatch
from sandbox_runner.worker import Confinement
from sandbox_runner.worker_fork import WardenConfig, WorkerFork

_PACKAGES_SECONDS: Final = 5.0
_FLUSH_SECONDS: Final = 5.0
_TICK_SECONDS: Final = 0.025
_DISK_TICK_SECONDS: Final = 0.25
_READ_BYTES: Final = 64 << 10
_MAX_FOREIGN_MESSAGES: Final = 10_000
_MESSAGES_AT_ONCE: Final = 64


@dataclass(frozen=True, slots=True)
class Ending:
    """Why a task is over: a whole report has come, or something ended it.

    Attributes
    ----------
    is_reset
        Whether a fresh worker is to come, so that the session lives on.
    """

    status: Status
    report: bytes | None = None
    explanation: CellError | None = None
    is_reset: bool = False


@dataclass(slots=True)
class Clock:
    """When a task is to end, and when next to look at what it uses (monotonic seconds)."""

    deadline: float
    next_tick: float
    next_disk_tick: float

    @classmethod
    def until(cls, deadline: float) -> "Clock":
        """Return a clock that has just been started."""
        now = time.monotonic()
        return cls(deadline, now + _TICK_SECONDS, now + _DISK_TICK_SECONDS)

    def seconds_to_wait(self) -> float:
        """Return how long nothing is due."""
        return min(self.deadline, self.next_tick) - time.monotonic()


class PeerGone(Exception):
    """The service hung up, or the listener is gone."""


def main(line: socket.socket, order: Spawn, confinement: Confinement, config: WardenConfig) -> None:
    """Take over a forked process: fork the worker, wait for a client, serve it.

    Parameters
    ----------
    line
        Control line to the listener; its end ends the session.
    """
    os.setsid()
    kernel.prctl(kernel.PR_SET_CHILD_SUBREAPER, 1)
    if config.is_scoped:
        landlock.restrict_self(landlock.create_signal_scope())
    fork = WorkerFork(confinement, config)
    held = fork.begin()
    session: Session | None = None
    try:
        fork.finish(held, config.bounds)
        control.send(line, WardenReady(os.getpid()))
        message, descriptors = control.receive(line)
        claim = Claim.from_json(message)
        connection = socket.socket(fileno=descriptors[0])
        if claim.limits != config.bounds:
            held.limit(claim.limits, fork.user_tasks)
        session = Session(order, fork, claim.limits, held, connection, line)
        session.serve(claim.package_path)
    except (EOFError, PeerGone, Stalled):
        return  # nobody wants the session any more: the usual end
    except OSError as error:
        log.event("session.lost", level="error", session=order.session, reason=repr(error))
    finally:
        (session.worker if session else held).tree.kill()


class Session:
    """One client's session: requests in, runs, reports out."""

    def __init__(  # noqa: PLR0917  # the one caller stands right above
        self,
        order: Spawn,
        fork: WorkerFork,
        limits: SessionLimits,
        held: HeldWorker,
        connection: socket.socket,
        line: socket.socket,
    ) -> None:
        self._order = order
        self._fork = fork
        self._config = fork.config
        self._limits = self._run_limits = limits
        self._connection = connection
        self._line = line
        self._slot = os.open(order.slot, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._decoder = FrameDecoder(max_json_bytes=MAX_REQUEST_BYTES)
        self._requests: deque[Request | bytes] = deque()
        self._overtaking: list[Request] = []
        self._changes = ChangeWatch(self._slot)
        self._changes.accept()  # what the worker has put there is no run's doing
        self._desk = FileDesk(self._slot, order.has_quota, limits, self._changes, self)
        self._outbox = bytearray()
        self._peak_bytes = 0
        self._is_running = False
        self._package_path: str | None = None
        self._poll = select.poll()
        connection.setblocking(False)
        self._poll.register(line, select.POLLIN)
        self._poll.register(connection, select.POLLIN)
        self._hold(held)

    def _hold(self, held: HeldWorker) -> None:
        self.worker = held
        self._tree = held.tree
        self._channel = held.channel
        self._pidfd = held.pidfd
        self._stdout = OutputMeter.of_stdout(held.stdout, self._limits.output_bytes)
        self._stderr = OutputMeter.of_stderr(held.stderr, self._limits.output_bytes)
        for meter in (self._stdout, self._stderr):
            self._poll.register(meter.descriptor, select.POLLIN)

    # ------------------------------------------------------------ conversation

    def serve(self, package_path: str | None) -> None:
        """Answer requests until the client closes, hangs up or the session is killed."""
        if package_path is not None and not self._use_packages(package_path):
            return
        self._say(Opened(session=self._order.session))
        while self._serve(self._next_request()):
            continue
        self._flush(_FLUSH_SECONDS)

    def _serve(self, request: Request | bytes) -> bool:
        """Answer one request; say whether the session lives on."""
        match request:
            case Run():
                return self._run(request)
            case Packages():
                return self._use_packages(request.path) and self._say(PackagesApplied())
            case Reset():
                self._renew()
                former = self._package_path
                return (former is None or self._use_packages(former)) and self._say(ResetDone())
            case Cancel():
                return True  # the run was over before the request came
            case Close():
                return False
            case other:
                return self._serve_files(other)

    def _serve_files(self, request: Request | bytes) -> bool:
        if not isinstance(request, FileRequest):
            return self._refuse(f"{type(request).__name__} has no place in a session")
        self._desk.serve(request)
        self._requests.extendleft(self._overtaking)
        self._overtaking.clear()
        return True

    def _next_request(self) -> Request | bytes:
        while not self._requests:
            self._turn(None)
        return self._requests.popleft()

    def _refuse(self, detail: str) -> bool:
        self._say(Refused(reason="bad-request", detail=detail))
        return False

    def _renew(self) -> None:
        """Put a fresh worker in the place of the one before; files and limits stay."""
        for meter in (self._stdout, self._stderr):
            self._shut(meter)
        self.worker.close()
        held = self._fork.begin()
        self._hold(held)
        self._fork.finish(held, self._limits)

    def _say(
        self, event: Opened | Refused | Done | PackagesApplied | ResetDone | FileEvent
    ) -> bool:
        self._outbox += encode_event(event)
        self._flush(0)
        return True

    # ------------------------------------------------------------ tasks

    def _run(self, request: Run) -> bool:
        """Run a cell and report on it; say whether the session lives on."""
        if request.timeout_seconds > self._config.max_timeout_seconds:
            longest = self._config.max_timeout_seconds
            return self._refuse(f"timeout_seconds is over this runner's bound of {longest}")
        try:
            self._run_limits = settle_run(request.limits, self._limits)
        except LimitRefused as error:
            return self._refuse(str(error))
        started = time.monotonic()
        self._stdout.start(self._run_limits.output_bytes)
        self._stderr.start(self._run_limits.output_bytes)
        ending = self._perform("run", request.code, started + request.timeout_seconds)
        duration = time.monotonic() - started
        kill_seconds = None
        if ending.report is None:
            kill_started = time.monotonic()
            self._tree.kill()
            kill_seconds = time.monotonic() - kill_started
        self._drain()
        changes = self._changes.since_last()
        said = report.parse(ending.report) if ending.report is not None else report.Report()
        for start in range(0, len(said.content), MAX_OUTPUT_BYTES):
            piece = said.content[start : start + MAX_OUTPUT_BYTES]
            self._outbox += encode_frame(FrameKind.DISPLAY, piece)
        done = self._done(
            request,
            ending,
            said,
            duration=duration,
            kill_seconds=kill_seconds,
            changes=changes,
        )
        self._say(done)
        return ending.report is not None or ending.is_reset

    def _done(
        self,
        request: Run,
        ending: Ending,
        said: report.Report,
        *,
        duration: float,
        kill_seconds: float | None,
        changes: FileChanges,
    ) -> Done:
        end = self._tree.exit_of_root() if ending.report is None else None
        status: Status = ending.status
        is_own_doing = end is not None and status == "crashed"
        if is_own_doing and end is not None and end.signal == "SIGKILL":
            status = "killed"
        if status == "ok" and said.error is not None:
            status = "error"
        return Done(
            id=request.id,
            status=status,
            signal=end.signal if is_own_doing and end else None,
            exit_code=end.exit_code if is_own_doing and end else None,
            result=said.result,
            error=said.error or ending.explanation,
            duration_ms=round(duration * 1000, 3),
            peak_memory_bytes=self._peak_bytes,
            kill_ms=None if kill_seconds is None else round(kill_seconds * 1000, 3),
            stdout_dropped=self._stdout.dropped,
            stderr_dropped=self._stderr.dropped,
            session_ended=ending.report is None and not ending.is_reset,
            outputs=said.outputs,
            outputs_dropped=said.outputs_dropped,
            files=changes,
        )

    def _use_packages(self, path: str) -> bool:
        allowed = self._config.package_sets
        real = Path(path).resolve()
        if allowed is None or not real.is_relative_to(Path(allowed).resolve()):
            return self._refuse(f"{path[:200]!r} is not among this runner's package sets")
        ending = self._perform("packages", str(real), time.monotonic() + _PACKAGES_SECONDS)
        if ending.report is None:
            return self._refuse("the session ended before the packages were in place")
        self._package_path = path
        return True

    def _perform(self, kind: link.TaskKind, text: str, deadline: float) -> Ending:
        """Let the worker do one task; it is frozen before and, if it lives, after."""
        if self._tree.exit_of_root() is not None:
            return Ending("crashed")  # it was killed while it was frozen
        self._peak_bytes = 0
        tag = link.new_tag()
        inbox = Inbox(tag)
        self._is_running = kind == "run"
        outgoing = deque(link.encode(tag, {"kind": kind, "text": text}))
        # Only for the task: a frozen or dead worker would make each wait return at once.
        self._poll.register(self._channel, select.POLLIN | select.POLLOUT)
        self._poll.register(self._pidfd, select.POLLIN)
        self._tree.resume()
        try:
            ending = self._watch(inbox, outgoing, deadline)
        except PeerGone:
            self._tree.kill()
            raise
        finally:
            self._poll.unregister(self._pidfd)
            if not inbox.is_closed:
                self._poll.unregister(self._channel)
        if ending.report is not None:
            self._tree.freeze()
        self._peak_bytes = max(self._peak_bytes, self._tree.latest_peak_bytes())
        if ending.report is not None and self._over_disk():
            return Ending("killed", explanation=self._over_disk())
        return ending

    def _watch(self, inbox: Inbox, outgoing: deque[bytes], deadline: float) -> Ending:
        clock = Clock.until(deadline)
        while True:
            if ending := self._due(clock):
                return ending
            ready = self._turn(clock.seconds_to_wait())
            if ending := self._interrupted() or self._heard(ready, inbox, outgoing):
                return ending

    def _due(self, clock: Clock) -> Ending | None:
        """Look at the time and, now and then, at what the session uses."""
        now = time.monotonic()
        if now >= clock.deadline:
            return Ending("timeout")
        if now >= clock.next_tick:
            clock.next_tick = now + _TICK_SECONDS
            if excess := self._over_limits():
                return excess
        if now >= clock.next_disk_tick:
            clock.next_disk_tick = now + _DISK_TICK_SECONDS
            if disk := self._over_disk():
                return Ending("killed", explanation=disk)
        return None

    def _heard(self, ready: dict[int, int], inbox: Inbox, outgoing: deque[bytes]) -> Ending | None:
        """Return the end that the worker's own doing brings, if it does."""
        if self._stdout.is_flooded or self._stderr.is_flooded:
            return Ending("output")
        events = ready.get(self._channel.fileno(), 0)
        if events & select.POLLOUT:
            self._feed(outgoing)
        if events & select.POLLIN and self._collect(inbox):
            return Ending("ok", report=inbox.payload)
        if inbox.foreign > _MAX_FOREIGN_MESSAGES:
            return Ending("killed")
        if self._pidfd in ready and not events & select.POLLIN:
            return Ending("crashed")
        return None

    def _interrupted(self) -> Ending | None:
        """Return why the client's words end the task, if they do."""
        while self._requests:
            match self._requests.popleft():
                case Cancel():
                    return Ending("cancelled")
                case Reset() as request:
                    self._requests.appendleft(request)  # its turn comes when the task is over
                    return Ending("cancelled", is_reset=True) if self._is_running else None
                case Close():
                    raise PeerGone("closed during a run")
                case other:
                    self._say(Refused("bad-request", f"{type(other).__name__} came during a run"))
                    raise PeerGone("a request came during a run")
        return None

    # ------------------------------------------------------------ limits

    def _over_limits(self) -> Ending | None:
        usage = self._tree.usage()
        self._peak_bytes = max(self._peak_bytes, usage.memory_bytes)
        if usage.memory_bytes - self._tree.baseline_bytes > self._run_limits.memory_bytes:
            return Ending("memory")
        if usage.tasks > self._run_limits.processes:
            text = f"more than {self._run_limits.processes} processes and threads at once"
            return Ending("killed", explanation=CellError("ProcessLimit", text, ""))
        return None

    def _over_disk(self) -> CellError | None:
        if self._order.has_quota:
            return None
        used = slot_usage.measure(self._slot, max_entries=self._limits.disk_entries)
        if used.disk_bytes > self._limits.disk_bytes:
            text = f"more than {self._limits.disk_bytes} bytes in files"
        elif used.entries > self._limits.disk_entries:
            text = f"more than {self._limits.disk_entries} files and folders"
        elif not used.is_whole:
            text = f"more than {slot_usage.MAX_DEPTH} folders in each other"
        else:
            return None
        return CellError("DiskLimit", text, "")

    # ------------------------------------------------------------ the line, for transfers of files

    @property
    def is_clear(self) -> bool:
        """Whether all that was said has been taken."""
        return not self._outbox

    def say_of_files(self, event: FileEvent) -> None:
        """Send an event."""
        self._say(event)

    def send_piece(self, data: bytes) -> None:
        """Send a FILE frame."""
        self._outbox += encode_frame(FrameKind.FILE, data)
        self._flush(0)

    def take_piece(self) -> bytes | None:
        """Return the next FILE frame's payload, None if none has come."""
        if not self._requests:
            return None
        match self._requests.popleft():
            case bytes() as piece:
                return piece
            case Cancel():
                raise Interrupted
            case Reset() as request:
                self._overtaking.append(request)
                raise Overtaken
            case other:
                raise PeerGone(f"{type(other).__name__} came during a transfer")

    def wait(self, timeout_seconds: float) -> None:
        """Wait until something can be sent or has come."""
        self._turn(timeout_seconds)

    # ------------------------------------------------------------ descriptors

    def _turn(self, timeout_seconds: float | None) -> dict[int, int]:
        """Wait for events once; take in output and requests, write out what waits.

        Raises
        ------
        PeerGone
            The client or the listener hung up.
        """
        mask = select.POLLIN | (select.POLLOUT if self._outbox else 0)
        self._poll.modify(self._connection, mask)
        milliseconds = None if timeout_seconds is None else max(0.0, timeout_seconds * 1000)
        ready = dict(self._poll.poll(milliseconds))
        if self._line.fileno() in ready:
            raise PeerGone("the listener is gone")
        for meter in (self._stdout, self._stderr):
            if meter.descriptor in ready:
                self._take_output(meter)
        if ready.get(self._connection.fileno(), 0) & ~select.POLLOUT:
            self._take_requests()
        if self._outbox:
            self._flush(0)
        return ready

    def _take_output(self, meter: OutputMeter) -> None:
        frame = meter.read(_READ_BYTES)
        if frame is None:
            self._shut(meter)
        else:
            self._outbox += frame

    def _shut(self, meter: OutputMeter) -> None:
        if meter.is_open:
            self._poll.unregister(meter.descriptor)
            meter.is_open = False

    def _take_requests(self) -> None:
        try:
            data = self._connection.recv(_READ_BYTES)
        except BlockingIOError:
            return
        except OSError as error:
            raise PeerGone(str(error)) from error
        if not data:
            raise PeerGone("the service hung up")
        try:
            self._requests.extend(
                frame.payload if frame.kind is FrameKind.FILE else parse_request(frame)
                for frame in self._decoder.feed(data)
            )
        except ProtocolError as error:
            self._refuse(str(error))
            self._flush(_FLUSH_SECONDS)
            raise PeerGone(str(error)) from error

    def _feed(self, outgoing: deque[bytes]) -> None:
        try:
            while outgoing:
                self._channel.send(outgoing[0])
                outgoing.popleft()
        except BlockingIOError:
            return
        except OSError:
            outgoing.clear()  # the worker has ended; its process descriptor says so too
        self._poll.modify(self._channel, select.POLLIN)

    def _collect(self, inbox: Inbox) -> bool:
        # Not until nothing is left: a worker that sends on and on would hold up its own time limit.
        for _ in range(_MESSAGES_AT_ONCE):
            try:
                message = self._channel.recv(link.MESSAGE_BYTES + 1)
            except BlockingIOError:
                return False
            except OSError:
                message = b""
            if not message:
                self._poll.unregister(self._channel)
                inbox.is_closed = True
                return False
            if inbox.take(message):
                return True
        return False

    def _drain(self) -> None:
        """Take the output that is still in the pipes; the session is frozen or dead by now."""
        for meter in (self._stdout, self._stderr):
            self._outbox += meter.drain()

    def _flush(self, patience_seconds: float) -> None:
        limit = time.monotonic() + patience_seconds
        while self._outbox:
            try:
                del self._outbox[: self._connection.send(self._outbox)]
            except BlockingIOError:
                left = limit - time.monotonic()
                if left <= 0:
                    return
                select.select([], [self._connection], [], left)
            except OSError as error:
                raise PeerGone(str(error)) from error
