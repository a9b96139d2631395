"""What ends a cell, and what its end leaves."""

import os
import time
from collections.abc import Callable

import pytest
from sandbox_runner.client import RefusedError, RunnerSession, hello
from sandbox_runner.launch import RunnerProcess
from sandbox_runner.protocol import Limits
from sandbox_support.session_processes import warden_of, worker_of


def test_spinning_cell_is_killed_soon_after_its_limit(session: RunnerSession) -> None:
    started = time.monotonic()
    done = session.run("while True: pass", 0.5).done
    late = time.monotonic() - started - 0.5
    assert (done.status, done.session_ended) == ("timeout", True)
    assert done.kill_ms is not None
    assert late < 0.25, "20 ms on an idle machine"


def test_time_to_kill_counts_from_the_limit(runner: RunnerProcess) -> None:
    with RunnerSession(runner.socket) as session:
        warden = warden_of(worker_of(runner, session))
        session.start("print(1)\nwhile True: pass", 0.3)
        session.wait_for_output(b"\n")
        warden.suspend()
        time.sleep(0.8)
        warden.resume()
        done = session.finish().done
    assert done.status == "timeout"
    assert done.kill_ms is not None
    assert done.kill_ms > 300


def test_sleeping_cell_is_killed_at_its_limit(session: RunnerSession) -> None:
    assert session.run("import time\ntime.sleep(60)", 0.3).done.status == "timeout"


def test_what_was_printed_before_the_limit_is_kept(session: RunnerSession) -> None:
    assert session.run("print('so far')\nwhile True: pass", 0.3).stdout == b"so far\n"


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_line_without_an_end_that_was_printed_before_the_limit_is_kept(
    session: RunnerSession, stream: str
) -> None:
    code = f"import sys\nprint('so', 'far', end='', file=sys.{stream})\nwhile True: pass"
    run = session.run(code, 0.3)
    assert run.done.status == "timeout"
    assert getattr(run, stream) == b"so far"


# A process is told to stop, and its threads write for a moment more.
_TALKERS = """
import os, threading
def talk():
    while True: os.write(1, b"late ")
for _ in range(20): threading.Thread(target=talk, daemon=True).start()
"""


def test_output_after_the_end_of_a_run_is_nobodys(runner: RunnerProcess) -> None:
    packages = runner.packages_dir / "sets" / "of-talkers"
    packages.mkdir(parents=True, exist_ok=True)
    for _ in range(12):
        with RunnerSession(runner.socket) as session:
            run = session.run(_TALKERS)
            # A file's list, packages and a reset are answered with nothing before the answer.
            session.files()
            session.use_packages(str(packages))
            session.reset()
            assert session.output == run.stdout


def test_memory_of_a_session_is_bounded(runner: RunnerProcess) -> None:
    with RunnerSession(runner.socket, limits=Limits(memory_bytes=64 << 20)) as session:
        done = session.run("x = []\nwhile True: x.append(bytes(1 << 20))").done
    assert done.status == "memory" or (done.error and done.error.type == "MemoryError")


def test_shared_memory_that_no_count_would_see_is_refused(session: RunnerSession) -> None:
    code = "import mmap\nm = mmap.mmap(-1, 13)\nm.write(b'Hello world!')\nm[:5]"
    assert session.run(code).done.result == "b'Hello'"
    error = session.run("mmap.mmap(-1, 200 << 20)").done.error
    assert error is not None
    assert (error.type, error.message) == ("OSError", "[Errno 12] Cannot allocate memory")


def test_memory_of_a_map_counts_too(runner: RunnerProcess) -> None:
    code = (
        "import mmap\nm = mmap.mmap(-1, 200 << 20, flags=mmap.MAP_PRIVATE)\n"
        "for i in range(0, len(m), 4096): m[i] = 1"
    )
    with RunnerSession(runner.socket, limits=Limits(memory_bytes=64 << 20)) as session:
        assert session.run(code).done.status == "memory"


def test_peak_memory_is_reported(session: RunnerSession) -> None:
    assert session.run("x = b'x' * (50 << 20)").done.peak_memory_bytes > 50 << 20


def test_memory_is_looked_at_when_a_run_ends(runner: RunnerProcess) -> None:
    with RunnerSession(runner.socket, limits=Limits(memory_bytes=16 << 20)) as session:
        done = session.run("x = bytearray(b'x') * (40 << 20)").done
    assert (done.status, done.session_ended) == ("memory", True), done


