"""How much a session has written, where no file system of its own counts that."""

import os
import stat
from dataclasses import dataclass
from typing import Final

_BLOCK_BYTES: Final = 512


@dataclass(frozen=True, slots=True)
class SlotUsage:
    """Bytes on disk and number of files and folders; what was not looked at does not count."""

    disk_bytes: int
    entries: int


def measure(slot: int, *, max_entries: int) -> SlotUsage:
    """Return the usage of the folder behind a descriptor, looking at `max_entries` at most.

    Folders are opened relative to their parent and without following links. The depth is bounded
    by the entries, so no hostile tree makes this slow.
    """
    total_bytes = entries = 0
    pending = [os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=slot)]
    try:
        while pending and entries <= max_entries:
            folder = pending.pop()
            try:
                with os.scandir(folder) as items:
                    for item in items:
                        entries += 1
                        if entries > max_entries:
                            break
                        total_bytes += _size_of(item.name, folder, pending)
            except OSError:
                continue  # it went away, or cannot be read: its owner cannot fill it unseen
            finally:
                os.close(folder)
    finally:
        for folder in pending:
            os.close(folder)
    return SlotUsage(total_bytes, entries)


def _size_of(name: str, folder: int, pending: list[int]) -> int:
    status = os.stat(name, dir_fd=folder, follow_symlinks=False)
    if stat.S_ISDIR(status.st_mode):
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
        pending.append(os.open(name, flags, dir_fd=folder))
    return status.st_blocks * _BLOCK_BYTES
