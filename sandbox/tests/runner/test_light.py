"""What a run must have left behind so that its session is not put off, but ended at once."""

from collections.abc import Callable

import pytest
from sandbox_runner import client
from sandbox_runner.client import RunnerSession
from sandbox_runner.launch import RunnerProcess

StartRunner = Callable[..., RunnerProcess]

_MIB = 1 << 20


@pytest.mark.parametrize("code", ["6 * 7", "print('x')", "1 / 0", f"len(b'x' * {4 * _MIB})"])
def test_run_that_leaves_nothing_is_light(session: RunnerSession, code: str) -> None:
    assert session.run(code).done.is_light


@pytest.mark.parametrize(
    "code",
    [
        "open('f', 'w').close()",
        f"kept = b'x' * {40 * _MIB}",
        "import threading, time\nthreading.Thread(target=time.sleep, args=(9,)).start()",
        "while True: pass",
        "import os\nos._exit(0)",
    ],
)
def test_run_that_leaves_something_is_not(session: RunnerSession, code: str) -> None:
    assert not session.run(code, 0.5).done.is_light


def test_file_without_a_name_counts_where_the_slot_has_a_size(
    session: RunnerSession, runner: RunnerProcess
) -> None:
    states = {item.name: item.state for item in client.hello(runner.socket).protections}
    if states["disk-quota"] != "active":
        pytest.skip("here slots have no file system of their own")
    code = "import os\nf = open('f', 'wb')\nos.unlink('f')\nf.write(bytes(1 << 20))\nf.flush()"
    assert not session.run(code).done.is_light


def test_process_that_goes_on_counts(start_runner: StartRunner) -> None:
    runner = start_runner(pool="1", slots="2", subprocesses="1")
    if not client.hello(runner.socket).is_safe:
        pytest.skip("this kernel cannot confine a session")
    with RunnerSession(runner.socket) as session:
        assert session.run("1").done.is_light
        code = "import subprocess\np = subprocess.Popen(['sleep', '9'])"
        assert not session.run(code).done.is_light