def test_threads_are_counted_when_a_run_ends(runner: RunnerProcess) -> None:
    threads = (
        "import threading, time\n"
        "for _ in range(9): threading.Thread(target=time.sleep, args=(9,), daemon=True).start()"
    )
    with RunnerSession(runner.socket, limits=Limits(processes=4)) as session:
        done = session.run(threads).done
    assert done.error is not None, done
    assert (done.status, done.error.type) == ("killed", "ProcessLimit")


def test_threads_that_were_waited_for_count_no_longer(runner: RunnerProcess) -> None:
    threads = (
        "import threading\nmany = [threading.Thread(target=int) for _ in range(40)]\n"
        "for each in many: each.start()\nfor each in many: each.join()"
    )
    with RunnerSession(runner.socket, limits=Limits(processes=41)) as session:
        for _ in range(20):
            assert session.run(threads).done.status == "ok"


def test_output_beyond_the_cap_is_counted(runner: RunnerProcess) -> None:
    with RunnerSession(runner.socket, limits=Limits(output_bytes=1000)) as session:
        run = session.run("print('x' * 4999)")
        assert (len(run.stdout), run.done.stdout_dropped) == (1000, 4000)
        assert run.done.status == "ok"
        assert session.run("print('y')").stdout == b"y\n"


def test_flood_is_ended(session: RunnerSession) -> None:
    run = session.run("while True: print('A' * 65535)")
    assert run.done.status == "output"
    assert len(run.stdout) == 1 << 20
    assert run.done.stdout_dropped > 0


def test_file_over_its_limit_is_refused_and_the_session_lives(runner: RunnerProcess) -> None:
    with RunnerSession(runner.socket, limits=Limits(file_bytes=1 << 20)) as session:
        error = session.run("open('f', 'wb').write(bytes(2 << 20))").done.error
        assert error is not None
        assert error.type == "OSError"
        assert session.run("1").done.result == "1"


def test_sum_of_files_is_bounded(runner: RunnerProcess) -> None:
    limits = Limits(file_bytes=1 << 20, disk_bytes=4 << 20)
    code = "for i in range(50):\n    with open(f'f{i}', 'wb') as f: f.write(bytes(1 << 20))"
    with RunnerSession(runner.socket, limits=limits) as session:
        done = session.run(code).done
    assert done.error is not None
    assert done.error.type in {"OSError", "DiskLimit"}


def test_thread_bomb_is_bounded_and_others_can_still_start_threads(runner: RunnerProcess) -> None:
    bomb = (
        "import threading, time\nn = 0\ntry:\n    while n < 5000:\n"
        "        threading.Thread(target=time.sleep, args=(9,), daemon=True).start(); n += 1\n"
        "except RuntimeError: pass\nn"
    )
    thread = "import threading\nt = threading.Thread(target=print, args=(1,)); t.start(); t.join()"
    with RunnerSession(runner.socket) as first, RunnerSession(runner.socket) as second:
        done = first.run(bomb).done
        assert done.status == "killed" or int(done.result or "5000") < 500
        assert second.run(thread).stdout == b"1\n"


def test_nothing_runs_between_cells(session: RunnerSession) -> None:
    session.run(
        "import threading\nn = 0\ndef count():\n    global n\n    while True: n += 1\n"
        "threading.Thread(target=count, daemon=True).start()"
    )
    before = session.run("import time\nn, time.process_time()").done.result
    time.sleep(0.3)
    after = session.run("n, time.process_time()").done.result
    assert before is not None
    assert after is not None
    assert float(after.split(",")[1].strip(" )")) - float(before.split(",")[1].strip(" )")) < 0.15


def test_cancel_ends_the_run_and_the_session(session: RunnerSession) -> None:
    session.start("print('on')\nwhile True: pass", 20)
    session.wait_for_output(b"on")
    session.cancel()
    done = session.finish().done
    assert (done.status, done.session_ended) == ("cancelled", True)


def test_hang_up_ends_the_session_and_frees_its_slot(runner: RunnerProcess) -> None:
    _wait_until(lambda: _free_slots(runner) == 8)
    session = RunnerSession(runner.socket)
    worker = worker_of(runner, session)
    session.start("print(1)\nwhile True: pass", 20)
    session.wait_for_output(b"\n")
    session.hang_up()
    _wait_until(lambda: not worker.is_running())
    _wait_until(lambda: _free_slots(runner) == 8)


