"""Sessions in namespaces of their own: what they see, and what is said where there are none."""

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psutil
import pytest
from sandbox_runner import client
from sandbox_runner.client import RunnerSession
from sandbox_runner.launch import RunnerProcess
from sandbox_runner.policy import PathRule
from sandbox_runner.protocol import Protection
from sandbox_runner.view import Piece, plan
from sandbox_support.session_processes import warden_of, worker_of
from sandbox_support.user_runner import user_runner

StartRunner = Callable[..., RunnerProcess]

only_root_can_look = pytest.mark.skipif(
    os.geteuid() != 0, reason="a worker's namespaces are shown to root alone"
)


def _protections(runner: RunnerProcess) -> dict[str, Protection]:
    return {item.name: item for item in client.hello(runner.socket).protections}


def _namespace(pid: int, kind: str) -> str:
    return str(Path(f"/proc/{pid}/ns/{kind}").readlink())


@contextmanager
def _runner_of_user(*, may_have_namespaces: bool) -> Iterator[RunnerProcess]:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="user-")))
        settings = {"pool": "1", "slots": "2"}
        yield stack.enter_context(
            user_runner(folder, may_have_namespaces=may_have_namespaces, settings=settings)
        )


@pytest.fixture(scope="module", params=["as-i-am", "as-user"])
def shut_in(request: pytest.FixtureRequest, start_runner: StartRunner) -> Iterator[RunnerProcess]:
    with ExitStack() as stack:
        if request.param == "as-i-am":
            runner = start_runner(pool="1", slots="2", subprocesses="1")
        else:
            runner = stack.enter_context(_runner_of_user(may_have_namespaces=True))
        found = _protections(runner)["namespaces"]
        if found.state != "active":
            pytest.skip(f"this kernel gives no namespaces: {found.detail}")
        yield runner


def test_session_sees_a_narrow_root_and_its_folder(shut_in: RunnerProcess) -> None:
    code = "import os\n[p for p in ('/sys', '/boot', '/proc/1', '/proc/self', '/proc/stat')"
    code += " if os.path.exists(p)]"
    with RunnerSession(shut_in.socket) as session:
        assert session.run(code).done.result == "[]"
        assert session.run("os.getcwd(), os.environ['HOME']").done.result == (
            "('/session', '/session')"
        )


@only_root_can_look
def test_session_has_processes_names_and_network_of_its_own(shut_in: RunnerProcess) -> None:
    with RunnerSession(shut_in.socket) as session:
        assert session.run("import os\nos.getpid(), os.getppid()").done.result == "(2, 1)"
        assert session.run("os.uname().nodename").done.result == "'sandbox'"
        worker = worker_of(shut_in, session)
        warden = warden_of(worker)
        for kind in ("user", "pid", "net", "ipc", "uts", "mnt"):
            assert _namespace(worker.pid, kind) != _namespace(os.getpid(), kind)
        assert worker.username() == warden.username()
        status = Path(f"/proc/{worker.pid}/status").read_text()
        for name in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
            assert f"{name}:\t0000000000000000" in status
        status = Path(f"/proc/{warden.pid}/status").read_text()
        assert "CapEff:\t0000000000000000" in status


@only_root_can_look
def test_two_sessions_share_no_namespace(shut_in: RunnerProcess) -> None:
    with RunnerSession(shut_in.socket) as one, RunnerSession(shut_in.socket) as other:
        pids = [worker_of(shut_in, session).pid for session in (one, other)]
        for kind in ("user", "pid", "net", "ipc", "uts", "mnt"):
            first, second = (_namespace(pid, kind) for pid in pids)
            assert first != second


def test_files_and_late_imports_work_in_the_narrow_root(shut_in: RunnerProcess) -> None:
    code = "import xml.dom.minidom, sqlite3, ssl, lzma, zoneinfo, ctypes.util, decimal\n"
    code += "open('f', 'w').write('x' * 9)\nimport tempfile\ntempfile.gettempdir()"
    with RunnerSession(shut_in.socket) as session:
        run = session.run(code)
        assert run.done.error is None
        assert run.done.result == "'/session'"
        assert session.run("open('f').read()").done.result == repr("x" * 9)


def test_process_one_is_beyond_the_reach_of_its_session(shut_in: RunnerProcess) -> None:
    code = "import os, signal\nfor n in (9, 15, 19, 2):\n    try: os.kill(1, n)\n"
    code += "    except OSError as error: print(type(error).__name__)\nprint('on')"
    with RunnerSession(shut_in.socket) as session:
        assert session.run(code).stdout.endswith(b"on\n")
        assert session.run("1 + 1").done.result == "2"


def test_no_signal_takes_the_warden_s_time_where_landlock_keeps_none(
    start_runner: StartRunner,
) -> None:
    runner = start_runner(pool="1", slots="2", subprocesses="1", landlock_abi_max="5")
    if _protections(runner)["namespaces"].state != "active":
        pytest.skip("this kernel gives no namespaces")
    flood = """
import os, time
until, sent = time.monotonic() + 0.8, 0
while time.monotonic() < until:
    for number in set(range(1, 65)) - {18}:  # that one is refused
        os.kill(1, number)
        sent += 1
sent > 1000
"""
    with RunnerSession(runner.socket) as session:
        warden = warden_of(worker_of(runner, session))
        before = warden.cpu_times()
        assert session.run(flood).done.result == "True"
        after = warden.cpu_times()
        assert session.run("6 * 7").done.result == "42"
        # What reaches process 1 from inside is what it has a handler for.
        status = Path(f"/proc/{warden.pid}/status").read_text()
        assert "SigCgt:\t0000000000000000" in status
    assert after.user + after.system - before.user - before.system < 0.3


