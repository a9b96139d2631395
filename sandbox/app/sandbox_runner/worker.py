"""The worker: locks itself in, then runs what the warden sends, for as long as it sends."""

import contextlib
import fcntl
import os
import random
import signal
import socket
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NoReturn, assert_never

from sandbox_runner import kernel, landlock, link, namespaces, report, seccomp
from sandbox_runner.cell import Namespace, Outcome
from sandbox_runner.message_fields import members
from sandbox_runner.policy import PathRule
from sandbox_runner.seccomp import PackedProgram
from sandbox_runner.streams import StandardStreams

READY: Final = b"ready"
LINE_FD: Final = 3
_RULESET_FD: Final = 4
EXIT_SETUP_FAILED: Final = 71
_MAX_REASON_BYTES: Final = 500
EXIT_REPORT_FAILED: Final = 70
_OOM_SCORE: Final = 1000
_NICENESS: Final = 5
WORKSPACE_NAME: Final = "workspace"
_PRIVATE: Final = 0o077
_READABLE: Final = 0o022
_OWN_PARENT: Final = str(Path(__file__).resolve().parent.parent)
ALL_SIGNALS: Final = signal.valid_signals() - {
    *(signal.SIGPIPE, signal.SIGXFSZ),  # Python's own way with these is a cell's as well
    *(signal.SIGKILL, signal.SIGSTOP),
}
CHANGED_SIGNALS: Final = frozenset({signal.SIGCHLD, signal.SIGTERM, signal.SIGINT})
"""Those that a zygote changes for itself, after it has reset all."""


@dataclass(frozen=True, slots=True)
class Confinement:
    """All that a worker needs to lock itself in.

    Attributes
    ----------
    slot
        The session's folder.
    ruleset
        Descriptor of what Landlock leaves open; None where there is no Landlock (and a setting
        accepts that).
    filter
        The system call filter, or None where the machine has none.
    environment
        The worker's whole environment.
    workspace
        The user's folder, if cells see it.
    view
        The root that a session in namespaces of its own gets; None where there are none.
    """

    slot: str
    ruleset: int | None
    filter: PackedProgram | None
    environment: Mapping[str, str]
    workspace: PathRule | None = None
    view: str | None = None


@dataclass(frozen=True, slots=True)
class Pipes:
    """A worker's ends: of its line to the warden, and of what it writes to."""

    line: socket.socket
    stdout: int
    stderr: int


def prepare() -> Namespace:
    """Return, before there is a worker, the namespace that all of them get a copy of.

    What each of them does, it has done once: the interpreter's caches then hold what they need, and
    no worker has to write there, which would have it copy memory that is shared.
    """
    namespace = Namespace()
    namespace.run("None.rehearsed")
    report.parse(_report(namespace, namespace.rehearse()))
    return namespace


def main(pipes: Pipes, confinement: Confinement, namespace: Namespace, warden_pid: int) -> NoReturn:
    """Take over a forked process: confine it, report, and serve until the warden is gone."""
    try:
        signal.set_wakeup_fd(-1)  # the zygote's, which is about to be closed
        kernel.die_with_parent(signal.SIGKILL, warden_pid)
        _place_descriptors(pipes, confinement.ruleset)
        _confine(confinement)
        channel = socket.socket(fileno=LINE_FD)
        streams = StandardStreams()
        _reseed()
        sys.path[:] = [path for path in sys.path if path != _OWN_PARENT]
        channel.send(READY)
    except BaseException as error:  # noqa: BLE001  # whatever it is, nothing may run unconfined
        _say_why(error)
        os._exit(EXIT_SETUP_FAILED)
    _serve(channel, namespace, streams)


def _say_why(error: BaseException) -> None:
    try:
        socket.socket(fileno=os.dup(LINE_FD)).send(repr(error).encode()[:_MAX_REASON_BYTES])
    except OSError:
        return  # the line is not in its place yet; the warden sees the end


