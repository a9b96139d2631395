"""Namespaces of a session's own: other processes, networks, IPC, mounts and names are not there.

The zygote forks the warden into them, as their process 1. The kernel spares that one every signal
from inside, hands it each orphan, and ends all others with it; a signal that it sends to everybody
reaches its session and nobody else. Each worker takes the narrow view as its root.
"""

import os
import socket
from typing import Final

from sandbox_runner import kernel
from sandbox_runner.bare_fork import bare_fork
from sandbox_runner.view import SESSION_FOLDER

_NEW: Final = (
    kernel.CLONE_NEWUSER
    | kernel.CLONE_NEWPID
    | kernel.CLONE_NEWNET
    | kernel.CLONE_NEWIPC
    | kernel.CLONE_NEWUTS
)
_HOST_NAME: Final = "sandbox"
_FIRST_PID: Final = 1
_MAY_MOUNT: Final = kernel.CAP_SYS_ADMIN


def fork() -> int:
    """Fork, the child into new namespaces, as their process 1; else as `bare_fork`.

    Raises
    ------
    OSError
        The kernel refuses one of the namespaces.
    """
    return bare_fork(_NEW)


def settle(uid: int, gid: int) -> None:
    """Be, in namespaces that were just forked into, who one was outside, and as powerless.

    Raises
    ------
    OSError
        The kernel refuses that, or this is not their process 1.
    """
    if os.getpid() != _FIRST_PID:
        raise OSError(f"process {os.getpid()} is in no new namespaces")
    # The files of a process that is not dumpable belong to root, these too.
    kernel.prctl(kernel.PR_SET_DUMPABLE, 1)
    kernel.tell("/proc/self/setgroups", "deny")
    kernel.tell("/proc/self/uid_map", f"{uid} {uid} 1")
    kernel.tell("/proc/self/gid_map", f"{gid} {gid} 1")
    kernel.prctl(kernel.PR_SET_DUMPABLE, 0)
    socket.sethostname(_HOST_NAME)
    # For the workers to come; in effect it is in none but them, and until they have their root.
    kernel.set_capabilities(_MAY_MOUNT, effective=0)


def enter_view(view: str, slot: str) -> None:
    """Make the view, with a session's folder in it, the root, and the folder the current one.

    Of the capabilities that a process has in new namespaces, one is left afterwards.
    """
    kernel.set_capabilities(_MAY_MOUNT, effective=_MAY_MOUNT)
    kernel.unshare(kernel.CLONE_NEWNS)
    kernel.mount("none", "/", None, kernel.MS_REC | kernel.MS_PRIVATE)
    # A mount that came from a namespace of more rights can't become the root; a copy can.
    kernel.mount(view, view, None, kernel.MS_BIND | kernel.MS_REC)
    kernel.mount(slot, view + SESSION_FOLDER, None, kernel.MS_BIND)
    os.chdir(view)
    kernel.pivot_root_here()
    os.chdir(SESSION_FOLDER)
