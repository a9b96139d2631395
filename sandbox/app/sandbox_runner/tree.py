"""All processes of one session: stop them, go on, count them, end them."""
# ruff: noqa: PTH208  # names are wanted, by descriptor or in a hot path; no Path for each

import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sandbox_runner import kernel

_REAP_PAUSE_SECONDS: Final = 0.0005
# Some may end as fast as they are reaped, and the time limit is looked at in between.
_REAPED_AT_ONCE: Final = 256
_KILL_PATIENCE_SECONDS: Final = 30.0
_STOP_PATIENCE_SECONDS: Final = 5.0
_SLEEP_PATIENCE_SECONDS: Final = 0.2
_CLEAN_LOOKS: Final = 2
_ENDED: Final = frozenset({b"Z", b"X"})
_STILL: Final = _ENDED | {b"T"}
"""Ended, gone, stopped."""
_ASLEEP: Final = _STILL | {b"D"}
"""Or deep in the kernel, as who waits for its child to begin a program: it can't be stopped."""

_STATUS_BYTES: Final = 4096
# A process may have its pages swapped out, and huge pages are no part of the resident ones.
MEMORY_LINES: Final = (b"RssAnon", b"RssShmem", b"VmSwap", b"HugetlbPages")
"""What counts as a process's memory, by its names in ``/proc/PID/status``."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What a session uses now.

    Attributes
    ----------
    memory_bytes
        Memory that is no file's, resident, in huge pages or swapped out: what processes share is
        counted for each.
    tasks
        Processes and threads.
    """

    memory_bytes: int
    tasks: int


@dataclass(frozen=True, slots=True)
class Exit:
    """How the worker's process ended: by a signal, or by itself."""

    signal: str | None


