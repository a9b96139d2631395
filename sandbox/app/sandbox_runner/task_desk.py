"""Has a worker do one task after the other, and ends what takes too long or too much."""

import os
import select
import time
from collections import deque
from dataclasses import dataclass
from typing import Final, Protocol

from sandbox_runner import link, slot_usage
from sandbox_runner.client_line import PeerGone
from sandbox_runner.held_worker import HeldWorker
from sandbox_runner.inbox import Inbox
from sandbox_runner.output import OutputMeter
from sandbox_runner.policy import SessionLimits
from sandbox_runner.protocol import CellError, Status
from sandbox_runner.tree import Usage

_TICK_SECONDS: Final = 0.025
_DISK_TICK_SECONDS: Final = 0.25
_READ_BYTES: Final = 64 << 10
_MAX_FOREIGN_MESSAGES: Final = 10_000
_MESSAGES_AT_ONCE: Final = 64
_FAREWELL_SECONDS: Final = 0.002
_LIGHT_BYTES: Final = 16 << 20
_LIGHT_DISK_BYTES: Final = 64 << 10


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


@dataclass(frozen=True, slots=True)
class Folder:
    """The session's folder, by its descriptor, and whether the kernel bounds what it holds."""

    descriptor: int
    has_quota: bool


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


class TaskWatch(Protocol):
    """The rest of the session, while a task goes on."""

    def turn(self, timeout_seconds: float | None) -> dict[int, int]:
        """Wait for events once, and return them: poll masks by descriptor."""

    def interruption(self, kind: link.TaskKind) -> Ending | None:
        """Return why the client's words end a task, if they do."""


