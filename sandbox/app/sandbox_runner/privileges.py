"""Giving up root: an unusual user, no groups, no capabilities, before anything untrusted runs."""

import os
from collections.abc import Sequence

from sandbox_runner import kernel


class PrivilegeError(Exception):
    """Privileges could not be given up; the text is one readable sentence."""


def is_root() -> bool:
    """Say whether this process has privileges to give up."""
    return os.geteuid() == 0


def drop_to(uid: int, gid: int) -> None:
    """Become an ordinary user for good; capabilities go with the user id.

    Raises
    ------
    PrivilegeError
        The kernel refused, or the process could become root again.
    """
    try:
        os.setgroups([])
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)
        kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
    except OSError as error:
        raise PrivilegeError(
            f"The sandbox runner was started as root and may not become user {uid} ({error}); "
            "start it as an ordinary user."
        ) from error
    if os.getresuid() != (uid, uid, uid) or os.getresgid() != (gid, gid, gid) or os.getgroups():
        raise PrivilegeError(f"The sandbox runner could not become user {uid}.")


def unreadable_for(uid: int, gid: int, folders: Sequence[str]) -> list[str]:
    """Return the folders that a user cannot list and enter, tried out in a forked child."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            drop_to(uid, gid)
            missing = [str(i) for i, path in enumerate(folders) if not _is_open(path)]
            os.write(writing, ",".join(missing).encode())
            os._exit(0)
        finally:
            os._exit(1)
    os.close(writing)
    with os.fdopen(reading) as answer:
        text = answer.read()
    _, status = os.waitpid(pid, 0)
    if status:
        return list(folders)
    return [folders[int(index)] for index in text.split(",") if index]


def _is_open(path: str) -> bool:
    try:
        os.listdir(path)  # noqa: PTH208  # the names are not wanted
    except FileNotFoundError:
        return True  # nothing is missed where nothing is
    except OSError:
        return False
    return os.access(path, os.X_OK)
