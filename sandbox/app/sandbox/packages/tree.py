"""What a package set may hold: how much, of which kinds, and where.

Files that Python would run by itself (`.pth`, `sitecustomize`), that lie outside of
packages (`etc/`), links, and trees that are too large are refused. The same rules judge
a wheel's directory before it is unpacked and the tree that was written.
"""

import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final

from sandbox.packages.refusal import refusal

# Console scripts and manual pages: no session imports them, so they are left out.
LEFT_OUT_TOP_LEVEL: Final = frozenset({"bin", "share", "include"})
_COMPILED: Final = "__pycache__"
_SELF_STARTING: Final = frozenset({"sitecustomize", "usercustomize"})
_SYSTEM_FOLDERS: Final = frozenset({"etc", "usr", "var", "lib", "lib64", "opt", "sbin", "home"})


@dataclass(frozen=True, slots=True)
class Entry:
    """One file or folder of the tree: its path within, mode and size in bytes."""

    path: str
    mode: int
    size: int


@dataclass(frozen=True, slots=True)
class TreeLimits:
    """Bounds on a package set."""

    total_bytes: int
    files: int


def check_tree(entries: Iterable[Entry], limits: TreeLimits, *, package: str) -> int:
    """Judge a tree that was written; the entries are read only as far as the limits allow.

    Parameters
    ----------
    package
        The package that was asked for, for the refusal's text.

    Returns
    -------
    int
        The size of all files in bytes.

    Raises
    ------
    PackageRefused
        The tree holds what no session may see.
    """
    total = 0
    for files, entry in enumerate(entries, start=1):
        total += entry.size if stat.S_ISREG(entry.mode) else 0
        check_count(files, limits, package)
        check_total(total, limits, package)
        _check_kind(entry, package)
        check_place(entry.path, package)
    return total


def check_total(total_bytes: int, limits: TreeLimits, package: str) -> None:
    """Refuse what is larger than a set may be."""
    if total_bytes > limits.total_bytes:
        raise refusal(
            "size",
            package,
            f"Installed, it takes more than {limits.total_bytes} bytes.",
            operator="An operator can raise SANDBOX_PACKAGES_MAX_SET_BYTES.",
        )


def check_count(files: int, limits: TreeLimits, package: str) -> None:
    """Refuse what has more files than a set may have."""
    if files > limits.files:
        raise refusal(
            "file-count",
            package,
            f"Installed, it has more than {limits.files} files.",
            operator="An operator can raise SANDBOX_PACKAGES_MAX_SET_FILES.",
        )


def is_left_out(path: str) -> bool:
    """Whether a file is of no use to a session: scripts, manuals, compiled code.

    Compiled code may differ from the source beside it, which is what a reader sees.
    """
    parts = PurePosixPath(path).parts
    return parts[0] in LEFT_OUT_TOP_LEVEL or _COMPILED in parts[:-1]


def is_of_system(path: str) -> bool:
    """Whether a file lies in a folder of the system instead of a package."""
    return PurePosixPath(path).parts[0] in _SYSTEM_FOLDERS


def check_place(path: str, package: str) -> None:
    """Refuse a file that Python would run by itself, or that belongs to the system."""
    parts = PurePosixPath(path).parts
    top = parts[0]
    if len(parts) == 1 and top.endswith(".pth"):
        raise refusal(
            "pth", package, f"It brings {top}, a file that Python would run at each start."
        )
    if top.split(".")[0] in _SELF_STARTING:
        raise refusal(
            "sitecustomize", package, f"It brings {top}, a module that Python would run by itself."
        )
    if is_of_system(path):
        raise refusal(
            "outside", package, f"It writes to {top}/, a folder of the system and no package."
        )


def _check_kind(entry: Entry, package: str) -> None:
    if not (stat.S_ISREG(entry.mode) or stat.S_ISDIR(entry.mode)):
        raise refusal("links", package, "Its archive holds a link or a special file.")
    if stat.S_ISREG(entry.mode) and entry.mode & (stat.S_ISUID | stat.S_ISGID):
        raise refusal("links", package, "Its archive holds a set-uid file.")
    if not entry.path.isprintable():
        raise refusal("file-name", package, "Its archive holds a file name that can't be printed.")
