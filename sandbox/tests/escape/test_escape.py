"""Each attack in each mode of the runner: what it printed, how it ended, what is left."""

import os
import re
import socket
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from sandbox_runner import client
from sandbox_runner.client import CellRun, RunnerSession
from sandbox_runner.launch import RunnerProcess

pytestmark = [pytest.mark.escape, pytest.mark.timeout(120)]

CANARY = "canary-7731-SECRET"
CASES = sorted((Path(__file__).parent / "cases").glob("*.attack"))
STEP = re.compile(r"^#%% (\S+)\n", flags=re.MULTILINE)
SECONDS = 1.5
POOL = 2

# Settings of the runner by mode; the first is what everybody gets.
MODES: dict[str, dict[str, str]] = {
    "default": {},
    "subprocesses": {"subprocesses": "1"},
    "old-landlock": {"landlock_abi_max": "5", "namespaces": "0"},
    "old-landlock-subprocesses": {
        "landlock_abi_max": "5",
        "namespaces": "0",
        "subprocesses": "1",
    },
    "plain": {"namespaces": "0"},
    "plain-subprocesses": {"namespaces": "0", "subprocesses": "1"},
    "watched-disk": {"private_mounts": "1" if os.geteuid() == 0 else "0", "tmpfs": "0"},
}

# How a step may end where that is not simply "ok".
STATUSES: dict[str, tuple[set[str], ...]] = {
    "f05": ({"ok", "killed", "timeout"},),
    "f03": ({"ok", "timeout", "killed"},),
    "i01": ({"timeout"},),
    "i03": ({"error"}, {"ok"}, {"ok"}),
    "i05": ({"crashed"}, {"error"}, {"crashed"}, {"error"}, {"error"}),
    "i07": ({"crashed", "memory", "error", "timeout"},),
    "i11": ({"timeout"},),
    "i13": ({"error"},),
    "p02": ({"ok", "killed"},),
    "p04": ({"timeout"},),
    "p06": ({"timeout"},),
    "r01": ({"timeout", "memory", "killed"},),
    "r03": ({"ok", "memory", "timeout"},),
    "r05": ({"ok", "memory", "timeout", "killed"},),
    "r07": ({"timeout", "memory"},),
    "r13": ({"output"},),
    "r23": ({"timeout"},),
    "t01": ({"timeout", "killed"},),
    "r25": ({"error", "crashed", "memory", "timeout"},),
}

# Cases that must say SAFE somewhere, in the modes where they get to say anything.
MUST_SAY_SAFE = {
    *("f05", "i03", "i09", "k02", "k04", "k06", "n01", "n03", "n05", "n07", "p02"),
    *(
        "n09",
        "t03",
        "t05",
        "r09",
        "r11",
        "r17",
        "r19",
        "r21",
        "s01",
        "s03",
        "s05",
        "s07",
        "s09",
        "s11",
    ),
}


@dataclass(frozen=True)
class Bait:
    """What a case must not reach."""

    runner: RunnerProcess
    port: int
    socket: str
    datagrams: str
    abstract: str
    canary_file: Path
    listeners: tuple[socket.socket, ...]
    mailbox: socket.socket
    session_processes: int

    def fill_in(self, source: str) -> str:
        for name, value in (
            ("@PORT@", str(self.port)),
            ("@SOCKET@", self.socket),
            ("@DATAGRAMS@", self.datagrams),
            ("@ABSTRACT@", self.abstract),
            ("@CANARY_FILE@", str(self.canary_file)),
        ):
            source = source.replace(name, value)
        return source

    def was_touched(self) -> bool:
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


