"""Tries out, in forked children, that the kernel refuses what the policy refuses."""
# ruff: noqa: PTH208  # names are wanted, by descriptor or in a hot path; no Path for each

import errno
import mmap
import os
import resource
import select
import signal
import socket
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sandbox_runner import kernel, landlock, namespaces, seccomp, tree
from sandbox_runner.policy import PathRule
from sandbox_runner.seccomp import Program
from sandbox_runner.syscalls import Architecture
from sandbox_runner.view import SESSION_FOLDER

_UNKNOWN_NUMBER: Final = 4000
_CLONE_CHILD: Final = signal.SIGCHLD
_BAD_POINTER: Final = -1
_PATIENCE_SECONDS: Final = 10
_TRIED_BYTES: Final = 32 << 20
# An option of the kernel's: where it can't count huge pages, there are none.
_MAY_BE_MISSING: Final = frozenset({b"HugetlbPages"})
# The warden, and its worker.
_FIRST_PIDS: Final = 2

# Calls that must be refused, with arguments that would do nothing anyway if the filter were off.
_REFUSED_CALLS: Final[tuple[tuple[str, tuple[int, ...]], ...]] = (
    *(
        ("socket", (int(family), int(kind), 0))
        for family, kind in (
            (socket.AF_UNIX, socket.SOCK_STREAM),
            (socket.AF_INET, socket.SOCK_STREAM),
            (socket.AF_INET, socket.SOCK_DGRAM),
            (socket.AF_INET6, socket.SOCK_STREAM),
            (socket.AF_NETLINK, socket.SOCK_RAW),
            (socket.AF_PACKET, socket.SOCK_RAW),
            (socket.AF_VSOCK, socket.SOCK_STREAM),
        )
    ),
    ("ptrace", (_BAD_POINTER, 0, 0, 0)),
    ("unshare", (0,)),
    ("mount", (_BAD_POINTER, _BAD_POINTER, _BAD_POINTER, 0, 0)),
    ("keyctl", (_BAD_POINTER, 0, 0, 0)),
    ("bpf", (_BAD_POINTER, 0, 0)),
    ("io_uring_setup", (0, 0)),
    ("userfaultfd", (_BAD_POINTER,)),
    ("perf_event_open", (0, 0, -1, -1, 0)),
    ("process_vm_readv", (0, 0, 0, 0, 0, 0)),
    ("pidfd_open", (0, 0)),
    ("memfd_create", (0, _BAD_POINTER)),
    ("shmget", (0, 0, 0)),
    ("inotify_init1", (_BAD_POINTER,)),
    ("prlimit64", (1, 0, 0, 0)),
    ("personality", (0xFFFFFFFF,)),
)
_PROCESS_CALL: Final = ("clone", (_CLONE_CHILD, 0, 0, 0, 0))


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a protection held when tried, and what did not hold."""

    holds: bool
    detail: str = ""


def try_filter(
    program: Program, architecture: Architecture, *, allow_subprocesses: bool
) -> Verdict:
    """Return whether a child behind the filter is refused what it must be."""

    def child() -> str:
        seccomp.install(program.pack().bound_to(os.getpid()))
        calls = list(_REFUSED_CALLS) + ([] if allow_subprocesses else [_PROCESS_CALL])
        for name, arguments in calls:
            if _refusal(architecture.numbers[name], arguments) != errno.EPERM:
                return f"{name}{arguments} is not refused"
        if _refusal(_UNKNOWN_NUMBER, ()) != errno.ENOSYS:
            return "an unknown system call reaches the kernel"
        if os.getpid() <= 0:
            return "getpid fails"
        return ""

    return _in_child(child)


def try_landlock(rules: Sequence[PathRule], abi: int, slot: str) -> Verdict:
    """Return whether a child behind the ruleset reaches its slot and nothing beside it."""

    def child() -> str:
        landlock.restrict_self(landlock.create_ruleset(rules, abi))
        mine = Path(slot) / "probe"
        mine.write_bytes(b"x")
        mine.unlink()
        for attempt in (lambda: os.listdir("/"), lambda: os.listdir("/proc")):
            if _is_granted(attempt):
                return "a folder that no rule names can be listed"
        if _is_granted(lambda: os.close(os.open("/proc/self/environ", os.O_RDONLY))):
            return "a file that no rule names can be read"
        return ""

    return _in_child(child)


def try_limits() -> Verdict:
    """Return whether the kernel keeps a child to its memory and to the size of its files."""

    def child() -> str:
        most = (tree.status_number(_own_status(), b"VmSize") << 10) + _TRIED_BYTES
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
        if _is_granted(lambda: mmap.mmap(-1, 2 * _TRIED_BYTES).close()):
            return "more memory than the limit is given"
        resource.setrlimit(resource.RLIMIT_FSIZE, (1, 1))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        with tempfile.TemporaryFile(buffering=0) as file:
            file.write(b"x")
            if _is_granted(lambda: file.write(b"x")):
                return "a file grows beyond the limit"
        return ""

    return _in_child(child)


def try_privileges() -> Verdict:
    """Return whether what this process starts can gain nothing, whatever its file says."""
    holds = tree.status_number(_own_status(), b"NoNewPrivs") == 1
    return Verdict(holds, "" if holds else "the kernel does not say so")


def try_user() -> Verdict:
    """Return whether this process is nobody special, and has no capability in effect."""
    if 0 in os.getresuid():
        return Verdict(holds=False, detail="root")
    held = tree.status_word(_own_status(), b"CapEff")
    holds = bool(held) and int(held, 16) == 0
    return Verdict(holds, "" if holds else "it has capabilities")


def further_groups() -> tuple[int, ...]:
    """Return the groups that give this process more than its user has: root's, and further ones."""
    groups = {*os.getgroups()} - {os.getegid()}
    return tuple(sorted(groups | ({0} & {*os.getresgid()})))


