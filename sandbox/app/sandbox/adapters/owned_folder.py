"""The folder of packages is this service's own: nobody else's to write, and held by one process.

What lies in it is imported by sessions. In a folder that all may write to, as /tmp, somebody else
could have made one of its name before us.
"""

import fcntl
import os
import secrets
import stat
from pathlib import Path
from typing import Final

from servicekit.logs import get_logger

log = get_logger()

_LOCK: Final = "lock"
_SECRET_BYTES: Final = 32
_OTHERS_WRITE: Final = stat.S_IWGRP | stat.S_IWOTH


class FolderError(Exception):
    """The folder can't be had; the text says why, and what to do."""


class OwnedFolder:
    """A folder that is held until `release`, or the end of the process.

    Parameters
    ----------
    path
        The folder; it is made when it is missing.
    setting
        The variable that names it, for the sentence of an error.

    Raises
    ------
    FolderError
        It is of another user, others may write to it, or another process holds it.
    """

    def __init__(self, path: Path, *, setting: str) -> None:
        self._path, self._setting = path, setting
        path.mkdir(mode=0o755, parents=True, exist_ok=True)
        self._check_owner(path)
        self._close_to_others()
        self._lock: int | None = self._take()

    def part(self, name: str, mode: int) -> None:
        """Make a folder in it, and see to its mode."""
        path = self._path / name
        path.mkdir(exist_ok=True)
        self._check_owner(path)
        path.chmod(mode)

    def secret(self, name: str) -> bytes:
        """Return what a file in it keeps for this service alone; it is made when it is missing."""
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        with os.fdopen(os.open(self._path / name, flags, 0o600), "r+b") as file:
            key = file.read(_SECRET_BYTES)
            if len(key) < _SECRET_BYTES:  # new, or its writer was killed
                file.seek(0)
                file.write(key := secrets.token_bytes(_SECRET_BYTES))
        return key

    def release(self) -> None:
        """Let another process have it."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _check_owner(self, path: Path) -> None:
        # The link as well as what it leads to: who owns a link can lead it elsewhere.
        for facts in (path.lstat(), path.stat()):
            if facts.st_uid not in {os.geteuid(), 0}:
                raise FolderError(
                    f"{path} belongs to user {facts.st_uid}, who could change what is installed "
                    f"there. Delete it, give it to user {os.geteuid()} with chown -R, or set "
                    f"{self._setting} to another folder."
                )

    def _close_to_others(self) -> None:
        facts = self._path.stat()
        if not facts.st_mode & _OTHERS_WRITE:
            return
        if facts.st_uid != os.geteuid():
            raise FolderError(
                f"Others may write to {self._path}. Set {self._setting} to a folder in it, which "
                "is then made, or take the right away with chmod go-w."
            )
        self._path.chmod(stat.S_IMODE(facts.st_mode) & ~_OTHERS_WRITE)
        if self._path.stat().st_mode & _OTHERS_WRITE:  # a disk without modes: a share, Windows'
            log.warning("packages.folder_without_modes", folder=str(self._path))

    def _take(self) -> int | None:
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        descriptor = os.open(self._path / _LOCK, flags, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise FolderError(
                f"Another sandbox works with {self._path}. End it, or set {self._setting} to "
                "another folder."
            ) from None
        except OSError as error:  # a file system without locks
            os.close(descriptor)
            log.warning("packages.folder_not_locked", reason=error.strerror)
            return None
        return descriptor
