"""The zygote: preloads the heavy modules once, then forks a warden for each session."""

import gc
import importlib
import os
import select
import signal
import socket
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NoReturn

from sandbox_runner import control, kernel, log, namespaces, privileges, warden
from sandbox_runner.bare_fork import bare_fork
from sandbox_runner.control import Spawn, ZygoteReady, ZygoteThreaded
from sandbox_runner.fork_plans import ENVIRONMENT, ForkPlan, ForkPlans
from sandbox_runner.protections import Shield, raise_shield
from sandbox_runner.settings import RunnerSettings
from sandbox_runner.tree import children, descendants, stop_and_kill
from sandbox_runner.worker import ALL_SIGNALS, reset_signals

LINE_FD: Final = 3
EXIT_REFUSED: Final = 78
_FAREWELL_SECONDS: Final = 3.0
_SWEEP_PAUSE_SECONDS: Final = 0.002
_THREAD_PATIENCE_SECONDS: Final = 0.2


@dataclass(frozen=True, slots=True)
class ZygoteConfig:
    """The first message to a zygote.

    Attributes
    ----------
    settings
        The runner's settings.
    home
        A folder for the caches of preloaded modules, written to before any session is there.
    probe_slot
        A slot for trying out the protections.
    has_quota
        Whether slots have a file system of their own.
    has_private_mounts
        Whether the machine's folders are hidden.
    view, view_problem
        The root for sessions in namespaces of their own, or why there is none.
    """

    settings: RunnerSettings
    home: str
    probe_slot: str
    has_quota: bool
    has_private_mounts: bool
    view: str | None
    view_problem: str

    @classmethod
    def from_json(cls, raw: dict[str, Any]) -> "ZygoteConfig":
        """Return the message that was sent."""
        return cls(**{**raw, "settings": RunnerSettings.from_json(raw["settings"])})


def start() -> int:
    """Run as the zygote process; return its exit status."""
    try:
        main()
    except privileges.PrivilegeError as error:
        log.event("runner.refused", level="error", reason=str(error))
        return EXIT_REFUSED
    except EOFError:
        return 0  # the listener went before it said anything
    return 0


def main() -> None:
    """Serve the listener on descriptor 3 until it goes."""
    line = socket.socket(fileno=LINE_FD)
    os.set_inheritable(LINE_FD, False)
    os.setsid()  # Ctrl-C in a terminal is the listener's to answer
    message, _ = control.receive(line)
    config = ZygoteConfig.from_json(message)
    settings = config.settings
    if privileges.is_root():
        privileges.drop_to(settings.uid, settings.gid)
    kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
    kernel.prctl(kernel.PR_SET_CHILD_SUBREAPER, 1)
    os.environ["HOME"] = os.environ["TMPDIR"] = os.environ["MPLCONFIGDIR"] = config.home
    os.chdir(config.home)
    preloaded = _preload(settings.preload, line)
    reset_signals(ALL_SIGNALS)
    shield = raise_shield(
        settings,
        probe_slot=config.probe_slot,
        has_quota=config.has_quota,
        has_private_mounts=config.has_private_mounts,
        view=config.view,
        view_problem=config.view_problem,
    )
    # Nobody of the same user may read its memory or trace it.
    kernel.prctl(kernel.PR_SET_DUMPABLE, 0)
    zygote = Zygote(line, settings, shield)
    gc.collect()
    gc.freeze()
    control.send(line, ZygoteReady(shield.protections, shield.is_safe, preloaded))
    zygote.serve()


def _preload(names: tuple[str, ...], line: socket.socket) -> tuple[str, ...]:
    """Import modules; return those that are there.

    One that starts threads is left to the cells: a fork has none of them, and for ever the locks
    that they held. What is imported stays, so another zygote begins without it.
    """
    loaded = []
    for name in names:
        try:
            importlib.import_module(name)
        except Exception as error:  # noqa: BLE001  # a module may fail in any way; cells can do without
            log.event("preload.failed", level="warning", module=name, reason=repr(error))
        else:
            loaded.append(name)
        if (threads := _lasting_threads()) > 1:
            log.event("preload.threads", level="warning", module=name, threads=threads)
            control.send(line, ZygoteThreaded(name))
            os._exit(0)  # an ordinary exit may wait for its threads
    return tuple(loaded)