def try_memory_watch() -> Verdict:
    """Return whether the kernel says what a process has of memory, and how many threads."""
    status = _own_status()
    wanted = {*tree.MEMORY_LINES, b"Threads"} - _MAY_BE_MISSING
    missing = sorted(name.decode() for name in wanted if not tree.status_word(status, name))
    return Verdict(not missing, f"/proc says nothing of {', '.join(missing)}" if missing else "")


def _own_status() -> bytes:
    return kernel.ask("/proc/self/status")


def try_signal_scope() -> Verdict:
    """Return whether a child in a signal scope cannot reach this process."""
    parent = os.getpid()

    def child() -> str:
        landlock.restrict_self(landlock.create_signal_scope())
        return "its parent can be signalled" if _is_granted(lambda: os.kill(parent, 0)) else ""

    return _in_child(child)


def try_namespaces(view: str, slot: str) -> Verdict:
    """Return whether a session in namespaces of its own sees its slot and the view, no more."""
    outside = os.getpid()
    user = (os.geteuid(), os.getegid())
    folders = sorted({*os.listdir(view)})

    def as_warden() -> str:
        namespaces.settle(*user)
        verdict = _in_child(as_worker)
        return "" if verdict.holds else verdict.detail

    def as_worker() -> str:
        return _look_around(view, slot, folders, outside)

    return _in_child(as_warden, fork=namespaces.fork)


def _look_around(view: str, slot: str, folders: Sequence[str], outside: int) -> str:
    namespaces.enter_view(view, slot)
    Path("probe").write_bytes(b"x")
    Path("probe").unlink()
    kernel.drop_capabilities()
    checks: tuple[tuple[str, Callable[[], bool]], ...] = (
        ("the machine's folders show", lambda: sorted(os.listdir("/")) != folders),
        ("processes show", lambda: Path(f"/proc/{outside}").exists()),
        ("it has a process number of the machine's", lambda: os.getpid() > _FIRST_PIDS),
        ("a process outside can be signalled", lambda: _is_granted(lambda: os.kill(outside, 0))),
        ("a network shows", lambda: [name for _, name in socket.if_nameindex()] != ["lo"]),
        ("the view can be written", lambda: _is_granted(Path("/probe").mkdir)),
        ("a mount is let through", lambda: _is_granted(_mount_something)),
    )
    return next((problem for problem, is_so in checks if is_so()), "")


def _mount_something() -> None:
    kernel.mount("sandbox", SESSION_FOLDER, "tmpfs", 0)


def _is_granted(attempt: Callable[[], object]) -> bool:
    try:
        attempt()
    except OSError:
        return False
    return True


def _refusal(number: int, arguments: tuple[int, ...]) -> int:
    try:
        result = kernel.syscall(number, *arguments)
    except OSError as error:
        return error.errno or 0
    if result == 0 and number == _clone_number():
        os._exit(0)  # the forked process that should not exist
    return 0


def _clone_number() -> int:
    architecture = seccomp.current_architecture()
    return -1 if architecture is None else architecture.numbers["clone"]


def _in_child(check: Callable[[], str], fork: Callable[[], int] = os.fork) -> Verdict:
    sys.stdout.flush()
    reading, writing = os.pipe()
    try:
        pid = fork()
    except OSError as error:
        os.close(reading)
        os.close(writing)
        return Verdict(holds=False, detail=str(error))
    if pid == 0:
        try:
            problem = check()
        except BaseException as error:  # noqa: BLE001  # whatever it was, it did not hold
            problem = repr(error) or "failed"
        os.write(writing, problem.encode()[:500])
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as answer:
        # Process 1 of a namespace ignores its own alarm: it is watched from outside.
        is_there, _, _ = select.select([answer], [], [], _PATIENCE_SECONDS)
        if not is_there:
            os.kill(pid, signal.SIGKILL)
        problem = answer.read().decode("utf-8", "replace")
    _, status = os.waitpid(pid, 0)
    if not is_there:
        return Verdict(holds=False, detail="the trial did not end in time")
    if status:
        return Verdict(holds=False, detail=f"the trial ended with status {status}")
    return Verdict(holds=not problem, detail=problem)
