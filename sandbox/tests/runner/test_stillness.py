"""Between two cells nothing of a session runs, whatever its processes do to be continued."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest
from sandbox_runner import client
from sandbox_runner.client import RunnerSession
from sandbox_runner.launch import RunnerProcess
from sandbox_runner.protocol import Limits
from sandbox_runner.tree import ProcessTree

StartRunner = Callable[..., RunnerProcess]

# A process with much memory takes a while to end. When it has ended, its child's group has lost its
# last tie to the session, and the kernel continues the child, which was stopped meanwhile.
_ORPHANED_GROUP = """
import mmap, os, signal, time
told, tell = os.pipe()
ready, say_ready = os.pipe()
if os.fork() == 0:
    size = 128 << 20
    memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    for page in range(0, size, 4096):
        memory[page] = 1
    if os.fork() == 0:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        memory.close()
        os.setpgid(0, 0)
        beat = open("beat", "w")
        beat.write(f"{time.monotonic():.4f} ")
        beat.flush()
        os.write(say_ready, b"x")
        while True:
            beat.seek(0)
            beat.write(f"{time.monotonic():.4f} ")
            beat.flush()
    os.read(told, 1)
    os._exit(0)
os.read(ready, 1)
os.write(tell, b"x")
time.sleep(PAUSE)
"""


@pytest.fixture(params=["0", "1"], ids=["plain", "namespaces"])
def with_programs(request: pytest.FixtureRequest, start_runner: StartRunner) -> RunnerProcess:
    runner = start_runner(pool="1", slots="4", subprocesses="1", namespaces=request.param)
    if not client.hello(runner.socket).is_safe:
        pytest.skip("this kernel cannot confine a session")
    return runner


def test_group_that_loses_its_last_tie_is_not_continued(with_programs: RunnerProcess) -> None:
    for pause in ("0", "0.002", "0.005", "0.01", "0.02"):
        with RunnerSession(with_programs.socket) as session:
            done = session.run(_ORPHANED_GROUP.replace("PAUSE", pause)).done
            assert done.status == "ok", done
            ended = time.monotonic()
            time.sleep(0.2)
            beat = session.read_file("beat")
            assert isinstance(beat, bytes)
            assert float(beat.split()[-1]) < ended + 0.05, pause


def test_those_who_have_lost_their_parent_and_end_count_no_longer(
    with_programs: RunnerProcess,
) -> None:
    # Four times the limit of processes, each gone before the next one comes.
    code = """
import os, time
for _ in range(256):
    child = os.fork()
    if child == 0:
        if os.fork() == 0:
            time.sleep(0.001)
        os._exit(0)
    os.waitpid(child, 0)
    time.sleep(0.002)
len(os.listdir("."))
"""
    with RunnerSession(with_programs.socket) as session:
        done = session.run(code).done
        assert (done.status, done.result) == ("ok", "0"), done


def test_thread_that_waits_for_its_child_to_begin_holds_nothing_up(
    with_programs: RunnerProcess,
) -> None:
    # CLONE_VFORK: the thread sleeps in the kernel until its child ends, or becomes a program.
    code = """
import ctypes, platform, threading, time
number = {"x86_64": 56, "aarch64": 220}[platform.machine()]
def wait_for_child():
    if ctypes.CDLL(None).syscall(number, 0x4000 | 17, 0, 0, 0, 0) == 0:
        time.sleep(60)
threading.Thread(target=wait_for_child, daemon=True).start()
time.sleep(0.2)
"""
    with RunnerSession(with_programs.socket) as session:
        started = time.monotonic()
        assert session.run(code).done.status == "ok"
        assert session.run("6 * 7").done.result == "42"
        assert time.monotonic() - started < 3


def test_what_is_swapped_out_or_in_huge_pages_counts_as_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = ProcessTree(os.getpid(), os.getpid(), is_scoped=False, is_single=True)
    status = tmp_path / "status"
    status.write_text(
        "Name:\tx\\nVmSwap:\t9 kB\nRssAnon:\t1 kB\nRssFile:\t7 kB\nRssShmem:\t2 kB\n"
        "VmSwap:\t4 kB\nHugetlbPages:\t 8 kB\nThreads:\t3\n"
    )
    descriptor = os.open(status, os.O_RDONLY)
    tree.close()
    monkeypatch.setattr(tree, "_status", descriptor)
    assert tree.usage().memory_bytes == 15 << 10
    assert tree.usage().tasks == 3
    tree.close()


# A process whose first thread has ended says nothing of its memory under its own number.
_WITHOUT_FIRST_THREAD = """
import ctypes, os, threading, time
def work():
    time.sleep(0.05)
    kept = [b"x" * (1 << 20) for _ in range(96)]
    time.sleep(1)
    os._exit(0)
def leave():
    threading.Thread(target=work).start()
    ctypes.CDLL(None).pthread_exit(None)
"""


def test_memory_of_a_process_whose_first_thread_has_ended_counts(
    with_programs: RunnerProcess,
) -> None:
    code = "if os.fork() == 0: leave()\ntime.sleep(0.8)"
    with RunnerSession(with_programs.socket, limits=Limits(memory_bytes=64 << 20)) as session:
        session.run(_WITHOUT_FIRST_THREAD)
        assert session.run(code).done.status == "memory"


def test_worker_whose_first_thread_has_ended_is_bounded(runner: RunnerProcess) -> None:
    with RunnerSession(runner.socket, limits=Limits(memory_bytes=64 << 20)) as session:
        session.run(_WITHOUT_FIRST_THREAD)
        done = session.run("leave()", 2.0).done
        assert done.status in {"memory", "crashed"}, done


# What a thread asked of the kernel before it was told to stop ends first, when it gets its turn.
_RENAMERS = """
import os, threading
def rename(name):
    while True:
        open(name, "w").close()
        os.rename(name, name + "-other")
many = [threading.Thread(target=rename, args=(f"f{n}",), daemon=True) for n in range(24)]
for each in many: each.start()
"""


def test_nothing_is_renamed_any_more_when_a_run_has_ended(runner: RunnerProcess) -> None:
    with ExitStack() as stack:
        for _ in range(2 * len(os.sched_getaffinity(0))):
            spinner = subprocess.Popen([sys.executable, "-c", "while True: pass"])
            stack.callback(spinner.wait)
            stack.callback(spinner.kill)
        session = stack.enter_context(RunnerSession(runner.socket))
        session.run(_RENAMERS)
        for _ in range(30):
            assert session.run("import time\ntime.sleep(0.02)", 30.0).done.status == "ok"
            first = session.files()
            time.sleep(0.05)
            assert session.files() == first
