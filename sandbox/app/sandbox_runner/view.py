"""The narrow root that a session in namespaces of its own sees: what policy lets it read, no more.

It is built once, in the runner's private mount namespace; each session gets a copy of it as root,
with the session's folder in it.
"""

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from sandbox_runner import kernel
from sandbox_runner.policy import PathRule

SESSION_FOLDER: Final = "/session"
"""Where a session in namespaces finds its folder."""

_OPTIONS: Final = "size=1m,nr_inodes=4096,mode=0755"
_DEVICES: Final = PurePosixPath("/dev")
# Debian's libraries are found by links through this folder; it holds nothing but links.
_LINKS: Final = PathRule("/etc/alternatives")


@dataclass(frozen=True, slots=True)
class Piece:
    """A file or folder of the machine, and where it stands in the view."""

    source: str
    target: str
    is_writable: bool = False


def plan(rules: Iterable[PathRule], real_path: Callable[[str], str | None]) -> tuple[Piece, ...]:
    """Return what makes up the view, each piece outside of all others; pure but for `real_path`.

    Parameters
    ----------
    rules
        What sessions may reach.
    real_path
        Gives a path without links, or None where there is nothing.

    Notes
    -----
    A path that leads through links stands in the view under both its names, without links.
    """
    found: dict[str, Piece] = {}
    for rule in (*rules, _LINKS):
        source = real_path(rule.path)
        if source is None:
            continue
        for target in (rule.path, source):
            if target not in found or rule.is_writable:
                found[target] = Piece(source, target, rule.is_writable)
    kept: list[Piece] = []
    for piece in sorted(found.values(), key=lambda piece: len(PurePosixPath(piece.target).parts)):
        around = [other for other in kept if _lies_in(piece.target, other.target)]
        if not around or (piece.is_writable and not around[-1].is_writable):
            kept.append(piece)
    return tuple(kept)


def build(folder: str, pieces: Sequence[Piece]) -> None:
    """Build the view in an empty folder; only ever in a private mount namespace.

    Raises
    ------
    OSError
        The kernel refuses a mount.
    """
    flags = kernel.MS_NOSUID | kernel.MS_NODEV
    kernel.mount("sandbox", folder, "tmpfs", flags, _OPTIONS)
    for piece in pieces:
        target = Path(folder + piece.target)
        if Path(piece.source).is_dir():
            target.mkdir(parents=True, exist_ok=True)
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.touch()
        kernel.mount(piece.source, str(target), None, kernel.MS_BIND | kernel.MS_REC)
        kernel.restrict_mount(str(target), _attributes(piece), is_recursive=True)
    Path(folder + SESSION_FOLDER).mkdir()
    kernel.restrict_mount(folder, kernel.MOUNT_ATTR_RDONLY, is_recursive=False)


def real_path(path: str) -> str | None:
    """Return a path without links, or None where there is nothing that can be reached."""
    try:
        return os.path.realpath(path, strict=True)
    except OSError:
        return None


def _attributes(piece: Piece) -> int:
    attributes = kernel.MOUNT_ATTR_NOSUID
    if not piece.is_writable:
        attributes |= kernel.MOUNT_ATTR_RDONLY
    if not PurePosixPath(piece.target).is_relative_to(_DEVICES):
        attributes |= kernel.MOUNT_ATTR_NODEV
    return attributes


def _lies_in(path: str, folder: str) -> bool:
    return PurePosixPath(path).is_relative_to(folder)