@pytest.fixture(scope="module", params=MODES)
def bait(request: pytest.FixtureRequest) -> Iterator[Bait]:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="escape-")))
        canary_file = folder / "secret.txt"
        canary_file.write_text(CANARY)
        canary_file.chmod(0o644)
        tcp, path, abstract = (
            stack.enter_context(socket.socket(family, socket.SOCK_STREAM))
            for family in (socket.AF_INET, socket.AF_UNIX, socket.AF_UNIX)
        )
        tcp.bind(("127.0.0.1", 0))
        path.bind(str(folder / "svc.sock"))
        name = f"bait-{os.getpid()}-{request.param}"
        abstract.bind("\0" + name)
        mailbox = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
        mailbox.bind(str(folder / "mail.sock"))
        (folder / "mail.sock").chmod(0o777)
        mailbox.setblocking(False)
        for listener in (tcp, path, abstract):
            listener.listen()
            listener.setblocking(False)
        runner = stack.enter_context(
            RunnerProcess(
                folder,
                settings={"pool": str(POOL), "slots": "6", **MODES[request.param]},
                environment={"SERVICE_API_KEY": CANARY},
            )
        )
        hello = client.hello(runner.socket)
        if not hello.is_safe:
            pytest.skip("this kernel cannot confine a session")
        states = {item.name: item.state for item in hello.protections}
        yield Bait(
            runner,
            tcp.getsockname()[1],
            str(folder / "svc.sock"),
            str(folder / "mail.sock"),
            name,
            canary_file,
            (tcp, path, abstract),
            mailbox,
            3 if states["namespaces"] == "active" else 2,
        )


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.stem)
def test_attack_is_held(bait: Bait, case: Path) -> None:
    source = bait.fill_in(case.read_text(encoding="utf-8"))
    memory_before = _listener_memory(bait)
    runs = _play(bait, source)
    said = b"".join(run.stdout + run.stderr for run in runs).decode("utf-8", "replace")
    words = said + "".join(f"{run.done.result} {run.done.error}" for run in runs)
    statuses = STATUSES.get(case.stem[:3], ({"ok"},) * len(runs))
    assert "PWNED" not in words
    assert CANARY not in words
    assert "root:" not in words
    assert len(runs) == len(statuses)
    for run, allowed in zip(runs, statuses, strict=True):
        assert run.done.status in allowed, run
        assert "FORGED" not in f"{run.done.result} {run.done.error}"
        assert run.done.duration_ms < SECONDS * 1000 + 2000  # the machine may be busy
        assert len(run.stdout) <= 1 << 20
    # A session that was ended may not have come to say it.
    if case.stem[:3] in MUST_SAY_SAFE and not any(run.done.session_ended for run in runs):
        assert "SAFE" in said
    assert not bait.was_touched()
    _everything_is_as_before(bait, memory_before)


def test_two_fresh_sessions_do_not_share_random_state(bait: Bait) -> None:
    source = (Path(__file__).parent / "cases/i15_same_random_after_fork.attack").read_text()
    first, second = _play(bait, source)
    assert first.stdout != second.stdout


def test_exits_are_reported_truthfully(bait: Bait) -> None:
    source = (Path(__file__).parent / "cases/i05_exit_paths.attack").read_text()
    exited, left, aborted, interrupted, evil = (run.done for run in _play(bait, source))
    assert (exited.exit_code, exited.signal, exited.result) == (0, None, None)
    assert left.error is not None
    assert left.error.type == "SystemExit"
    assert aborted.signal == "SIGABRT"
    assert interrupted.error is not None
    assert interrupted.error.type == "KeyboardInterrupt"
    assert evil.error is not None
    assert evil.error.type == "E"


def _play(bait: Bait, source: str) -> list[CellRun]:
    """Run the steps of a case; sessions that stay open live until its end."""
    parts = STEP.split(source)
    kinds = ["new-session", *parts[1::2]]
    runs = []
    with ExitStack() as stack:
        current: ExitStack | None = None
        session: RunnerSession | None = None
        for kind, code in zip(kinds, parts[0::2], strict=True):
            if kind == "new-session" and current is not None:
                current.close()
            if kind != "same-session" or session is None:
                current = stack.enter_context(ExitStack())
                session = current.enter_context(RunnerSession(bait.runner.socket))
            runs.append(session.run(code, SECONDS))
    return runs


def _everything_is_as_before(bait: Bait, memory_before: int) -> None:
    started = time.monotonic()
    with RunnerSession(bait.runner.socket) as session:
        assert session.run("print(6*7)").stdout == b"42\n"
    assert time.monotonic() - started < 1.0
    # A zygote, and a warden, a worker and maybe an init for each session of the pool.
    expected = 1 + bait.session_processes * POOL
    limit = time.monotonic() + 30  # five thousand folders in each other take a while
    while len(psutil.Process(bait.runner.pid).children(recursive=True)) != expected:
        assert time.monotonic() < limit, "a process is left"
        time.sleep(0.01)
    # One for each session of the pool, and the one in which the protections were tried out.
    while len(list(bait.runner.slots_dir.glob("house-*/[!.]*/"))) > POOL + 1:
        assert time.monotonic() < limit, "a slot is left"
        time.sleep(0.01)
    assert _listener_memory(bait) - memory_before < 32 << 20


def _listener_memory(bait: Bait) -> int:
    return int(psutil.Process(bait.runner.pid).memory_info().rss)