class ProcessTree:
    """The worker, and whatever it may have started.

    Parameters
    ----------
    root
        The worker's process id; a child of this process.
    root_in_proc
        Its number in ``/proc``, see `number_in_proc`.
    is_scoped
        Whether this process sits in a Landlock signal scope of its own, or is process 1 of
        namespaces of its own, so that ``kill(-1)`` reaches exactly this session. Otherwise the
        tree is swept by parenthood.
    is_single
        Whether the worker cannot start processes, so that it is the whole tree.
    """

    def __init__(self, root: int, root_in_proc: int, *, is_scoped: bool, is_single: bool) -> None:
        self.root = root
        self._root_in_proc = root_in_proc
        self._is_scoped = is_scoped
        self._is_single = is_single
        self._exit: Exit | None = None
        self._status = os.open(f"/proc/{root_in_proc}/status", os.O_RDONLY | os.O_CLOEXEC)
        self.baseline_bytes = self.usage().memory_bytes
        self.address_space_bytes = status_number(_read(self._status), b"VmSize") << 10
        self._resident_bytes = status_number(_read(self._status), b"VmRSS") << 10
        self._mark_bytes = 0
        self._latest_status = b""

    def close(self) -> None:
        """Let go of the descriptor; the tree must have been killed."""
        os.close(self._status)

    def freeze(self) -> None:
        """Stop every thread of the session."""
        self._signal(signal.SIGSTOP)
        if not self._is_single:
            self._stand_still()

    def _stand_still(self) -> None:
        """Stop what is continued again while the session stops.

        A process that is about to end can't be stopped, and its end may continue others: the kernel
        wakes the stopped processes of a group that loses its last tie to its session.
        """
        started = now = time.monotonic()
        looks = 0
        while looks < _CLEAN_LOOKS and now - started < _STOP_PATIENCE_SECONDS:
            pids = list(descendants(own_number_in_proc()))
            if len(pids) <= 1:
                return  # the worker alone has nobody to be continued by
            states = _STILL if now - started < _SLEEP_PATIENCE_SECONDS else _ASLEEP
            now = time.monotonic()
            if all(_is_still(pid, states) for pid in pids):
                looks += 1
                continue
            looks = 0
            self._signal(signal.SIGSTOP)
            time.sleep(_REAP_PAUSE_SECONDS)

    def await_threads(self) -> None:
        """Wait until all threads of the worker, which was told to stop, have done so.

        What one of them asked of the kernel before ends first, when it gets its turn. `freeze`
        waits for this only where the worker has started processes.
        """
        started = time.monotonic()
        while (waited := time.monotonic() - started) < _STOP_PATIENCE_SECONDS:
            states = _STILL if waited < _SLEEP_PATIENCE_SECONDS else _ASLEEP
            if self.exit_of_root() is not None or _is_still(self._root_in_proc, states):
                return
            time.sleep(_REAP_PAUSE_SECONDS)

    def resume(self) -> None:
        """Let the session go on."""
        self._signal(signal.SIGCONT)

    def kill(self) -> None:
        """End every process of the session and reap it."""
        limit = time.monotonic() + _KILL_PATIENCE_SECONDS
        while time.monotonic() < limit:
            if not self._is_scoped and not self._is_single:
                self._signal(signal.SIGSTOP)  # so that nothing forks during the sweep
            self._signal(signal.SIGKILL)
            if self.reap():
                return
            time.sleep(_REAP_PAUSE_SECONDS)

    def exit_of_root(self) -> Exit | None:
        """Return how the worker ended, or None while it lives."""
        if self._exit is None:
            try:
                pid, status = os.waitpid(self.root, os.WNOHANG)
            except ChildProcessError:
                return None
            if pid:
                self._exit = _exit(status)
        return self._exit

    def usage(self) -> Usage:
        """Return what the session uses now; of a session that has ended, nothing."""
        if self._is_single:
            return _usage(_of_the_living(self._root_in_proc, _read(self._status)))
        self.reap()  # who has ended counts until then, and has nobody else to do it
        pids = list(descendants(own_number_in_proc()))
        parts = [_usage(_of_the_living(pid, status_of(pid))) for pid in pids]
        return Usage(sum(part.memory_bytes for part in parts), sum(part.tasks for part in parts))

    def latest_peak_bytes(self) -> int:
        """Return the worker's peak since the last call: its highest mark, if it rose, or now."""
        self._latest_status = status = _read(self._status)
        mark = status_number(status, b"VmHWM") << 10
        is_higher = mark > self._mark_bytes
        self._mark_bytes = max(mark, self._mark_bytes)
        # Of a worker that has ended nothing is left to read: it had what it had before.
        self._resident_bytes = (status_number(status, b"VmRSS") << 10) or self._resident_bytes
        return mark if is_higher else self._resident_bytes

    def latest_usage(self) -> Usage:
        """Return what the session used at the last call of `latest_peak_bytes`, or now."""
        if not self._is_single:
            return self.usage()
        return _usage(_of_the_living(self._root_in_proc, self._latest_status))

    def _signal(self, number: int) -> None:
        try:
            if self._is_single:
                if self._exit is None:
                    os.kill(self.root, number)
            elif self._is_scoped:
                os.kill(-1, number)
            else:
                # Without namespaces these are the numbers here too.
                for pid in descendants(own_number_in_proc()):
                    os.kill(pid, number)
        except (ProcessLookupError, PermissionError):
            return  # nobody is left, or one ended while we looked

    def reap(self) -> bool:
        """Reap what has ended, so many at most; say whether nobody is left."""
        for _ in range(_REAPED_AT_ONCE):
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return True
            if pid == 0:
                return False
            if pid == self.root:
                self._exit = _exit(status)
        return False


def own_number_in_proc() -> int:
    """Return the number of this process in ``/proc``, which knows it by the one outside."""
    return int(os.readlink("/proc/self"))  # noqa: PTH115  # in a hot path


def number_in_proc(pidfd: int) -> int:
    """Return the number in ``/proc`` of a process that is held by a descriptor.

    Raises
    ------
    OSError
        It has been reaped, or the kernel does not say.
    """
    number = status_number(kernel.ask(f"/proc/self/fdinfo/{pidfd}"), b"Pid")
    if number <= 0:
        raise OSError(f"/proc/self/fdinfo says no number of a process, but {number}")
    return number


