"""The sessions' folders: made with unguessable names, wiped whatever was written into them."""
# ruff: noqa: PTH208  # names are wanted, by descriptor or in a hot path; no Path for each

import errno
import fcntl
import os
import secrets
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sandbox_runner import kernel, mounts
from sandbox_runner.policy import SessionLimits
from sandbox_runner.slot_walk import open_folder

_LOCK_NAME: Final = ".lock"
_VIEW_NAME: Final = ".view"
_HOUSE_PREFIX: Final = "house-"
_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Slot:
    """The folder of one session; `has_quota` says whether the kernel bounds what it holds."""

    path: str
    has_quota: bool


class SlotHouse:
    """Makes and wipes slots in a folder of its own.

    Parameters
    ----------
    base
        Folder that several runners may share; each has a house of its own in it, held by a lock.
    owner
        User and group of the slots, or None to leave them to the user of this process.
    can_mount
        Whether this process may mount a file system for each slot.
    """

    def __init__(self, base: str, *, owner: tuple[int, int] | None, can_mount: bool) -> None:
        self._owner = owner
        self._can_mount = can_mount
        # Others may pass through and may not list: sessions of another user must reach their own.
        mode = 0o700 if owner is None else 0o711
        Path(base).mkdir(mode=mode, parents=True, exist_ok=True)
        self._base = os.open(base, _DIRECTORY)
        if os.fstat(self._base).st_uid != os.geteuid():
            raise PermissionError(errno.EPERM, f"{base} belongs to another user")
        os.fchmod(self._base, mode)
        self._sweep()
        self._name = _HOUSE_PREFIX + secrets.token_hex(16)
        os.mkdir(self._name, mode, dir_fd=self._base)
        self._house = os.open(self._name, _DIRECTORY, dir_fd=self._base)
        os.fchmod(self._house, mode)
        self._lock = os.open(
            _LOCK_NAME, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600, dir_fd=self._house
        )
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        self.path = str(Path(base) / self._name)

    def make_view_folder(self) -> str:
        """Return a new empty folder for the root that sessions see; `close` takes it away."""
        os.mkdir(_VIEW_NAME, 0o700, dir_fd=self._house)
        return f"{self.path}/{_VIEW_NAME}"

    def create(self, limits: SessionLimits) -> Slot:
        """Return a new empty slot."""
        name = secrets.token_hex(16)
        os.mkdir(name, 0o700, dir_fd=self._house)
        path = f"{self.path}/{name}"
        if self._owner is not None:
            os.chown(name, *self._owner, dir_fd=self._house, follow_symlinks=False)
        return Slot(path, has_quota=self._can_mount and self._mount(path, limits))

    def shrink(self, slot: Slot, limits: SessionLimits) -> None:
        """Lower the quota of a slot that has one."""
        if slot.has_quota:
            mounts.resize_tmpfs(slot.path, _quota(limits))

    def remove(self, slot: Slot) -> bool:
        """Wipe a slot; say whether it is gone (a dying process may still write: try again)."""
        name = Path(slot.path).name
        if slot.has_quota:
            try:
                kernel.unmount(slot.path)
            except OSError:
                return not Path(slot.path).exists()
        return wipe(self._house, name)

    def close(self) -> None:
        """Wipe the house."""
        for name in os.listdir(self._house):
            if name not in {_LOCK_NAME, _VIEW_NAME}:
                self.remove(
                    Slot(f"{self.path}/{name}", has_quota=os.path.ismount(f"{self.path}/{name}"))
                )
        if self._remove_view():
            wipe(self._base, self._name)
        os.close(self._lock)
        os.close(self._house)
        os.close(self._base)

    def _remove_view(self) -> bool:
        """Say whether no view is left: the machine's folders lie in it and must not be wiped."""
        view = f"{self.path}/{_VIEW_NAME}"
        while os.path.ismount(view):
            try:
                kernel.unmount(view)
            except OSError:
                return False
        try:
            os.rmdir(_VIEW_NAME, dir_fd=self._house)
        except FileNotFoundError:
            return True
        except OSError:
            return False
        return True

    def _mount(self, path: str, limits: SessionLimits) -> bool:
        uid, gid = self._owner or (os.geteuid(), os.getegid())
        try:
            mounts.mount_tmpfs(path, f"{_quota(limits)},mode=0700,uid={uid},gid={gid}")
        except OSError:
            return False
        return True

    def _sweep(self) -> None:
        """Wipe the houses of runners that have ended without doing so."""
        for name in os.listdir(self._base):
            if not name.startswith(_HOUSE_PREFIX):
                continue
            try:
                lock = os.open(f"{name}/{_LOCK_NAME}", os.O_RDWR | os.O_CLOEXEC, dir_fd=self._base)
            except OSError:
                continue  # another runner is just making or wiping it
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                wipe(self._base, name)
            except OSError:
                continue  # its runner lives
            finally:
                os.close(lock)


def wipe(parent: int, name: str) -> bool:
    """Remove a folder and all in it, following no link; say whether it is gone.

    Notes
    -----
    Folders deeper than PATH_MAX defeat every removal by path, and one descriptor for each level
    defeats recursion: each folder found is moved up beside the first one, then emptied.
    """
    try:
        top = os.open(name, _DIRECTORY, dir_fd=parent)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    try:
        os.fchmod(top, 0o700)
        _empty(top)
        os.rmdir(name, dir_fd=parent)
    except OSError:
        return False
    finally:
        os.close(top)
    return True


def _empty(top: int) -> None:
    """Remove all that is in a folder."""
    while names := os.listdir(top):
        for name in names:
            if not _is_folder(name, top):
                os.unlink(name, dir_fd=top)
                continue
            folder = open_folder(name, top, to_change=True)
            try:
                _lift(folder, top)
            finally:
                os.close(folder)
            os.rmdir(name, dir_fd=top)


def _lift(folder: int, top: int) -> None:
    """Remove the files of a folder and move its folders to the top."""
    for name in os.listdir(folder):
        if not _is_folder(name, folder):
            os.unlink(name, dir_fd=folder)
            continue
        lifted = f".wipe-{secrets.token_hex(16)}"
        try:
            os.rename(name, lifted, src_dir_fd=folder, dst_dir_fd=top)
        except PermissionError:
            # To move a folder is to write its "..", which its mode may forbid.
            os.close(open_folder(name, folder, to_change=True))
            os.rename(name, lifted, src_dir_fd=folder, dst_dir_fd=top)


def _is_folder(name: str, parent: int) -> bool:
    return stat.S_ISDIR(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode)


def _quota(limits: SessionLimits) -> str:
    return f"size={limits.disk_bytes},nr_inodes={limits.disk_entries}"
