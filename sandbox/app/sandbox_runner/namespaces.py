"""Namespaces of a session's own: other processes, networks, IPC, mounts and names are not there.

The warden stays outside. For each worker it forks an opener, which enters new namespaces, leaves
two children in them and goes: process 1, the session's init, and the worker, which takes the narrow
view as its root. Both are then the warden's children. When init ends, the kernel ends all inside.
"""

import contextlib
import os
import signal
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NoReturn

from sandbox_runner import kernel
from sandbox_runner.view import SESSION_FOLDER

_NEW: Final = (
    kernel.CLONE_NEWUSER
    | kernel.CLONE_NEWPID
    | kernel.CLONE_NEWNET
    | kernel.CLONE_NEWIPC
    | kernel.CLONE_NEWUTS
)
_HOST_NAME: Final = "sandbox"
_PATIENCE_SECONDS: Final = 20.0
_EVERYBODY: Final = -1
_PIDS: Final = struct.Struct("=ii")
_MAX_PROBLEM_BYTES: Final = 500


@dataclass(frozen=True, slots=True)
class Inside:
    """What runs in the namespaces, by the process ids that hold outside.

    Attributes
    ----------
    lifeline
        Init does what is said here, and ends when it is closed.
    """

    worker: int
    init: int
    lifeline: socket.socket

    def signal_all(self, number: int) -> None:
        """Have init signal every other process inside, those that are just being forked too."""
        try:
            self.lifeline.send(bytes([number]))
            self.lifeline.recv(1)
        except OSError:
            return  # init has ended, and all with it


def fork(body: Callable[[], NoReturn]) -> Inside:
    """Fork a worker into new namespaces; it runs `body`, and both are children of this process.

    This process must be the subreaper of what it starts.

    Raises
    ------
    OSError
        The kernel refuses one of the namespaces, or their init did not start.
    """
    lifeline, init_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    hearing, saying = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    opener = os.fork()
    if opener == 0:
        _open(saying, init_end, body)
    saying.close()
    init_end.close()
    with hearing:
        hearing.settimeout(_PATIENCE_SECONDS)
        said = hearing.recv(_MAX_PROBLEM_BYTES)
    os.waitpid(opener, 0)
    if len(said) != _PIDS.size:
        lifeline.close()
        raise OSError(said.decode("utf-8", "replace") or "the namespaces could not be entered")
    worker, init = _PIDS.unpack(said)
    # Only now is this process their parent, with whose end init is to end.
    lifeline.settimeout(_PATIENCE_SECONDS)
    inside = Inside(worker, init, lifeline)
    inside.signal_all(0)
    return inside


def enter_view(view: str, slot: str) -> None:
    """Make the view, with a session's folder in it, the root, and the folder the current one."""
    kernel.unshare(kernel.CLONE_NEWNS)
    kernel.mount("none", "/", None, kernel.MS_REC | kernel.MS_PRIVATE)
    # A mount that came from a namespace of more rights can't become the root; a copy can.
    kernel.mount(view, view, None, kernel.MS_BIND | kernel.MS_REC)
    kernel.mount(slot, view + SESSION_FOLDER, None, kernel.MS_BIND)
    os.chdir(view)
    kernel.pivot_root_here()
    os.chdir(SESSION_FOLDER)


def _open(saying: socket.socket, init_end: socket.socket, body: Callable[[], NoReturn]) -> NoReturn:
    """Be the opener."""
    try:
        _enter()
        init = os.fork()
        if init == 0:
            _be_init(init_end)
        worker = os.fork()
        if worker == 0:
            body()
        saying.send(_PIDS.pack(worker, init))
    except OSError as error:
        saying.send(str(error).encode()[: _MAX_PROBLEM_BYTES - 1] + b" ")
    finally:
        os._exit(0)


def _enter() -> None:
    uid, gid = os.geteuid(), os.getegid()
    kernel.unshare(_NEW)
    # The files of a process that is not dumpable belong to root, these too.
    kernel.prctl(kernel.PR_SET_DUMPABLE, 1)
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{uid} {uid} 1")
    Path("/proc/self/gid_map").write_text(f"{gid} {gid} 1")
    kernel.prctl(kernel.PR_SET_DUMPABLE, 0)
    socket.sethostname(_HOST_NAME)


def _be_init(end: socket.socket) -> NoReturn:
    """Signal the others when told so, reap orphans, and end with the warden."""
    try:
        # Process 1 is spared every signal from inside for which it has no handler.
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel reaps
        os.chdir("/")
        os.dup2(end.detach(), 0)
        os.closerange(1, os.sysconf("SC_OPEN_MAX"))
        kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
        kernel.drop_capabilities()
        line = socket.socket(fileno=0)
        while order := line.recv(1):
            # Not before the first order: until then the opener is the parent.
            kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)
            with contextlib.suppress(OSError):  # nobody else is there
                os.kill(_EVERYBODY, order[0])
            line.send(order)
    finally:
        os._exit(0)