def _lasting_threads() -> int:
    # Who was waited for is there a moment longer.
    limit = time.monotonic() + _THREAD_PATIENCE_SECONDS
    while (threads := _threads()) > 1 and time.monotonic() < limit:
        time.sleep(_SWEEP_PAUSE_SECONDS)
    return threads


def _threads() -> int:
    return len(list(Path("/proc/self/task").iterdir()))


class Zygote:
    """Forks on request, and reaps."""

    def __init__(self, line: socket.socket, settings: RunnerSettings, shield: Shield) -> None:
        self._line = line
        self._plans = ForkPlans(settings, shield)
        self._wardens: set[int] = set()
        self._is_alone = True

    def serve(self) -> None:
        """Fork a session for each order; end when the listener does."""
        # One that a module started late may hold a lock while this one forks a warden, which then
        # waits for ever.
        if (threads := _threads()) > 1:
            self._is_alone = False
            log.event("preload.threads", level="error", threads=threads)
        # SIGCHLD must interrupt the wait for orders: orphans are not to wait for the next one.
        waking, woken = socket.socketpair()
        waking.setblocking(False)
        woken.setblocking(False)
        signal.set_wakeup_fd(woken.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the listener says when to end
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        while True:
            ready, _, _ = select.select([self._line, waking], [], [])
            if waking in ready:
                waking.recv(4096)
                self._reap()
            if self._line in ready:
                try:
                    message, descriptor = control.receive_with_descriptor(self._line)
                except control.DescriptorLost as error:  # the listener sees that line end
                    log.event("warden.failed", level="error", reason=str(error))
                    continue
                except (EOFError, OSError):
                    break
                self._spawn(Spawn(**message), descriptor, (waking, woken))
        self._leave()

    def _spawn(
        self, order: Spawn, descriptor: int, private: tuple[socket.socket, socket.socket]
    ) -> None:
        pid = -1
        try:
            with self._plans.plan(order) as plan:
                pid = self._fork()
                if pid == 0:
                    self._be_warden(order, plan, descriptor, private)
        except OSError as error:  # of this session alone: its line ends, and so it is given up
            log.event("warden.failed", level="error", session=order.session, reason=repr(error))
        os.close(descriptor)
        if pid > 0:
            self._wardens.add(pid)

    def _fork(self) -> int:
        if self._plans.has_namespaces:
            return namespaces.fork()
        return bare_fork() if self._is_alone else os.fork()

    def _be_warden(
        self,
        order: Spawn,
        plan: ForkPlan,
        descriptor: int,
        private: tuple[socket.socket, socket.socket],
    ) -> NoReturn:
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            self._line.close()
            for end in private:
                end.close()
            self._plans.close()
            line = socket.socket(fileno=descriptor)
            warden.main(line, order, plan.fork)
        except BaseException as error:  # noqa: BLE001  # a fork must never run on as a zygote
            log.event("warden.failed", level="error", session=order.session, reason=repr(error))
            os._exit(1)  # and the zygote looks for what it may have left
        os._exit(0)

    def _reap(self) -> None:
        """Collect what has ended, and end what a warden that was killed has left behind."""
        has_orphans = False
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                break
            # One that ends well has ended all the others before.
            if status or pid not in self._wardens:
                has_orphans = True
            if status and pid in self._wardens:
                log.event("warden.killed", level="error", pid=pid, status=status)
            self._wardens.discard(pid)
        if has_orphans:
            self._end_orphans()

    def _end_orphans(self) -> None:
        for child in descendants_outside(os.getpid(), self._wardens):
            stop_and_kill(child)

    def _leave(self) -> None:
        """Wait for the wardens, who have seen the listener go too; then end whatever is left."""
        limit = time.monotonic() + _FAREWELL_SECONDS
        while time.monotonic() < limit:
            try:
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass
            except ChildProcessError:
                return
            time.sleep(_SWEEP_PAUSE_SECONDS)
        self._wardens.clear()
        self._end_orphans()


def descendants_outside(root: int, spared: set[int]) -> list[int]:
    """Return the processes below `root`, but not the `spared` children and what is below them."""
    found: list[int] = []
    for child in children(root):
        if child not in spared:
            found += [child, *descendants(child)]
    return found


def environment(base: str) -> dict[str, str]:
    """Return the whole environment of a zygote: nothing of the runner's own comes in."""
    return {**ENVIRONMENT, "HOME": base}
