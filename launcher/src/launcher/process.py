"""Child processes that never outlive the supervisor."""

import asyncio
import contextlib
import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from launcher.units import Unit

_HERE = Path(__file__).parent
_PR_SET_CHILD_SUBREAPER = 36
_MAX_LINE_BYTES = 16 * 1024
_REAP_INTERVAL_SECONDS = 2.0


class Child(Protocol):
    """A started program and everything that it starts."""

    @property
    def pid(self) -> int:
        """Its process number, which is also its group's."""
        ...

    def lines(self) -> AsyncGenerator[bytes, None]:
        """Give what it writes, line by line; overlong lines are cut."""
        ...

    async def wait(self) -> int:
        """Wait for its end; minus the signal's number when a signal ended it."""
        ...

    def release(self) -> None:
        """Open the gate of a program that has one; once."""
        ...

    def terminate(self) -> None:
        """Ask it to end."""
        ...

    def kill(self) -> None:
        """End it and its group now."""
        ...


class Spawner(Protocol):
    """What the supervisor starts programs with."""

    async def spawn(self, unit: Unit) -> Child:
        """Start a unit's program."""
        ...


class ProcessSpawner:
    """Starts programs in process groups of their own that end with this process.

    Linux: the kernel's death signal (exec_shim) ends the programs; orphans of theirs come to this
    process (child subreaper) and are ended with their session. Everywhere: group_watch ends the
    groups when its pipe breaks.
    """

    def __init__(self, *, cwd: Path, socket_dir: Path) -> None:
        self._cwd = cwd
        self._socket_dir = socket_dir
        self._known: set[int] = set()
        # A fork that has not been written down yet must not be taken for an orphan.
        self._forking = asyncio.Lock()
        self._watch: subprocess.Popen[bytes] | None = None
        self._reaper: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        if sys.platform == "linux":
            ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        self._watch = subprocess.Popen(  # noqa: S603, ASYNC220  # our own program; forks at once
            [sys.executable, "-I", "-S", str(_HERE / "group_watch.py"), str(self._socket_dir)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )
        self._known.add(self._watch.pid)
        self._reaper = asyncio.create_task(self._reap_for_ever())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._reaper is not None:
            self._reaper.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._reaper
        if self._watch is not None and self._watch.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self._watch.stdin.close()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._watch.wait(timeout=2)
        self._known.clear()
        await self._end_orphans(session=None)

    async def spawn(self, unit: Unit) -> Child:
        """Start a unit's program; its output comes through one pipe."""
        read_end, write_end = os.pipe()
        try:
            async with self._forking:
                # A pipe of our own, not PIPE: wait() must not wait for grandchildren that hold it.
                process = await asyncio.create_subprocess_exec(
                    *(sys.executable, "-I", "-S", str(_HERE / "exec_shim.py"), str(os.getpid())),
                    *unit.command,
                    stdin=subprocess.PIPE if unit.has_gate else subprocess.DEVNULL,
                    stdout=write_end,
                    stderr=write_end,
                    env=dict(unit.environment),
                    cwd=self._cwd,
                    start_new_session=True,
                )
                self._known.add(process.pid)
        except BaseException:
            os.close(read_end)
            raise
        finally:
            os.close(write_end)
        self._tell_watch("+", process.pid)
        return _Process(process, await _reader(read_end), self)

    async def ended(self, pid: int) -> None:
        """Clean up behind a program: its group, and orphans of its session."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)
        self._tell_watch("-", pid)
        async with self._forking:
            self._known.discard(pid)
        await self._end_orphans(session=pid)

    def _tell_watch(self, sign: str, group: int) -> None:
        if self._watch is None or self._watch.stdin is None:
            return
        # A watch that was killed is missed only if this process is killed as well.
        with contextlib.suppress(BrokenPipeError, ValueError):
            self._watch.stdin.write(f"{sign}{group}\n".encode())
            self._watch.stdin.flush()

    async def _reap_for_ever(self) -> None:
        while True:
            await asyncio.sleep(_REAP_INTERVAL_SECONDS)
            async with self._forking:
                for pid in _children() - self._known:
                    _reap(pid)

    async def _end_orphans(self, *, session: int | None) -> None:
        """Kill adopted processes of one session (None: all), and collect them."""
        for _ in range(100):
            async with self._forking:
                orphans = _children() - self._known
                ours = {pid for pid in orphans if session is None or _session(pid) == session}
                for pid in ours:
                    with contextlib.suppress(ProcessLookupError, PermissionError):
                        os.kill(pid, signal.SIGKILL)
                    _reap(pid)
            if not ours:
                return
            await asyncio.sleep(0.01)


class _Process:
    def __init__(
        self,
        process: asyncio.subprocess.Process,
        output: tuple[asyncio.StreamReader, asyncio.ReadTransport],
        spawner: ProcessSpawner,
    ) -> None:
        self._process = process
        self._output, self._transport = output
        self._spawner = spawner

    @property
    def pid(self) -> int:
        return self._process.pid

    async def lines(self) -> AsyncGenerator[bytes, None]:
        rest = b""
        try:
            while chunk := await self._output.read(65536):
                *complete, rest = (rest + chunk).split(b"\n")
                for line in complete:
                    yield line[:_MAX_LINE_BYTES]
                if len(rest) > _MAX_LINE_BYTES:
                    yield rest[:_MAX_LINE_BYTES]
                    rest = b""
            if rest:
                yield rest
        finally:
            self._transport.close()

    async def wait(self) -> int:
        code = await self._process.wait()
        await self._spawner.ended(self.pid)
        return code

    def release(self) -> None:
        gate = self._process.stdin
        if gate is not None and not gate.is_closing():
            gate.write(b"\n")
            gate.close()

    def terminate(self) -> None:
        # The program alone: it ends its own children in its own order.
        with contextlib.suppress(ProcessLookupError):
            self._process.terminate()

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)


async def _reader(
    descriptor: int,
) -> tuple[asyncio.StreamReader, asyncio.ReadTransport]:
    reader = asyncio.StreamReader()
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(descriptor, "rb", buffering=0)
    )
    return reader, transport


def _children() -> set[int]:
    """Give this process's children; empty where the system does not tell."""
    found: set[int] = set()
    for path in Path("/proc/self/task").glob("*/children"):
        with contextlib.suppress(OSError):
            found.update(int(pid) for pid in path.read_text(encoding="ascii").split())
    return found


def _session(pid: int) -> int | None:
    try:
        return os.getsid(pid)
    except ProcessLookupError:
        return None


def _reap(pid: int) -> None:
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)