def _serve(line: socket.socket, namespace: Namespace, streams: StandardStreams) -> NoReturn:
    package_path: str | None = None
    own_pid = os.getpid()
    while True:
        try:
            tag, task = link.receive_task(line)
        except (EOFError, OSError):
            os._exit(0)
        try:
            match task.kind:
                case "packages":
                    package_path = _use_packages(task.text, package_path)
                    payload = report.pack({"packages": True})
                case "rehearsal":
                    payload = _report(namespace, namespace.rehearse())
                case "run":
                    payload = _report(namespace, namespace.run(task.text))
                case never:
                    assert_never(never)
            streams.settle()
            if os.getpid() != own_pid:
                os._exit(0)  # a child that the cell forked and that came back here: not its place
            _send(line, tag, payload)
        except BaseException:  # noqa: BLE001  # the cell broke what reports on it
            os._exit(EXIT_REPORT_FAILED)


def _report(namespace: Namespace, outcome: Outcome) -> bytes:
    heads, content = namespace.showcase.pack()
    return report.pack({**members(outcome), **heads}, content)


def _send(line: socket.socket, tag: bytes, payload: bytes) -> None:
    os.set_blocking(line.fileno(), True)
    for message in link.cut(tag, payload):
        line.send(message)


def _use_packages(path: str, former: str | None) -> str:
    if former in sys.path:
        sys.path.remove(former)
    # Appended, and not as a site folder: its .pth files never run, and it shadows nothing.
    sys.path.append(path)
    sys.path_importer_cache.clear()
    return path


def _place_descriptors(pipes: Pipes, ruleset: int | None) -> None:
    """Leave 0 (empty), 1, 2, the line to the warden, and for now the ruleset; close all else."""
    nothing = os.open(os.devnull, os.O_RDONLY)
    wanted = [nothing, pipes.stdout, pipes.stderr, pipes.line.detach()] + (
        [] if ruleset is None else [ruleset]
    )
    # Out of the way first: a target of one copy may be the source of the next.
    sources = [
        fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, _RULESET_FD + 1) for descriptor in wanted
    ]
    for target, source in enumerate(sources):
        os.dup2(source, target, inheritable=target < LINE_FD)
    os.closerange(len(sources), os.sysconf("SC_OPEN_MAX"))


def _confine(confinement: Confinement) -> None:
    reset_signals(CHANGED_SIGNALS)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # A scheduling group of its own, and a lower priority: the warden keeps its turn whatever the
    # cell does.
    os.setsid()
    os.nice(_NICENESS)
    _set_environment(confinement.environment)
    # Files of a process that is not dumpable belong to root, and so would this one.
    kernel.prctl(kernel.PR_SET_DUMPABLE, 1)
    kernel.tell("/proc/self/oom_score_adj", str(_OOM_SCORE))
    kernel.prctl(kernel.PR_SET_DUMPABLE, 0)
    if confinement.view is None:
        os.chdir(confinement.slot)
    else:
        namespaces.enter_view(confinement.view, confinement.slot)
    os.umask(_PRIVATE if confinement.workspace is None else _link(confinement.workspace))
    kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
    kernel.drop_capabilities()
    if confinement.ruleset is not None:
        landlock.restrict_self(_RULESET_FD)
    if confinement.filter is not None:
        seccomp.install(confinement.filter.bound_to(os.getpid()))


def reset_signals(numbers: Iterable[int]) -> None:
    """Have signals do again what they do in a new process."""
    for number in numbers:
        signal.signal(number, signal.SIG_DFL)


def _set_environment(wanted: Mapping[str, str]) -> None:
    # One variable after the other: most stand there already, and each change is a call.
    for name in os.environ.keys() - wanted.keys():
        del os.environ[name]
    for name, value in wanted.items():
        if os.environ.get(name) != value:
            os.environ[name] = value


def _link(workspace: PathRule) -> int:
    """Make the workspace a folder of the working directory; return the umask that suits it."""
    with contextlib.suppress(FileExistsError):  # a worker before this one, or code, made it
        os.symlink(workspace.path, WORKSPACE_NAME)  # noqa: PTH211  # a Path for each session would cost more
    # What code writes there is for the user, whose own files it is not; a slot lets nobody in.
    return _READABLE if workspace.is_writable else _PRIVATE


def _reseed() -> None:
    """Forget the random state that every session inherits."""
    random.seed()
    numpy_random = sys.modules.get("numpy.random")
    if numpy_random is not None:
        numpy_random.seed()
