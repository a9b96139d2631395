"""One client's session, as its warden holds it: requests in, runs, reports out."""

import os
import select
import socket
import time
from pathlib import Path
from typing import Final, assert_never

from sandbox_runner import control, link, report
from sandbox_runner.client_line import FLUSH_SECONDS, ClientLine, PeerGone
from sandbox_runner.control import Claim, Spawn
from sandbox_runner.file_desk import FileDesk, Interrupted, Overtaken
from sandbox_runner.file_messages import (
    DeleteFile,
    FileChanges,
    FileEvent,
    ListFiles,
    ReadFile,
    WriteFile,
)
from sandbox_runner.held_worker import HeldWorker
from sandbox_runner.limits import LimitRefused, settle_run
from sandbox_runner.policy import SessionLimits
from sandbox_runner.protocol import (
    MAX_OUTPUT_BYTES,
    Cancel,
    Close,
    Done,
    FrameKind,
    Hello,
    Open,
    Opened,
    Packages,
    PackagesApplied,
    Refused,
    Request,
    Reset,
    ResetDone,
    Run,
    Status,
    encode_frame,
    encode_request,
)
from sandbox_runner.slot_changes import ChangeWatch
from sandbox_runner.task_desk import Ending, Folder, TaskDesk
from sandbox_runner.worker_fork import WorkerFork

_PACKAGES_SECONDS: Final = 5.0
_NOTHING: Final = FileChanges()
_REHEARSAL_SECONDS: Final = 10.0


