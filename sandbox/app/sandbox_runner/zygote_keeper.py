"""Keeps a zygote alive: starts it, hears what it found, starts another when it is lost."""

import os
import signal
import socket
import sys
import time
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path
from typing import Final

from sandbox_runner import control, log, zygote
from sandbox_runner.control import ZygoteReady, ZygoteThreaded
from sandbox_runner.failure import RunnerFailed
from sandbox_runner.zygote import ZygoteConfig

_MAX_FAILURES: Final = 5
_RESTART_SECONDS: Final = (0.0, 0.1, 0.5, 1.0, 2.0)
_KILLING: Final = frozenset({signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP})


class ZygoteKeeper:
    """The one zygote of a runner, and those that follow it.

    Attributes
    ----------
    line
        Control line to the zygote, None while there is none.
    pid
        Process id of the latest one.
    is_ready
        Whether it has preloaded and verified everything.
    findings
        What the latest that became ready said; None before the first.
    """

    def __init__(self, config: ZygoteConfig) -> None:
        self.line: socket.socket | None = None
        self.pid = 0
        self.is_ready = False
        self.findings: ZygoteReady | None = None
        self._config = config
        self._losses = self._failures = 0
        self._restart_at = 0.0
        self._begins_anew = False

    def start_if_due(self, now: float) -> socket.socket | None:
        """Start one if there is none and the pause is over; return its line, to be watched."""
        if self.line is not None or now < self._restart_at:
            return None
        try:
            ours = self._start()
        except OSError as error:
            self._restart_at = now + _RESTART_SECONDS[-1]
            log.event("zygote.failed", level="error", reason=repr(error))
            return None
        with suppress(OSError):  # it has just ended again: its line says so
            control.send(ours, self._config)
        self.line = ours
        self.is_ready = False
        return ours

    def _start(self) -> socket.socket:
        main = Path(__file__).with_name("__main__.py")
        with ExitStack() as unless_started:
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            unless_started.enter_context(ours)
            with theirs, Path(os.devnull).open("rb") as nothing:
                self.pid = os.posix_spawn(
                    sys.executable,
                    [sys.executable, "-I", "-B", str(main), "--zygote"],
                    zygote.environment(self._config.home),
                    file_actions=[
                        (os.POSIX_SPAWN_DUP2, theirs.fileno(), zygote.LINE_FD),
                        (os.POSIX_SPAWN_DUP2, nothing.fileno(), 0),
                        (os.POSIX_SPAWN_DUP2, 2, 1),
                    ],
                )
            unless_started.pop_all()
        return ours

    def hear(self) -> ZygoteReady | None:
        """Return what it says when it is ready, None if it has gone or goes: then call `lose`."""
        if self.line is None:
            return None
        try:
            message, _ = control.receive(self.line)
        except (EOFError, OSError):
            return None
        if "threaded" in message:
            self._leave_out(ZygoteThreaded(**message).threaded)
            return None
        self.findings = ready = ZygoteReady.from_json(message)
        self.is_ready = True
        self._losses = self._failures = 0
        log.event(
            "runner.ready",
            is_safe=ready.is_safe,
            preloaded=ready.preloaded,
            protections={item.name: item.state for item in ready.protections},
        )
        return ready

    def _leave_out(self, module: str) -> None:
        settings = self._config.settings
        kept = tuple(name for name in settings.preload if name != module)
        # Only what was there: whatever a zygote says, it begins anew no more often than that.
        self._begins_anew = kept != settings.preload
        self._config = replace(self._config, settings=replace(settings, preload=kept))

    def lose(self, sessions_lost: int) -> None:
        """Collect one that has gone, and pause before the next.

        Raises
        ------
        RunnerFailed
            It refused to start, or ends again and again.
        """
        if self.line is None:
            return
        self.line.close()
        self.line = None
        status = _wait_for(self.pid)
        if self._begins_anew:
            self._begins_anew = False
            return
        if not self.is_ready and status is not None and status > 0:
            text = "The sandbox runner's zygote refused to start; its last line says why."
            if os.waitstatus_to_exitcode(status) == zygote.EXIT_REFUSED:
                raise RunnerFailed(text, zygote.EXIT_REFUSED)
        self.is_ready = False
        self._losses += 1
        self._failures += not _is_killed(status)
        if self._failures > _MAX_FAILURES:
            raise RunnerFailed("The sandbox runner's zygote ends again and again.")
        pause = _RESTART_SECONDS[min(self._losses, len(_RESTART_SECONDS)) - 1]
        self._restart_at = time.monotonic() + pause
        log.event(
            "zygote.lost", level="error", sessions_lost=sessions_lost, restart_in_seconds=pause
        )

    def close(self) -> None:
        """Have it end: it does so when its line is gone."""
        if self.line is not None:
            self.line.close()


def _is_killed(status: int | None) -> bool:
    """Say whether somebody else ended it, the kernel for want of memory for example."""
    return status is not None and -os.waitstatus_to_exitcode(status) in _KILLING


def _wait_for(pid: int) -> int | None:
    try:
        return os.waitpid(pid, 0)[1]
    except ChildProcessError:
        return None
