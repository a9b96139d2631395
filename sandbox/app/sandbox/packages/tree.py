"""What an installer wrote, judged before a session may see it.

A wheel is an archive of its author's choice. Files that Python would run by itself
(`.pth`, `sitecustomize`), that lie outside of packages (`etc/`), links, and trees
that are too large are refused.
"""

import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final

from sandbox.packages.refusal import refusal

# Console scripts and manual pages: no session imports them, so they are left out.
DROPPED_TOP_LEVEL: Final = frozenset({"bin", "share", "include", ".lock"})
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


def check_tree(
    entries: Iterable[Entry],
    limits: TreeLimits,
    *,
    package: str,
    owners: Mapping[str, str],
    trusted: frozenset[str],
) -> frozenset[str]:
    """Judge a tree; the entries are read only as far as the limits allow.

    Parameters
    ----------
    package
        The package that was asked for, for the refusal's text.
    owners
        Path to the package whose list of files names it.
    trusted
        Well-known packages: their `.pth` files are left out instead of refused. They have no
        effect anyway, because the set is appended to the path and not a site folder.

    Returns
    -------
    frozenset of str
        Paths to delete before the set is used.

    Raises
    ------
    PackageRefused
        The tree holds what no session may see.
    """
    total = 0
    drop: set[str] = set()
    for files, entry in enumerate(entries, start=1):
        total += entry.size
        _check_size(total, files, limits, package)
        _check_kind(entry, package)
        if _is_dropped(entry, owners, trusted):
            drop.add(entry.path)
        else:
            _check_place(entry, package)
    return frozenset(drop)


def _check_size(total: int, files: int, limits: TreeLimits, package: str) -> None:
    if total > limits.total_bytes:
        raise refusal(
            "size",
            package,
            f"Installed, it takes more than {limits.total_bytes} bytes.",
            operator="An operator can raise SANDBOX_PACKAGES_MAX_SET_BYTES.",
        )
    if files > limits.files:
        raise refusal(
            "file-count",
            package,
            f"Installed, it has more than {limits.files} files.",
            operator="An operator can raise SANDBOX_PACKAGES_MAX_SET_FILES.",
        )


def _check_kind(entry: Entry, package: str) -> None:
    if not (stat.S_ISREG(entry.mode) or stat.S_ISDIR(entry.mode)):
        raise refusal("links", package, "Its archive holds a link or a special file.")
    if stat.S_ISREG(entry.mode) and entry.mode & (stat.S_ISUID | stat.S_ISGID):
        raise refusal("links", package, "Its archive holds a set-uid file.")
    if not entry.path.isprintable():
        raise refusal("file-name", package, "Its archive holds a file name that can't be printed.")


def _is_dropped(entry: Entry, owners: Mapping[str, str], trusted: frozenset[str]) -> bool:
    top = PurePosixPath(entry.path).parts[0]
    if top in DROPPED_TOP_LEVEL:
        return True
    return entry.path.endswith(".pth") and owners.get(entry.path) in trusted


def _check_place(entry: Entry, package: str) -> None:
    parts = PurePosixPath(entry.path).parts
    top = parts[0]
    if len(parts) == 1 and top.endswith(".pth"):
        raise refusal(
            "pth", package, f"It brings {top}, a file that Python would run at each start."
        )
    if top.split(".")[0] in _SELF_STARTING:
        raise refusal(
            "sitecustomize", package, f"It brings {top}, a module that Python would run by itself."
        )
    if top in _SYSTEM_FOLDERS and len(parts) == 1 and stat.S_ISDIR(entry.mode):
        raise refusal(
            "outside", package, f"It writes to {top}/, a folder of the system and no package."
        )
