"""Makes the interpreter reachable for an ordinary user where root keeps it in a closed folder.

In a private mount namespace each closed folder on the way is covered by a small tmpfs that holds
read-only bind mounts of just what is needed. Paths stay the same, and so do the permissions that
everybody else sees.
"""

import os
import stat
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from sandbox_runner import kernel

_SYSTEM_FOLDERS: Final = frozenset(
    {"bin", "dev", "etc", "lib", "lib32", "lib64", "libx32", "proc", "sbin", "sys", "usr"}
)
_COVER_OPTIONS: Final = "size=1m,nr_inodes=4096,mode=0755"


@dataclass(frozen=True, slots=True)
class Tree:
    """A folder that must be reachable."""

    path: str
    is_writable: bool = False


@dataclass(frozen=True, slots=True)
class Cover:
    """A closed folder and the trees beneath it that must be reachable."""

    folder: str
    trees: tuple[Tree, ...]


def plan(trees: Iterable[Tree], is_closed: Callable[[str], bool]) -> tuple[Cover, ...]:
    """Return the covers that make every tree reachable; pure but for `is_closed`."""
    by_folder: dict[str, dict[str, Tree]] = {}
    for tree in trees:
        # From the root downwards: what covers the topmost closed folder covers those inside.
        for ancestor in reversed(PurePosixPath(tree.path).parents):
            if is_closed(str(ancestor)):
                by_folder.setdefault(str(ancestor), {})[tree.path] = tree
                break
    return tuple(
        Cover(folder, _outermost(list(by_path.values()))) for folder, by_path in by_folder.items()
    )


def hide(covers: Iterable[Cover], folders: Iterable[str]) -> tuple[Cover, ...]:
    """Return the covers, and an empty one for each folder that has none."""
    laid = tuple(covers)
    known = {cover.folder for cover in laid}
    return (*laid, *(Cover(folder, ()) for folder in folders if folder not in known))


def foreign_folders() -> tuple[str, ...]:
    """Return the folders at the top of the file system that hold nothing of the system's own.

    Landlock does not keep a cell from asking whether a path exists: what is covered does not.
    """
    return tuple(
        sorted(
            entry.path
            for entry in os.scandir("/")
            if entry.name not in _SYSTEM_FOLDERS and entry.is_dir(follow_symlinks=False)
        )
    )


def is_closed_for(uid: int, gid: int) -> Callable[[str], bool]:
    """Return a test whether a user may not pass through a folder."""

    def is_closed(folder: str) -> bool:
        try:
            status = os.stat(folder)  # noqa: PTH116  # no Path is made of each ancestor
        except OSError:
            return False
        if status.st_uid == uid:
            return not status.st_mode & stat.S_IXUSR
        if status.st_gid == gid:
            return not status.st_mode & stat.S_IXGRP
        return not status.st_mode & stat.S_IXOTH

    return is_closed


def enter_private_namespace() -> bool:
    """Leave the machine's mount table for a copy; say whether the kernel allows that.

    An ordinary user needs a user namespace for it, in which the user stays who it is; what this
    process then starts has no capabilities there either.
    """
    uid, gid = os.geteuid(), os.getegid()
    try:
        if uid == 0:
            kernel.unshare(kernel.CLONE_NEWNS)
        else:
            kernel.unshare(kernel.CLONE_NEWUSER | kernel.CLONE_NEWNS)
            kernel.tell("/proc/self/setgroups", "deny")
            kernel.tell("/proc/self/uid_map", f"{uid} {uid} 1")
            kernel.tell("/proc/self/gid_map", f"{gid} {gid} 1")
        kernel.mount("none", "/", None, kernel.MS_REC | kernel.MS_PRIVATE)
    except OSError:
        return False
    return True


def apply(covers: Sequence[Cover]) -> None:
    """Lay the covers; only ever in a private mount namespace."""
    for cover in covers:
        _lay(cover)


def mount_tmpfs(path: str, options: str) -> None:
    """Mount an empty file system that runs no programs."""
    flags = kernel.MS_NOSUID | kernel.MS_NODEV | kernel.MS_NOEXEC
    kernel.mount("sandbox", path, "tmpfs", flags, options)


def resize_tmpfs(path: str, options: str) -> None:
    """Change the size of a file system that `mount_tmpfs` made."""
    flags = kernel.MS_REMOUNT | kernel.MS_NOSUID | kernel.MS_NODEV | kernel.MS_NOEXEC
    kernel.mount("sandbox", path, "tmpfs", flags, options)


def _lay(cover: Cover) -> None:
    # Held open: once the cover lies, only the descriptors lead to what is below.
    held = [(tree, os.open(tree.path, os.O_PATH | os.O_CLOEXEC)) for tree in cover.trees]
    kernel.mount(
        "sandbox", cover.folder, "tmpfs", kernel.MS_NOSUID | kernel.MS_NODEV, _COVER_OPTIONS
    )
    for tree, descriptor in held:
        Path(tree.path).mkdir(parents=True, exist_ok=True)
        kernel.mount(f"/proc/self/fd/{descriptor}", tree.path, None, kernel.MS_BIND | kernel.MS_REC)
        os.close(descriptor)
        if not tree.is_writable:
            # Added to what the mount has: in a container its flags may not be taken away.
            flags = kernel.MOUNT_ATTR_RDONLY | kernel.MOUNT_ATTR_NOSUID | kernel.MOUNT_ATTR_NODEV
            kernel.restrict_mount(tree.path, flags, is_recursive=False)
    flags = kernel.MS_REMOUNT | kernel.MS_RDONLY | kernel.MS_NOSUID | kernel.MS_NODEV
    kernel.mount("sandbox", cover.folder, "tmpfs", flags, _COVER_OPTIONS)


def _outermost(trees: Sequence[Tree]) -> tuple[Tree, ...]:
    """Return the trees that lie in no other, the writable ones in any case; outer ones first."""
    kept: list[Tree] = []
    for tree in sorted(trees, key=lambda tree: len(PurePosixPath(tree.path).parts)):
        inside = any(PurePosixPath(tree.path).is_relative_to(other.path) for other in kept)
        if not inside or tree.is_writable:
            kept.append(tree)
    return tuple(kept)
