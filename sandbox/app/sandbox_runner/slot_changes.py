"""What a run added, changed and deleted in its session's folder: two looks, compared.

The looks are taken by the warden, while the session is stopped. They are bounded by entries, by
time and by what they report, whatever was written: sizes are taken from the folder and no file is
opened.
"""

import os
import stat
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from sandbox_runner.file_messages import FileChanges, FileEntry, FileKind
from sandbox_runner.slot_path import MAX_DEPTH, MAX_PATH_BYTES
from sandbox_runner.slot_walk import Found, SlotWalk

MAX_SEEN: Final = 20_000
"""Entries that one look takes in."""
MAX_LOOK_SECONDS: Final = 0.25
MAX_REPORTED: Final = 100
"""Files in each of the three lists."""
_ENTRIES_AT_ONCE: Final = 256
_NANOSECONDS: Final = 10**9
_MOST_BYTES_OF_A_CHARACTER: Final = 4
# The kernel stamps files with the time of its last tick, at most a hundredth of a second ago.
_TICK_NANOSECONDS: Final = 20_000_000


# What tells two contents of one path apart without reading them: file type (as in st_mode), inode,
# bytes, nanoseconds since 1970. A plain tuple: it is made for each file after each run.
Trace: TypeAlias = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class Look:
    """The files and links of a folder at one moment; `is_whole` if none was left out."""

    traces: Mapping[str, Trace] = field(default_factory=dict)
    is_whole: bool = True


_EMPTY: Final = Look()
_KINDS: Final[Mapping[int, FileKind]] = {
    stat.S_IFREG: "file",
    stat.S_IFDIR: "folder",
    stat.S_IFLNK: "link",
}


def entry_of(path: str, status: os.stat_result) -> FileEntry:
    """Return the protocol's description of an entry."""
    kind = _KINDS.get(stat.S_IFMT(status.st_mode), "other")
    size_bytes = 0 if kind == "folder" else status.st_size
    return FileEntry(path, kind, size_bytes, status.st_mtime_ns / _NANOSECONDS)


class ChangeWatch:
    """Remembers the last look at a folder, which begins empty.

    Parameters
    ----------
    slot
        Descriptor of the session's folder.
    has_quota
        Whether the folder is a file system of its own.
    """

    def __init__(self, slot: int, *, has_quota: bool) -> None:
        self._slot = slot
        self._has_quota = has_quota
        self._last = Look()

    def since_last(self) -> FileChanges:
        """Look, and return what has changed since the last time."""
        last = self._last
        if last == _EMPTY and self._is_empty():
            return FileChanges()
        self._last = now = take_look(self._slot, last.traces)
        return compare(last, now)

    def _is_empty(self) -> bool:
        """Say whether there is surely nothing, in one call of the kernel where a look takes ten."""
        if not self._has_quota:
            return False
        numbers = os.fstatvfs(self._slot)
        return numbers.f_files - numbers.f_ffree == 1  # the inode of the folder itself

    def accept(self) -> None:
        """Look, so that what was done meanwhile is nobody's change."""
        self._last = take_look(self._slot, self._last.traces)


def take_look(slot: int, known: Mapping[str, Trace]) -> Look:
    """Look at all files of a folder, within the bounds of this module."""
    walk = SlotWalk(slot, max_depth=MAX_DEPTH)
    traces: dict[str, Trace] = {}
    limit = time.monotonic() + MAX_LOOK_SECONDS
    recent_ns = time.time_ns() - _TICK_NANOSECONDS
    is_whole = True
    for count, found in enumerate(walk):
        if count >= MAX_SEEN or (count % _ENTRIES_AT_ONCE == 0 and time.monotonic() > limit):
            is_whole = False
            break
        if found.is_folder:
            continue
        if is_too_long(found.path):
            is_whole = False
            continue
        trace = _trace(found.status)
        if trace[3] > recent_ns and trace != known.get(found.path):
            trace = _date_back(found, trace, known.get(found.path))
        traces[found.path] = trace
    return Look(traces, is_whole and walk.is_whole)


def is_too_long(path: str) -> bool:
    """Whether a path has more bytes than a caller may name."""
    return (
        len(path) * _MOST_BYTES_OF_A_CHARACTER > MAX_PATH_BYTES
        and len(os.fsencode(path)) > MAX_PATH_BYTES
    )


def compare(last: Look, now: Look) -> FileChanges:
    """Return how two looks differ; of what only one of them took in, nothing is said."""
    if last.traces == now.traces and last.is_whole and now.is_whole:
        return FileChanges()
    # What the last look left out may be old, and what this one leaves out may still be there.
    added = [path for path in now.traces if path not in last.traces] if last.is_whole else []
    deleted = [path for path in last.traces if path not in now.traces] if now.is_whole else []
    changed = [path for path, trace in now.traces.items() if last.traces.get(path, trace) != trace]
    is_cut = max(len(added), len(changed), len(deleted)) > MAX_REPORTED
    return FileChanges(
        _report(added, now),
        _report(changed, now),
        _report(deleted, last),
        is_truncated=is_cut or not (last.is_whole and now.is_whole),
    )


def _report(paths: list[str], look: Look) -> tuple[FileEntry, ...]:
    return tuple(_entry(path, look.traces[path]) for path in sorted(paths)[:MAX_REPORTED])


def _entry(path: str, trace: Trace) -> FileEntry:
    mode, _, size_bytes, modified_ns = trace
    return FileEntry(path, _KINDS.get(mode, "other"), size_bytes, modified_ns / _NANOSECONDS)


def _trace(status: os.stat_result) -> Trace:
    return stat.S_IFMT(status.st_mode), status.st_ino, status.st_size, status.st_mtime_ns


def _date_back(found: Found, trace: Trace, known: Trace | None) -> Trace:
    """Set a file's time a nanosecond back, so that a write in the same tick shows in it.

    Two cells may write to one file within one tick of the kernel's clock, and the same number of
    bytes: without this the second write would leave everything that is compared as it was.
    """
    if trace[0] != stat.S_IFREG:
        return trace
    # Two, where one would give the time that the last look gave it.
    back = 2 if known is not None and known[3] == trace[3] - 1 else 1
    times = (found.status.st_atime_ns, trace[3] - back)
    try:
        os.utime(found.name, ns=times, dir_fd=found.folder, follow_symlinks=False)
        status = os.stat(found.name, dir_fd=found.folder, follow_symlinks=False)
    except OSError:
        return trace  # it went away, or its file system keeps no such times
    return _trace(status)
