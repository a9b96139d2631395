"""Plays attacks against one runner and keeps what was seen, during each and after it."""

import socket
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import psutil
from sandbox_runner import client
from sandbox_runner.client import CellRun, RunnerSession
from sandbox_runner.file_messages import FileEntry, FileList, FileRefused
from sandbox_runner.protocol import HelloEvent

from sandbox_support.attack_case import AttackCase
from sandbox_support.attack_mode import SPARE_SESSIONS, Mode, Runner, short_folder
from sandbox_support.http_service import HttpService, HttpSession, http_service

Session = RunnerSession | HttpSession
CANARY = "canary-7731-SECRET"
POOL = 2
# Where nothing can be mounted, the names of the machine's files show, and /health says so. A case
# that takes a name for the thing is made to try the thing.
_TAKES_THE_NAME = "    if os.path.exists(p): hits.append(p)\n"
_TRIES_THE_THING = """
    import socket
    for reach in (lambda: open(p).close(), lambda: socket.socket(socket.AF_UNIX).connect(p)):
        try: reach(); hits.append(p)
        except OSError: pass
"""
# Five thousand folders in each other take a while.
_PATIENCE_SECONDS = 30.0
# A session that no case is to touch: its variable stays, and it can still make a file and fill it.
BYSTANDERS = "bystander-3390"
_AS_EVER = """
import os
size = open('w', 'wb').write(bytes(1 << 20))
os.remove('w')
size, mine
"""
AS_EVER = repr((1 << 20, BYSTANDERS))
# What is collected of a session's files; to read all of a case's 10,000 would show no more.
_READ_BYTES = 1 << 20
_READ_ENTRIES = 60
# What i13 has a service write that unpickles a result.
_LOOT = Path("/tmp/pwned")
# A warden and its worker.
_PROCESSES_OF_A_SESSION = 2


class NotRun(Exception):
    """A mode can't be tried here; the text says why."""

    def __init__(self, reason: str, *, is_kernel: bool) -> None:
        super().__init__(reason)
        self.is_kernel = is_kernel


@dataclass(frozen=True)
class Evidence:
    """What was seen of one attack.

    Attributes
    ----------
    recovery_seconds
        How long a fresh session took to answer right afterwards.
    left_over
        What was still there after a while that should not have been; nothing, if all is well.
    gleanings
        What the files of the sessions gave, as who collects them gets it.
    bystander
        What a session that was there all the while answered at the end of the last step, those of
        the case being there still, and afterwards.
    """

    runs: tuple[CellRun, ...]
    gleanings: tuple["Gleaning", ...]
    bystander: tuple[str | None, str | None]
    was_bait_touched: bool
    recovery_seconds: float
    recovery_output: bytes
    left_over: str
    memory_growth_bytes: int


@dataclass(frozen=True)
class Gleaning:
    """The files of one session, after a run.

    Attributes
    ----------
    seconds
        How long it took to list them.
    contents
        Of the first ones, links included, each path with what was read or the refusal.
    """

    listed: FileList
    seconds: float
    contents: tuple[tuple[FileEntry, bytes | FileRefused], ...]


@dataclass(frozen=True)
class Bait:
    """What a case must not reach, and the runner that is to keep it from there."""

    runner: Runner
    service: HttpService | None
    names: dict[str, str]
    listeners: tuple[socket.socket, ...]
    mailbox: socket.socket
    shows_names: bool
    seconds: float
    bystander: Session

    def session(self, *, is_streaming: bool = False) -> Session:
        """Open a session the way of this mode."""
        if self.service is None:
            return RunnerSession(self.runner.socket)
        return self.service.session(is_streaming=is_streaming)

    def answer(self) -> bytes:
        """Return what a fresh session says."""
        if self.service is not None:
            return self.service.run_once("print(6*7)")
        with RunnerSession(self.runner.socket) as session:
            return session.run("print(6*7)").stdout

    def memory(self) -> int:
        """Return the bytes that the listener holds, and the service where there is one."""
        pids = [self.runner.pid, *([self.service.pid] if self.service else [])]
        return sum(int(psutil.Process(pid).memory_info().rss) for pid in pids)

    def fill_in(self, code: str) -> str:
        if self.shows_names:
            code = code.replace(_TAKES_THE_NAME, _TRIES_THE_THING)
        for name, value in self.names.items():
            code = code.replace(name, value)
        return code

    def was_touched(self) -> bool:
        if _LOOT.exists():
            return True
        for listener in self.listeners:
            try:
                listener.accept()[0].close()
            except BlockingIOError:
                continue
            return True
        try:
            self.mailbox.recv(1)
        except BlockingIOError:
            return False
        return True