@only_root_can_look
def test_wardens_and_workers_hold_what_they_need_and_no_more(start_runner: StartRunner) -> None:
    runner = start_runner(pool="1", slots="4")
    with RunnerSession(runner.socket) as session:
        worker = worker_of(runner, session)
        session.reset()
        worker = worker_of(runner, session)
        warden = warden_of(worker)
        assert _descriptors(worker) == {0, 1, 2, 3}
        held = {name.split(":")[0] for name in _names(warden)}
        assert held <= {
            *("/dev/null", str(runner.log), "socket", "pipe", "anon_inode"),
            *(name for name in held if name.startswith(str(runner.slots_dir))),
            f"/proc/{worker.pid}/status",
        }
        # The one to the listener, the client's, and the worker's line.
        assert sum(name.startswith("socket") for name in _names(warden)) == 3


@only_root_can_look
def test_zygote_holds_no_more_after_many_sessions(start_runner: StartRunner) -> None:
    runner = start_runner(pool="1", slots="4")
    (zygote,) = psutil.Process(runner.pid).children()
    before = _at_rest(zygote)
    for _ in range(20):
        with RunnerSession(runner.socket) as session:
            session.run("1")
    assert _at_rest(zygote) == before


def _at_rest(process: psutil.Process) -> set[int]:
    """Return a process's descriptors when they have been the same for a while."""
    seen = [_descriptors(process)]
    while seen[-10:].count(seen[-1]) < 10:
        time.sleep(0.05)
        seen.append(_descriptors(process))
        assert len(seen) < 400, "it is never at rest"
    return seen[-1]


def _descriptors(process: psutil.Process) -> set[int]:
    return {int(entry.name) for entry in Path(f"/proc/{process.pid}/fd").iterdir()}


def _names(process: psutil.Process) -> list[str]:
    return [str(entry.readlink()) for entry in Path(f"/proc/{process.pid}/fd").iterdir()]


def test_refused_namespaces_are_said_with_the_reason_and_sessions_still_work() -> None:
    with _runner_of_user(may_have_namespaces=False) as runner:
        found = _protections(runner)
        assert found["namespaces"].state == "unavailable"
        assert "mounts" in found["namespaces"].detail
        assert found["private-mounts"].state == "unavailable"
        assert found["disk-quota"].state == "degraded"
        assert found["landlock"].state == "active"
        with RunnerSession(runner.socket) as session:
            assert session.run("6 * 7").done.result == "42"
            assert session.run("import os\nos.getpid() > 2").done.result == "True"


def test_namespaces_can_be_switched_off(start_runner: StartRunner) -> None:
    runner = start_runner(pool="1", slots="2", namespaces="0")
    assert _protections(runner)["namespaces"].state == "disabled"


def test_view_leaves_nothing_on_the_machine(start_runner: StartRunner) -> None:
    runner = start_runner(pool="1", slots="2")
    assert ".view" not in Path("/proc/self/mounts").read_text()
    assert all(not list(view.iterdir()) for view in runner.slots_dir.glob("house-*/.view"))
    assert runner.stop() == 0
    assert not list(runner.slots_dir.glob("house-*"))


def test_view_holds_each_path_once_under_both_its_names() -> None:
    links = {"/lib": "/usr/lib", "/opt/py": "/data/py", "/etc/alternatives": None}
    rules = [PathRule(p) for p in ("/lib", "/usr/lib", "/usr/lib/python3", "/opt/py")]
    rules.append(PathRule("/dev/null", is_writable=True))
    pieces = plan(rules, lambda path: links.get(path, path))
    assert set(pieces) == {
        Piece("/usr/lib", "/lib"),
        Piece("/usr/lib", "/usr/lib"),
        Piece("/data/py", "/opt/py"),
        Piece("/data/py", "/data/py"),
        Piece("/dev/null", "/dev/null", is_writable=True),
    }


def test_writable_folder_in_a_readable_one_is_a_piece_of_its_own() -> None:
    rules = [PathRule("/a"), PathRule("/a/b", is_writable=True), PathRule("/a/b/c")]
    assert plan(rules, lambda path: None if path.startswith("/etc") else path) == (
        Piece("/a", "/a"),
        Piece("/a/b", "/a/b", is_writable=True),
    )


def test_trials_at_start_leave_no_process(start_runner: StartRunner) -> None:
    runner = start_runner(pool="0", slots="1")
    client.hello(runner.socket)  # the trials are over then
    (zygote,) = psutil.Process(runner.pid).children()
    assert zygote.children(recursive=True) == []


def test_mounts_that_a_setting_takes_away_are_said_to_be_so(start_runner: StartRunner) -> None:
    # As root the interpreter may be out of an ordinary user's reach without them.
    mounts = "1" if os.geteuid() == 0 else "0"
    found = _protections(start_runner(pool="1", slots="2", private_mounts=mounts, tmpfs="0"))
    assert found["private-mounts"].state == ("active" if mounts == "1" else "disabled")
    assert found["disk-quota"].state == "degraded"
    assert "setting" in found["disk-quota"].detail
