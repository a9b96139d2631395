"""What is left when a part of the chain is killed: nothing, and the rest goes on."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from sandbox_runner import client
from sandbox_runner.client import RunnerSession
from sandbox_runner.launch import RunnerProcess
from sandbox_support.session_processes import warden_of, worker_of

StartRunner = Callable[..., RunnerProcess]


@pytest.fixture(params=["1", "0"], ids=["namespaces", "plain"])
def fresh(request: pytest.FixtureRequest, start_runner: StartRunner) -> RunnerProcess:
    runner = start_runner(pool="1", slots="4", namespaces=request.param)
    if not client.hello(runner.socket).is_safe:
        pytest.skip("this kernel cannot confine a session")
    return runner


def _answers(runner: RunnerProcess) -> None:
    """Open sessions until one runs: one that was ready goes down with the zygote it came from."""

    def is_answered() -> bool:
        try:
            with RunnerSession(runner.socket) as session:
                assert session.run("print(6 * 7)").stdout == b"42\n"
        except ConnectionError:
            return False
        return True

    _wait_until(is_answered)


def _zygote(runner: RunnerProcess) -> psutil.Process:
    return next(iter(psutil.Process(runner.pid).children()))


def _tree(runner: RunnerProcess) -> list[psutil.Process]:
    return psutil.Process(runner.pid).children(recursive=True)


def _wait_until(condition: Callable[[], bool], seconds: float = 8.0) -> None:
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit, "it did not come to pass in time"
        time.sleep(0.01)


def _all_gone(processes: list[psutil.Process]) -> bool:
    return not any(_is_alive(process) for process in processes)


def _is_alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:  # between the two questions
        return False


def test_killed_worker_ends_its_session_with_the_truth(fresh: RunnerProcess) -> None:
    with RunnerSession(fresh.socket) as session:
        worker = worker_of(fresh, session)
        session.start("print(1)\nwhile True: pass", 20)
        session.wait_for_output(b"\n")
        worker.kill()
        done = session.finish().done
    assert (done.status, done.signal, done.session_ended) == ("killed", "SIGKILL", True)
    _answers(fresh)


def test_worker_killed_between_runs_is_said_at_the_next(fresh: RunnerProcess) -> None:
    with RunnerSession(fresh.socket) as session:
        worker = worker_of(fresh, session)
        worker.kill()
        _wait_until(lambda: worker.status() == psutil.STATUS_ZOMBIE)
        done = session.run("1").done
    assert (done.status, done.session_ended) == ("killed", True)


def test_killed_warden_leaves_no_worker(fresh: RunnerProcess) -> None:
    session = RunnerSession(fresh.socket)
    worker = worker_of(fresh, session)
    warden = warden_of(worker)
    session.start("print(1)\nwhile True: pass", 20)
    session.wait_for_output(b"\n")
    below = warden.children(recursive=True)
    warden.kill()
    with pytest.raises((EOFError, ConnectionResetError)):
        session.finish()
    session.hang_up()
    _wait_until(lambda: _all_gone([warden, *below]))
    _answers(fresh)


def test_killed_zygote_is_replaced_and_live_sessions_go_on(fresh: RunnerProcess) -> None:
    with RunnerSession(fresh.socket) as session:
        session.run("x = 1")
        old = _zygote(fresh)
        old.kill()
        assert session.run("x").done.result == "1"
        _wait_until(lambda: _all_gone([old]))
        for _ in range(3):
            _answers(fresh)
        assert session.run("x + 1").done.result == "2"


def test_killed_listener_leaves_nothing(fresh: RunnerProcess) -> None:
    session = RunnerSession(fresh.socket)
    session.start("print(1)\nwhile True: pass", 60)
    session.wait_for_output(b"1")
    processes = _tree(fresh)
    assert len(processes) >= 3
    fresh.process.kill()
    fresh.process.wait(10)
    session.hang_up()
    _wait_until(lambda: _all_gone(processes))


def test_sigterm_ends_everything_and_wipes_the_slots(fresh: RunnerProcess) -> None:
    session = RunnerSession(fresh.socket)
    session.run("open('f', 'w').write('x')")
    session.start("print(1)\nwhile True: pass", 60)
    session.wait_for_output(b"1")
    processes = _tree(fresh)
    assert fresh.stop() == 0
    session.hang_up()
    assert _all_gone(processes)
    assert not list(fresh.slots_dir.glob("house-*"))
    assert not Path(fresh.socket).exists()


def test_slots_of_a_killed_runner_are_wiped_by_the_next(start_runner: StartRunner) -> None:
    first = start_runner(pool="1", tmpfs="0", private_mounts="1" if os.geteuid() == 0 else "0")
    with RunnerSession(first.socket) as session:
        session.run("open('left', 'w').write('x')")
        first.process.kill()
        first.process.wait(10)
    assert list(first.slots_dir.glob("house-*/*/left"))
    with RunnerProcess(first.folder, settings={"pool": "1"}) as second:
        client.hello(second.socket)
        assert not list(first.slots_dir.glob("house-*/*/left"))
        _answers(second)


@pytest.mark.parametrize("victim", ["warden", "zygote-and-warden", "listener"])
def test_subprocesses_never_outlive_their_session(start_runner: StartRunner, victim: str) -> None:
    runner = start_runner(pool="1", subprocesses="1")
    session = RunnerSession(runner.socket)
    code = (
        "import os, time\nfor i in range(3):\n    if os.fork() == 0:\n        os.setsid()\n"
        "        if os.fork() == 0: time.sleep(600)\n        os._exit(0)\n"
        "    os.wait()\nprint(1)\ntime.sleep(600)"
    )
    warden = warden_of(worker_of(runner, session))
    idle = len(warden.children(recursive=True))
    session.start(code, 60)
    session.wait_for_output(b"\n")
    below = warden.children(recursive=True)
    assert len(below) == idle + 3
    if victim == "listener":
        runner.process.kill()
        runner.process.wait(10)
    else:
        if victim == "zygote-and-warden":
            _zygote(runner).kill()
        warden.kill()
    session.hang_up()
    _wait_until(lambda: _all_gone([warden, *below]))
    if victim != "listener":
        _answers(runner)


def test_zygote_that_is_killed_before_it_is_ready_is_started_again_each_time(
    start_runner: StartRunner,
) -> None:
    runner = start_runner(pool="0", slots="4")  # so that it has no other children
    killed: set[int] = set()

    def kill_the_next() -> bool:
        for zygote in psutil.Process(runner.pid).children():
            if zygote.pid not in killed:
                killed.add(zygote.pid)
                zygote.kill()
                return True
        return False

    for _ in range(6):
        _wait_until(kill_the_next)
    _answers(runner)


def test_killed_warden_that_outlived_its_zygote_is_told_of(fresh: RunnerProcess) -> None:
    with RunnerSession(fresh.socket) as session:
        warden = warden_of(worker_of(fresh, session))
        zygote = _zygote(fresh)
        zygote.kill()
        _wait_until(lambda: not _is_alive(zygote))
        assert session.run("6 * 7").done.result == "42"
        assert b"warden.killed" not in fresh.log.read_bytes()
        warden.kill()
        _wait_until(lambda: b"warden.killed" in fresh.log.read_bytes())
    _answers(fresh)


@pytest.mark.parametrize(
    ("name", "status"), [("SIGKILL", "killed"), ("SIGSEGV", "crashed"), ("SIGABRT", "crashed")]
)
def test_worker_that_kills_itself_is_told_truly(
    fresh: RunnerProcess, name: str, status: str
) -> None:
    with RunnerSession(fresh.socket) as session:
        done = session.run(f"import os, signal\nos.kill(os.getpid(), signal.{name})").done
    assert (done.status, done.signal, done.session_ended) == (status, name, True)
    _answers(fresh)
