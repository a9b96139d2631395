"""Walks a session's folder, whatever was written into it: no link is followed, no path is used."""

import contextlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, NamedTuple

_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Found(NamedTuple):
    """One entry: its path from the top, and the folder (a descriptor) and name to reach it by."""

    path: str
    folder: int
    name: str
    status: os.stat_result

    @property
    def is_folder(self) -> bool:
        """Whether it is a folder, and not a link to one."""
        return stat.S_ISDIR(self.status.st_mode)


@dataclass(slots=True)
class _Level:
    descriptor: int
    prefix: str
    below: list[str] = field(default_factory=list)


class SlotWalk:
    """One pass over all entries below a folder.

    Parameters
    ----------
    top
        Descriptor of the folder.
    max_depth
        How deep folders are opened; one descriptor is held for each level.

    Notes
    -----
    Entries that come and go meanwhile may be missed. A folder that its owner may not read is
    opened all the same, by giving it back to its owner: nothing hides from a count.
    """

    def __init__(self, top: int, *, max_depth: int) -> None:
        self._top = top
        self._max_depth = max_depth
        self.is_whole = True
        """Whether no folder was too deep or could not be opened; known at the end."""

    def __iter__(self) -> Iterator[Found]:
        """Yield each entry, a folder before what is in it."""
        levels = [_Level(os.open(".", _DIRECTORY, dir_fd=self._top), "")]
        try:
            yield from _scan(levels[-1])
            while levels:
                level = levels[-1]
                if not level.below:
                    os.close(levels.pop().descriptor)
                    continue
                below = self._enter(level, level.below.pop(), len(levels))
                if below is not None:
                    levels.append(below)
                    yield from _scan(below)
        finally:
            for level in levels:
                os.close(level.descriptor)

    def _enter(self, level: _Level, name: str, depth: int) -> _Level | None:
        if depth >= self._max_depth:
            self.is_whole = False
            return None
        try:
            return _Level(open_folder(name, level.descriptor), f"{level.prefix}{name}/")
        except FileNotFoundError:
            return None  # it went away
        except OSError:
            self.is_whole = False
            return None


def open_folder(name: str, parent: int, *, to_change: bool = False) -> int:
    """Return a descriptor of a folder, also of one that its owner may not read or enter.

    Parameters
    ----------
    to_change
        Whether its owner is to be able to write to it too.

    Raises
    ------
    OSError
        There is none, or it is a link.
    """
    if not to_change:
        with contextlib.suppress(PermissionError):
            return os.open(name, _DIRECTORY, dir_fd=parent)
    handle = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=parent)
    try:
        path = f"/proc/self/fd/{handle}"
        if os.fstat(handle).st_mode & stat.S_IRWXU != stat.S_IRWXU:
            os.chmod(path, 0o700)  # noqa: PTH101  # it leads to the very folder, whatever its name
        return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    finally:
        os.close(handle)


def _scan(level: _Level) -> Iterator[Found]:
    try:
        with os.scandir(level.descriptor) as items:
            for item in items:
                try:
                    status = item.stat(follow_symlinks=False)
                except OSError:
                    continue  # it went away
                found = Found(level.prefix + item.name, level.descriptor, item.name, status)
                if found.is_folder:
                    level.below.append(item.name)
                yield found
    except OSError:
        return  # the folder itself went away