class TaskDesk:
    """One worker with its pipes, and what it may use.

    Parameters
    ----------
    poll
        Waits for the session's events; the worker's are registered here.
    limits
        The session's; a run may have lower ones.

    Attributes
    ----------
    peak_bytes
        What the latest task used of memory at most.
    """

    def __init__(
        self, worker: HeldWorker, poll: select.poll, folder: Folder, limits: SessionLimits
    ) -> None:
        self.worker = worker
        self.peak_bytes = 0
        self._left = Usage(0, 0)
        self._is_closed = False
        self._tree = worker.tree
        self._channel = worker.channel
        self._poll = poll
        self._folder = folder
        self._limits = self._run_limits = limits
        self.stdout = OutputMeter.of_stdout(worker.stdout, limits.output_bytes)
        self.stderr = OutputMeter.of_stderr(worker.stderr, limits.output_bytes)
        for meter in self._meters:
            poll.register(meter.descriptor, select.POLLIN)

    @property
    def _meters(self) -> tuple[OutputMeter, OutputMeter]:
        return self.stdout, self.stderr

    def close(self) -> None:
        """End the worker, if it has not been done yet."""
        if self._is_closed:
            return
        self._is_closed = True
        for meter in self._meters:
            self._shut(meter)
        self.worker.close()

    # ------------------------------------------------------------ output

    def limit(self, limits: SessionLimits) -> None:
        """Keep to a session's limits from now on."""
        self._limits = limits

    def start(self, limits: SessionLimits) -> None:
        """Count output anew, for a run with its own limits."""
        self._run_limits = limits
        for meter in self._meters:
            meter.start(limits.output_bytes)

    def take_output(self, ready: dict[int, int]) -> bytes:
        """Return the frames of what was written and reported by `poll`."""
        frames = b""
        for meter in self._meters:
            if meter.descriptor in ready:
                frame = meter.read(_READ_BYTES)
                if frame is None:
                    self._shut(meter)
                else:
                    frames += frame
        return frames

    def drain(self) -> bytes:
        """Return the frames of what is still in the pipes, whose writers are stopped or dead."""
        return self.stdout.drain() + self.stderr.drain()

    def _shut(self, meter: OutputMeter) -> None:
        if meter.is_open:
            self._poll.unregister(meter.descriptor)
            meter.is_open = False

    # ------------------------------------------------------------ tasks

    def perform(self, kind: link.TaskKind, text: str, deadline: float, watch: TaskWatch) -> Ending:
        """Have the worker do one task; it is frozen before and, if it lives, after.

        Raises
        ------
        PeerGone
            Nobody waits for it any more; the worker has been killed.
        """
        if self._tree.exit_of_root() is not None:
            return Ending("crashed")  # it was killed while it was frozen
        self.peak_bytes = 0
        tag = link.new_tag()
        inbox = Inbox(tag)
        outgoing = deque(link.encode(tag, {"kind": kind, "text": text}))
        # Only for the task: a frozen or dead worker would make each wait return at once.
        self._poll.register(self._channel, select.POLLIN | select.POLLOUT)
        self._poll.register(self.worker.pidfd, select.POLLIN)
        # Before it goes on, so that it wakes up once: to this, and not to find nothing there.
        self._feed(outgoing)
        self._tree.resume()
        try:
            ending = self._watch(kind, inbox, outgoing, deadline, watch)
        except PeerGone:
            self._tree.kill()
            raise
        finally:
            self._poll.unregister(self.worker.pidfd)
            if not inbox.is_closed:
                self._poll.unregister(self._channel)
        if ending.report is None:
            self.peak_bytes = max(self.peak_bytes, self._tree.latest_peak_bytes())
            return ending
        self._tree.freeze()
        self.peak_bytes = max(self.peak_bytes, self._tree.latest_peak_bytes())
        return self._left_too_much() or ending

    def _watch(
        self,
        kind: link.TaskKind,
        inbox: Inbox,
        outgoing: deque[bytes],
        deadline: float,
        watch: TaskWatch,
    ) -> Ending:
        clock = Clock.until(deadline)
        while True:
            if ending := self._due(clock):
                return ending
            ready = watch.turn(clock.seconds_to_wait())
            if ending := watch.interruption(kind) or self._heard(ready, inbox, outgoing):
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
        if self.stdout.is_flooded or self.stderr.is_flooded:
            return Ending("output")
        events = ready.get(self._channel.fileno(), 0)
        if events & select.POLLOUT:
            self._feed(outgoing)
        if events & select.POLLIN and self._collect(inbox):
            return Ending("ok", report=inbox.payload)
        if inbox.foreign > _MAX_FOREIGN_MESSAGES:
            return Ending("killed")
        if self.worker.pidfd in ready and not events & select.POLLIN:
            return Ending("crashed")
        return None

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

    def is_light(self) -> bool:
        """Say whether the latest task has left little: no process, thread or file, a few MiB."""
        usage = self._left
        if usage.tasks != 1 or usage.memory_bytes - self._tree.baseline_bytes > _LIGHT_BYTES:
            return False
        if not self._folder.has_quota:
            return True
        disk = os.fstatvfs(self._folder.descriptor)  # files that have no name any more count too
        return (disk.f_blocks - disk.f_bfree) * disk.f_frsize <= _LIGHT_DISK_BYTES

    # ------------------------------------------------------------ limits

    def _left_too_much(self) -> Ending | None:
        """Say whether a task that is over holds more than it may: a later one would pay for it."""
        self._left = self._tree.latest_usage()
        if self._left.tasks > 1:
            self._tree.await_threads()
        if self._excess(self._left):
            # Threads that were waited for need a moment more to be gone.
            time.sleep(_FAREWELL_SECONDS)
            if excess := self._over_limits():
                return excess
        disk = self._over_disk()
        return Ending("killed", explanation=disk) if disk else None

    def _over_limits(self) -> Ending | None:
        usage = self._tree.usage()
        self.peak_bytes = max(self.peak_bytes, usage.memory_bytes)
        return self._excess(usage)

    def _excess(self, usage: Usage) -> Ending | None:
        if usage.memory_bytes - self._tree.baseline_bytes > self._run_limits.memory_bytes:
            return Ending("memory")
        if usage.tasks > self._run_limits.processes:
            text = f"more than {self._run_limits.processes} processes and threads at once"
            return Ending("killed", explanation=CellError("ProcessLimit", text, ""))
        return None

    def _over_disk(self) -> CellError | None:
        if self._folder.has_quota:
            return None
        limits = self._limits
        used = slot_usage.measure(self._folder.descriptor, max_entries=limits.disk_entries)
        if used.disk_bytes > limits.disk_bytes:
            text = f"more than {limits.disk_bytes} bytes in files"
        elif used.entries > limits.disk_entries:
            text = f"more than {limits.disk_entries} files and folders"
        elif not used.is_whole:
            text = f"more than {slot_usage.MAX_DEPTH} folders in each other"
        else:
            return None
        return CellError("DiskLimit", text, "")