def stop_and_kill(pid: int) -> None:
    """End a process that may fork meanwhile, and may have ended by itself."""
    for number in (signal.SIGSTOP, signal.SIGKILL):
        try:
            os.kill(pid, number)
        except OSError:
            return  # it has just ended


def descendants(root: int) -> Iterator[int]:
    """Yield the process ids below `root`, parents first, without `root`."""
    pending = [root]
    while pending:
        for child in children(pending.pop()):
            yield child
            pending.append(child)


def status_of(pid: int | str) -> bytes:
    """Return ``/proc/PID/status``, of a thread ``PID/task/TID``; nothing if it has ended."""
    try:
        return kernel.ask(f"/proc/{pid}/status")
    except OSError:
        return b""


def _of_the_living(pid: int, status: bytes) -> bytes:
    """Return the status of a process that tells of its memory, also if its first thread has ended.

    Then ``/proc/PID/status`` says nothing of memory, which the others still have.
    """
    if not _is_without_first_thread(status):
        return status
    try:
        for thread in os.listdir(f"/proc/{pid}/task"):
            other = status_of(f"{pid}/task/{thread}")
            if status_word(other, MEMORY_LINES[0]):
                return other
    except OSError:
        return status  # it ended while we looked
    return status


def _is_without_first_thread(status: bytes) -> bool:
    has_ended = status_word(status, b"State") in _ENDED
    return has_ended and status_number(status, b"Threads") > 1


def _is_still(pid: int, still: frozenset[bytes]) -> bool:
    """Say whether every thread of a process is in one of some states."""
    try:
        threads = os.listdir(f"/proc/{pid}/task")
        statuses = [kernel.ask(f"/proc/{pid}/task/{thread}/status") for thread in threads]
    except OSError:
        return False  # it or one of its threads ended while we looked: look again
    return all(status_word(status, b"State") in still for status in statuses)


def children(pid: int) -> list[int]:
    """Return the process ids of the children of all threads of a process."""
    if not _HAS_CHILDREN_FILES:
        return [other for other in _all_pids() if status_number(status_of(other), b"PPid") == pid]
    found: list[int] = []
    try:
        for thread in os.listdir(f"/proc/{pid}/task"):
            words = Path(f"/proc/{pid}/task/{thread}/children").read_bytes().split()
            found += [int(word) for word in words]
    except OSError:
        return found  # it ended while we looked
    return found


# A kernel option (PROC_CHILDREN) that small kernels leave out.
_HAS_CHILDREN_FILES: Final = Path(f"/proc/self/task/{os.getpid()}/children").exists()


def _all_pids() -> Iterator[int]:
    return (int(name) for name in os.listdir("/proc") if name.isdigit())


def _read(descriptor: int) -> bytes:
    try:
        return os.pread(descriptor, _STATUS_BYTES, 0)
    except OSError:
        return b""  # the process has ended


def _usage(status: bytes) -> Usage:
    kibibytes = sum(status_number(status, name) for name in MEMORY_LINES)
    return Usage(kibibytes << 10, status_number(status, b"Threads"))


def status_number(status: bytes, name: bytes) -> int:
    """Return a number of ``/proc/PID/status``, 0 where it does not say any."""
    return int(status_word(status, name) or 0)


def status_word(status: bytes, name: bytes) -> bytes:
    """Return the first word of a line of ``/proc/PID/status``, nothing where there is none."""
    # The process's name stands in the first line, and in it a newline is written as two letters.
    start = status.find(b"\n" + name + b":")
    if start < 0:
        return b""
    return status[start + len(name) + 2 :].split(None, 1)[0]


def _exit(status: int) -> Exit:
    code = os.waitstatus_to_exitcode(status)
    if code >= 0:
        return Exit(signal=None)
    try:
        return Exit(signal=signal.Signals(-code).name)
    except ValueError:
        return Exit(signal=f"SIGRTMIN+{-code - signal.SIGRTMIN}")