@contextmanager
def laid_out(mode: Mode) -> Iterator[Bait]:
    """Start the runner of a mode, with bait around it.

    Raises
    ------
    NotRun
        This machine can't do what the mode needs.
    """
    if mode.why_not_here:
        raise NotRun(mode.why_not_here, is_kernel=False)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(short_folder()))
        folder.chmod(0o755)
        canary_file = folder / "secret.txt"
        canary_file.write_text(CANARY)
        canary_file.chmod(0o644)
        tcp, path, abstract = (
            stack.enter_context(socket.socket(family, socket.SOCK_STREAM))
            for family in (socket.AF_INET, socket.AF_UNIX, socket.AF_UNIX)
        )
        tcp.bind(("127.0.0.1", 0))
        path.bind(str(folder / "svc.sock"))
        name = f"bait-{mode.name}-{folder.name}"
        abstract.bind("\0" + name)
        mailbox = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
        mailbox.bind(str(folder / "mail.sock"))
        (folder / "mail.sock").chmod(0o777)
        (folder / "svc.sock").chmod(0o777)
        mailbox.setblocking(False)
        for listener in (tcp, path, abstract):
            listener.listen()
            listener.setblocking(False)
        settings = {"pool": str(POOL), "slots": "7", **mode.settings}
        runner = stack.enter_context(
            replace(mode, settings=settings).runner(folder, {"SERVICE_API_KEY": CANARY})
        )
        names = {
            "@PORT@": str(tcp.getsockname()[1]),
            "@SOCKET@": str(folder / "svc.sock"),
            "@DATAGRAMS@": str(folder / "mail.sock"),
            "@ABSTRACT@": name,
            "@CANARY_FILE@": str(canary_file),
            "@RUNNER@": runner.socket,
        }
        states = _check_mode(client.hello(runner.socket), mode)
        service = stack.enter_context(_service(folder, runner)) if mode.is_http else None
        bystander = stack.enter_context(
            service.session() if service else RunnerSession(runner.socket)
        )
        bystander.run(f"mine = {BYSTANDERS!r}")
        yield Bait(
            runner=runner,
            service=service,
            names=names,
            listeners=(tcp, path, abstract),
            mailbox=mailbox,
            shows_names=mode.who != "root" and states["private-mounts"] != "active",
            seconds=mode.seconds,
            bystander=bystander,
        )


def _service(folder: Path, runner: Runner) -> AbstractContextManager[HttpService]:
    """Start the service as `make local` does, its spare sessions counted."""
    return http_service(
        folder,
        runner.socket,
        settings={"spare_sessions": str(SPARE_SESSIONS)},
        environment={"SERVICE_API_KEY": CANARY},
    )


def _check_mode(hello: HelloEvent, mode: Mode) -> dict[str, str]:
    """Return the states of the protections, if they are those of the mode."""
    if not hello.is_safe:
        raise NotRun("this kernel cannot confine a session", is_kernel=True)
    found = {item.name: item for item in hello.protections}["namespaces"]
    if mode.needs_namespaces and found.state != "active":
        raise NotRun(f"this kernel gives no namespaces: {found.detail}", is_kernel=True)
    return {item.name: item.state for item in hello.protections}


def play(bait: Bait, case: AttackCase) -> Evidence:
    """Run the steps of a case, then look at what they left."""
    memory_before = bait.memory()
    runs, gleanings, meanwhile = _steps(bait, case)
    started = time.monotonic()
    answer = bait.answer()
    recovery_seconds = time.monotonic() - started
    left_over = _left_over(bait)
    return Evidence(
        runs=tuple(runs),
        gleanings=tuple(gleanings),
        bystander=(meanwhile, bait.bystander.run(_AS_EVER).done.result),
        was_bait_touched=bait.was_touched(),
        recovery_seconds=recovery_seconds,
        recovery_output=answer,
        left_over=left_over,
        memory_growth_bytes=bait.memory() - memory_before,
    )


def _steps(bait: Bait, case: AttackCase) -> tuple[list[CellRun], list[Gleaning], str | None]:
    """Sessions that stay open live until the end of the case."""
    runs, gleanings = [], []
    with ExitStack() as stack:
        current: ExitStack | None = None
        session: Session | None = None
        for step in case.steps:
            if step.kind == "new-session" and current is not None:
                current.close()
            if step.kind != "same-session" or session is None:
                current = stack.enter_context(ExitStack())
                session = current.enter_context(bait.session(is_streaming=case.is_streamed))
            runs.append(session.run(bait.fill_in(step.code), bait.seconds))
            if not runs[-1].done.session_ended:
                gleanings.append(_glean(session))
        meanwhile = bait.bystander.run(_AS_EVER).done.result
    return runs, gleanings, meanwhile


def _glean(session: Session) -> Gleaning:
    started = time.monotonic()
    listed = session.files()
    seconds = time.monotonic() - started
    small = [entry for entry in listed.entries if entry.size_bytes <= _READ_BYTES]
    contents = tuple((entry, session.read_file(entry.path)) for entry in small[:_READ_ENTRIES])
    return Gleaning(listed, seconds, contents)


def _left_over(bait: Bait) -> str:
    """Wait until only the zygote and the pool are there; return what else is, if it stays."""
    limit = time.monotonic() + _PATIENCE_SECONDS
    # The bystander's, and those that the service has opened ahead.
    held = 1 + (SPARE_SESSIONS if bait.service else 0)
    expected = 1 + _PROCESSES_OF_A_SESSION * (POOL + held)
    listener = psutil.Process(bait.runner.pid)
    while True:
        processes = len(listener.children(recursive=True))
        # One for each session, and the one for trying the protections.
        slots = len(list(bait.runner.slots_dir.glob("house-*/[!.]*/")))
        if processes == expected and slots <= POOL + held + 1:
            return ""
        if time.monotonic() > limit:
            return f"{processes} processes instead of {expected}, {slots} slots"
        time.sleep(0.01)
