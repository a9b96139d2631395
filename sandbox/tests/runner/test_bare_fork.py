"""A fork without handlers, with and without namespaces; tried in an interpreter of its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import sandbox_runner

PARENT = str(Path(sandbox_runner.__file__).parent.parent)

_WAIT = """
status = os.waitpid(pid, 0)[1]
print("child", os.waitstatus_to_exitcode(status))
"""


def _say(program: str) -> str:
    """Return what a program prints that forks; a fork of ours would take pytest's threads along."""
    head = f"import os, random, sys\nsys.path.append({PARENT!r})\n"
    done = subprocess.run(
        [sys.executable, "-I", "-c", head + program],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert done.stderr == ""
    return done.stdout


def test_child_goes_on_and_no_handler_runs() -> None:
    said = _say(
        """
from sandbox_runner.bare_fork import bare_fork
os.register_at_fork(
    before=lambda: print("before", flush=True),
    after_in_parent=lambda: print("in parent", flush=True),
    after_in_child=lambda: print("in child", flush=True),
)
random.seed(1)
pid = bare_fork()
if pid == 0:
    os._exit(7 if os.getppid() > 1 else 8)
"""
        + _WAIT
    )
    assert said == "child 7\n"


def test_what_the_child_forks_as_usual_is_as_usual() -> None:
    said = _say(
        """
import signal, threading
from sandbox_runner.bare_fork import bare_fork
os.register_at_fork(after_in_child=lambda: print("in grandchild", flush=True))
pid = bare_fork()
if pid == 0:
    grandchild = os.fork()
    if grandchild == 0:
        # The C library finds the thread by the number that it has noted for it.
        came = []
        signal.signal(signal.SIGUSR1, lambda *_: came.append(1))
        main = threading.get_ident()
        other = threading.Thread(target=lambda: signal.pthread_kill(main, signal.SIGUSR1))
        other.start()
        other.join()
        os._exit(0 if came else 1)
    os._exit(os.waitstatus_to_exitcode(os.waitpid(grandchild, 0)[1]))
"""
        + _WAIT
    )
    assert said == "in grandchild\nchild 0\n"


def test_kernel_s_refusal_is_an_error_in_the_parent_alone() -> None:
    said = _say(
        """
from sandbox_runner.bare_fork import bare_fork
try:
    bare_fork(0x00010000)  # CLONE_THREAD without the shared memory that it needs
except OSError as error:
    print(error.strerror)
"""
    )
    assert said == "clone: Invalid argument\n"


def test_namespaces_are_not_settled_outside_of_them() -> None:
    said = _say(
        """
from sandbox_runner import namespaces
try:
    namespaces.settle(os.getuid(), os.getgid())
except OSError as error:
    print("no new namespaces" in str(error))
"""
    )
    assert said == "True\n"


@pytest.mark.skipif(os.geteuid() != 0, reason="an ordinary user may be refused namespaces")
def test_child_in_namespaces_is_process_1_and_knows_its_number_outside() -> None:
    said = _say(
        """
from sandbox_runner import namespaces, tree
user = os.getuid(), os.getgid()
reading, writing = os.pipe()
pid = namespaces.fork()
if pid == 0:
    namespaces.settle(*user)
    inner = os.fork()
    if inner == 0:
        os.read(reading, 1)
        os._exit(0)
    seen = tree.number_in_proc(os.pidfd_open(inner))
    numbers = tree.own_number_in_proc(), seen, *tree.descendants(tree.own_number_in_proc())
    print(os.getpid(), inner, numbers[0] > 2, numbers[1] == numbers[2], flush=True)
    power = [line for line in open("/proc/self/status") if line.startswith(("CapPrm", "CapEff"))]
    print(*[line.split()[1].lstrip("0") or "none" for line in power], os.getuid() == user[0])
    sys.stdout.flush()
    os.write(writing, b"x")
    os._exit(0)
"""
        + _WAIT
    )
    # CAP_SYS_ADMIN is bit 21.
    assert said == "1 2 True True\n200000 none True\nchild 0\n"


def test_fork_that_fails_leaves_nothing() -> None:
    said = _say(
        """
import signal
from sandbox_runner import held_worker, worker
from sandbox_runner.worker import Confinement
def asleep(*_):
    signal.pause()
worker.main = asleep
def refuse(*_, **__):
    raise OSError("no tree")
confinement = Confinement("/", None, None, {})
descriptors = lambda: sorted(os.listdir("/proc/self/fd"))
for name in ("ProcessTree", "number_in_proc"):
    kept = getattr(held_worker, name)
    setattr(held_worker, name, refuse)
    before = descriptors()
    try:
        held_worker.HeldWorker.fork(confinement, None, is_scoped=False, is_single=True)
    except OSError as error:
        print(error, descriptors() == before)
    setattr(held_worker, name, kept)
try:
    os.waitpid(-1, os.WNOHANG)
except ChildProcessError:
    print("nobody is left")
"""
    )
    assert said == "no tree True\nno tree True\nnobody is left\n"
