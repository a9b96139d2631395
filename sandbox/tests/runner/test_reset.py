"""A reset gives a session a fresh interpreter and leaves it all else."""

import time

import pytest
from sandbox_runner.client import RunnerSession
from sandbox_runner.launch import RunnerProcess
from sandbox_runner.protocol import Cancel, Done, Limits, Reset, ResetDone, Run
from sandbox_support.session_processes import warden_of, worker_of


def test_variables_go_and_files_stay(session: RunnerSession) -> None:
    session.run("x = 1\nopen('kept', 'w').write('still here')")
    session.reset()
    error = session.run("x").done.error
    assert error is not None
    assert error.type == "NameError"
    assert session.run("open('kept').read()").done.result == "'still here'"


def test_fresh_interpreter_is_another_process_and_the_former_is_gone(
    runner: RunnerProcess, session: RunnerSession
) -> None:
    former = worker_of(runner, session)
    session.reset()
    assert worker_of(runner, session).pid != former.pid
    # Dead by now in any case; the warden reaps it.
    former.wait(timeout=5)


def test_poisoned_interpreter_is_whole_again(session: RunnerSession) -> None:
    session.run("import sys, os\nfor name in list(sys.modules): sys.modules[name] = None")
    session.run("os.close(1); os.close(2)")
    session.reset()
    run = session.run("import json\nprint(json.dumps([6 * 7]))")
    assert (run.stdout, run.done.status) == (b"[42]\n", "ok")


def test_limits_stay(runner: RunnerProcess) -> None:
    hog = "x = []\nwhile True: x.append(b'x' * (1 << 20))"
    limits = Limits(memory_bytes=32 << 20, output_bytes=2048)
    with RunnerSession(runner.socket, limits=limits) as session:
        session.reset()
        assert len(session.run("print('x' * 5000)").stdout) == 2048
        done = session.run(hog).done
    assert done.status == "memory" or (done.error and done.error.type == "MemoryError")


def test_confinement_stays(session: RunnerSession) -> None:
    session.reset()
    run = session.run("open('/etc/passwd').read()")
    assert run.done.error is not None
    assert run.done.error.type in {"PermissionError", "FileNotFoundError"}
    assert session.run("import os\nos.getuid() != 0").done.result == "True"
    code = (
        "import os\nfound = []\nfor fd in range(4096):\n    try: os.fstat(fd); found.append(fd)\n"
        "    except OSError: pass\nfound"
    )
    assert session.run(code).done.result == "[0, 1, 2, 3]"


def test_package_set_stays(runner: RunnerProcess) -> None:
    folder = runner.packages_dir / "sets" / "one"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "our_module.py").write_text("value = 11")
    with RunnerSession(runner.socket, package_path=str(folder)) as session:
        session.reset()
        assert session.run("import our_module\nour_module.value").done.result == "11"


def test_what_comes_while_packages_come_back_waits_for_its_turn(runner: RunnerProcess) -> None:
    folder = runner.packages_dir / "sets" / "two"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "our_other.py").write_text("value = 12")
    with RunnerSession(runner.socket, package_path=str(folder)) as session:
        for request in (Reset(), Reset(), Cancel(), Run("1", "import our_other", 5.0), Reset()):
            session.send(request)
        kinds = [type(session.next_event()) for _ in range(4)]
        assert kinds == [ResetDone, ResetDone, Done, ResetDone]
        assert session.run("import our_other\nour_other.value").done.result == "12"


def test_running_cell_is_cancelled_and_the_session_lives(session: RunnerSession) -> None:
    session.start("print('on')\nwhile True: pass", 20)
    session.wait_for_output(b"on")
    session.send(Reset())
    ended, answer = session.next_event(), session.next_event()
    assert isinstance(ended, Done)
    assert (ended.status, ended.session_ended) == ("cancelled", False)
    assert isinstance(answer, ResetDone)
    assert session.run("6 * 7").done.result == "42"


def test_random_state_is_new(session: RunnerSession) -> None:
    code = "import random\nrandom.random()"
    first = session.run(code).done.result
    session.reset()
    assert session.run(code).done.result != first


def test_many_resets_leave_nothing_behind(runner: RunnerProcess, session: RunnerSession) -> None:
    warden = warden_of(worker_of(runner, session))
    session.reset()
    descriptors = warden.num_fds()
    processes = len(warden.children(recursive=True))
    for _ in range(20):
        session.reset()
    assert warden.num_fds() == descriptors
    assert len(warden.children(recursive=True)) == processes <= 2
    assert session.run("6 * 7").done.result == "42"


@pytest.mark.parametrize("when", ["idle", "killed"])
def test_reset_is_quick(runner: RunnerProcess, session: RunnerSession, when: str) -> None:
    if when == "killed":
        worker_of(runner, session).kill()
    started = time.monotonic()
    session.reset()
    assert time.monotonic() - started < 1.0, "10 ms on an idle machine"
    assert session.run("6 * 7").done.result == "42"