class Session:
    """A worker, the folder that it writes to, and the client whose code it runs.

    Parameters
    ----------
    line
        Control line to the listener; its end ends the session.
    """

    def __init__(
        self, order: Spawn, fork: WorkerFork, held: HeldWorker, line: socket.socket
    ) -> None:
        self._name = order.session
        self._fork = fork
        self._config = fork.config
        self._limits = fork.config.bounds
        self._listener = line.fileno()
        slot = os.open(order.slot, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._folder = Folder(slot, order.has_quota)
        self._changes = ChangeWatch(slot, has_quota=order.has_quota)
        self._changes.accept()  # what the worker has put there is no run's doing
        self._overtaking: list[Request] = []
        self._package_path: str | None = None
        self._client: ClientLine
        self._poll = select.poll()
        self._poll.register(line, select.POLLIN)
        self._tasks = TaskDesk(held, self._poll, self._folder, self._limits)

    # ------------------------------------------------------------ before there is a client

    def rehearse(self) -> None:
        """Play a whole conversation, so that its first one costs a client no more than others.

        Whatever a forked process writes to has to be copied for it, a page at a time: three hundred
        pages here and eighty in the worker, counted, which is most of what a first run would take.

        Raises
        ------
        OSError
            The worker can't do its work.
        """
        near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        here, listener = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with far, here, listener:
            with near:
                claim = Claim(self._limits, package_path=None, was_waiting=True)
                control.send(listener, claim, (near.fileno(),))
            claim, client = control.receive_claim(here)
            self.receive(client, claim.limits)
            self._say(Opened(self._name, claim.was_waiting))
            longest = min(_REHEARSAL_SECONDS, self._config.max_timeout_seconds)
            far.sendall(encode_request(Run("rehearsal", "", longest)))
            request = self._next_request()
            if not (isinstance(request, Run) and self._run(request, "rehearsal")):
                raise OSError("the worker can't run anything")
            self._poll.unregister(self._client)
            self._client.close()

    def receive(self, connection: socket.socket, limits: SessionLimits) -> None:
        """Take a client in, with the limits that it was granted."""
        if limits != self._limits:
            self._tasks.worker.limit(limits, self._config.user_tasks)
            self._tasks.limit(limits)
            self._limits = limits
        self._listen_to(connection)

    def _listen_to(self, connection: socket.socket) -> None:
        self._client = ClientLine(connection)
        self._poll.register(self._client, select.POLLIN)
        self._desk = FileDesk(
            self._folder.descriptor, self._folder.has_quota, self._limits, self._changes, self
        )

    # ------------------------------------------------------------ conversation

    def serve(self, claim: Claim) -> None:
        """Answer requests until the client closes, hangs up or the session is killed.

        Raises
        ------
        PeerGone
            The client hung up, or the listener is gone.
        """
        if claim.package_path is not None and not self._use_packages(claim.package_path):
            return
        self._say(Opened(self._name, claim.was_waiting))
        while self._serve(self._next_request()):
            continue
        self._client.flush(FLUSH_SECONDS)

    def end(self) -> None:
        """End every process of the session."""
        self._tasks.worker.tree.kill()

    def close(self) -> None:
        """End the session and let go of all that it holds."""
        self._tasks.close()
        os.close(self._folder.descriptor)

    def _serve(self, request: Request | bytes) -> bool:
        """Answer one request; say whether the session lives on."""
        match request:
            case Run():
                return self._run(request, "run")
            case Packages():
                return self._use_packages(request.path) and self._say(PackagesApplied())
            case Reset():
                self._renew()
                former = self._package_path
                return (former is None or self._use_packages(former)) and self._say(ResetDone())
            case Cancel() | Close():
                return isinstance(request, Cancel)  # the run was over before the request came
            case ListFiles() | ReadFile() | WriteFile() | DeleteFile():
                self._desk.serve(request)
                self._client.requests.extendleft(self._overtaking)
                self._overtaking.clear()
                return True
            case Hello() | Open() | bytes():
                return self._refuse(f"{type(request).__name__} has no place in a session")
            case never:
                assert_never(never)

    def _next_request(self) -> Request | bytes:
        while not self._client.requests:
            self.turn(None)
        return self._client.requests.popleft()

    def _refuse(self, detail: str) -> bool:
        self._client.say(Refused(reason="bad-request", detail=detail))
        return False

    def _say(self, event: Opened | Done | PackagesApplied | ResetDone) -> bool:
        self._client.say(event)
        return True

    def _renew(self) -> None:
        """Put a fresh worker in the place of the one before; files and limits stay.

        Not rehearsed: whoever resets waits for this, and may run nothing afterwards.
        """
        self._tasks.close()
        held = self._fork.begin()
        self._tasks = TaskDesk(held, self._poll, self._folder, self._limits)
        self._fork.finish(held, self._limits)

    # ------------------------------------------------------------ tasks

    def _run(self, request: Run, kind: link.TaskKind) -> bool:
        """Run a cell and report on it; say whether the session lives on."""
        if request.timeout_seconds > self._config.max_timeout_seconds:
            longest = self._config.max_timeout_seconds
            return self._refuse(f"timeout_seconds is over this runner's bound of {longest}")
        try:
            limits = settle_run(request.limits, self._limits)
        except LimitRefused as error:
            return self._refuse(str(error))
        started = time.monotonic()
        deadline = started + request.timeout_seconds
        self._tasks.start(limits)
        ending = self._tasks.perform(kind, request.code, deadline, self)
        duration = time.monotonic() - started
        kill_seconds = None
        if ending.report is None:
            due = deadline if ending.status == "timeout" else started + duration
            self.end()
            kill_seconds = time.monotonic() - due
        self._client.add(self._tasks.drain())
        changes = self._changes.since_last()
        said = report.parse(ending.report) if ending.report is not None else report.Report()
        for start in range(0, len(said.content), MAX_OUTPUT_BYTES):
            piece = said.content[start : start + MAX_OUTPUT_BYTES]
            self._client.add(encode_frame(FrameKind.DISPLAY, piece))
        self._say(
            self._done(
                request,
                ending,
                said,
                duration=duration,
                kill_seconds=kill_seconds,
                changes=changes,
            )
        )
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
        tasks = self._tasks
        end = tasks.worker.tree.exit_of_root() if ending.report is None else None
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
            result=said.result,
            error=said.error or ending.explanation,
            duration_ms=round(duration * 1000, 3),
            peak_memory_bytes=tasks.peak_bytes,
            kill_ms=None if kill_seconds is None else round(kill_seconds * 1000, 3),
            stdout_dropped=tasks.stdout.dropped,
            stderr_dropped=tasks.stderr.dropped,
            session_ended=ending.report is None and not ending.is_reset,
            outputs=said.outputs,
            outputs_dropped=said.outputs_dropped,
            files=changes,
            is_light=ending.report is not None and changes == _NOTHING and tasks.is_light(),
        )

    def _use_packages(self, path: str) -> bool:
        allowed = self._config.package_sets
        real = Path(path).resolve()
        if allowed is None or not real.is_relative_to(Path(allowed).resolve()):
            return self._refuse(f"{path[:200]!r} is not among this runner's package sets")
        deadline = time.monotonic() + _PACKAGES_SECONDS
        if self._tasks.perform("packages", str(real), deadline, self).report is None:
            return self._refuse("the session ended before the packages were in place")
        self._package_path = path
        return True

    # ------------------------------------------------------------ what the task desk needs

    def turn(self, timeout_seconds: float | None) -> dict[int, int]:
        """Wait for events once; take in output and requests, write out what waits.

        Raises
        ------
        PeerGone
            The client or the listener hung up.
        """
        self._poll.modify(self._client, self._client.awaited)
        milliseconds = None if timeout_seconds is None else max(0.0, timeout_seconds * 1000)
        ready = dict(self._poll.poll(milliseconds))
        if self._listener in ready:
            raise PeerGone("the listener is gone")
        self._client.add(self._tasks.take_output(ready))
        if ready.get(self._client.fileno(), 0) & ~select.POLLOUT:
            self._client.take()
        if not self._client.is_clear:
            self._client.flush(0)
        return ready

    def interruption(self, kind: link.TaskKind) -> Ending | None:
        """Return why the client's words end a task, if they do.

        Raises
        ------
        PeerGone
            They end the session.
        """
        requests = self._client.requests
        if kind != "run":
            return None  # what has come is for after it, in its order
        while requests:
            match requests.popleft():
                case Cancel():
                    return Ending("cancelled")
                case Reset() as request:
                    requests.appendleft(request)  # its turn comes when the task is over
                    return Ending("cancelled", is_reset=True)
                case Close():
                    raise PeerGone("closed during a run")
                case other:
                    self._refuse(f"{type(other).__name__} came during a run")
                    raise PeerGone("a request came during a run")
        return None

    # ------------------------------------------------------------ what the file desk needs

    @property
    def is_clear(self) -> bool:
        """Whether all that was said has been taken."""
        return self._client.is_clear

    def say_of_files(self, event: FileEvent) -> None:
        """Send an event."""
        self._client.say(event)

    def send_piece(self, data: bytes) -> None:
        """Send a FILE frame."""
        self._client.send_piece(data)

    def take_piece(self) -> bytes | None:
        """Return the next FILE frame's payload, None if none has come."""
        if not self._client.requests:
            return None
        match self._client.requests.popleft():
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
        self.turn(timeout_seconds)