def test_close_ends_the_session(runner: RunnerProcess) -> None:
    session = RunnerSession(runner.socket)
    session.run("1")
    session.close()


def test_limit_over_the_bound_is_refused(runner: RunnerProcess) -> None:
    with pytest.raises(RefusedError, match="bad-request: memory_bytes"):
        RunnerSession(runner.socket, limits=Limits(memory_bytes=1 << 50))


def test_run_may_lower_the_memory_of_its_session(session: RunnerSession) -> None:
    hog = "x = []\nfor i in range(100): x.append(b'x' * (1 << 20))"
    small = Limits(memory_bytes=32 << 20)
    assert session.run(hog).done.status == "ok"
    session.run("del x")
    assert session.run(hog + "\nwhile True: pass", limits=small).done.status == "memory"


def test_run_may_lower_output_and_processes_for_itself_alone(session: RunnerSession) -> None:
    run = session.run("print('x' * 4999)", limits=Limits(output_bytes=1024))
    assert (len(run.stdout), run.done.stdout_dropped) == (1024, 3976)
    assert len(session.run("print('x' * 4999)").stdout) == 5000
    threads = (
        "import threading, time\n"
        "for _ in range(5): threading.Thread(target=time.sleep, args=(.3,)).start()\ntime.sleep(.3)"
    )
    assert session.run(threads).done.status == "ok"
    done = session.run(threads, limits=Limits(processes=3)).done
    assert done.status == "killed"
    assert done.error is not None
    assert done.error.type == "ProcessLimit"


@pytest.mark.parametrize("limits", [Limits(memory_bytes=1 << 50), Limits(disk_bytes=1 << 20)])
def test_run_gets_no_more_than_its_session_has(session: RunnerSession, limits: Limits) -> None:
    with pytest.raises(RefusedError, match="bad-request"):
        session.run("1", limits=limits)


def test_number_of_files_is_bounded(runner: RunnerProcess) -> None:
    code = "for i in range(200): open(f'f{i}', 'w').close()\nimport time\ntime.sleep(0.6)"
    with RunnerSession(runner.socket, limits=Limits(disk_entries=50)) as session:
        done = session.run(code).done
    assert done.error is not None
    assert done.error.type in {"OSError", "DiskLimit"}


def test_time_over_the_bound_is_refused(session: RunnerSession) -> None:
    with pytest.raises(RefusedError, match="bad-request: timeout_seconds"):
        session.run("1", 1e6)


def test_full_house_is_said(runner: RunnerProcess) -> None:
    _wait_until(lambda: _free_slots(runner) == 8)
    sessions = [RunnerSession(runner.socket) for _ in range(8)]
    try:
        with pytest.raises(RefusedError, match="full"):
            RunnerSession(runner.socket)
    finally:
        for session in sessions:
            session.hang_up()
    _wait_until(lambda: _free_slots(runner) == 8)
    with RunnerSession(runner.socket) as session:
        assert session.run("6 * 7").done.result == "42"


def test_worker_holds_three_streams_and_one_socket(session: RunnerSession) -> None:
    code = (
        "import os\nfound = []\nfor fd in range(4096):\n    try: os.fstat(fd); found.append(fd)\n"
        "    except OSError: pass\nfound"
    )
    assert session.run(code).done.result == "[0, 1, 2, 3]"


def test_worker_is_no_root_and_has_no_groups(session: RunnerSession) -> None:
    result = session.run("import os\nos.getresuid(), os.getgroups()").done.result
    assert result is not None
    assert "(0" not in result
    if os.geteuid() == 0:
        assert result == "((64123, 64123, 64123), [])"


def test_late_imports_work(session: RunnerSession) -> None:
    code = "import xml.dom.minidom, ctypes, decimal, sqlite3, ssl, lzma, csv, email, unittest"
    assert session.run(code).done.error is None


def _free_slots(runner: RunnerProcess) -> int:
    slots = hello(runner.socket).slots
    return slots.size - slots.in_use


def _wait_until(condition: Callable[[], bool], seconds: float = 5.0) -> None:
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit, "it did not come to pass in time"
        time.sleep(0.01)
