"""How much a session has written, where no file system of its own counts that."""

from dataclasses import dataclass
from typing import Final

from sandbox_runner.slot_walk import SlotWalk

_BLOCK_BYTES: Final = 512
MAX_DEPTH: Final = 256
"""Of folders in each other. One descriptor is held for each, and 1024 is what many systems give."""


@dataclass(frozen=True, slots=True)
class SlotUsage:
    """Bytes on disk and number of files and folders; what was not looked at does not count.

    Attributes
    ----------
    is_whole
        False if folders were nested too deeply, or could not be looked into.
    """

    disk_bytes: int
    entries: int
    is_whole: bool = True


def measure(slot: int, *, max_entries: int) -> SlotUsage:
    """Return the usage of the folder behind a descriptor, looking at `max_entries` at most."""
    walk = SlotWalk(slot, max_depth=MAX_DEPTH)
    disk_bytes = entries = 0
    for found in walk:
        entries += 1
        if entries > max_entries:
            break
        disk_bytes += found.status.st_blocks * _BLOCK_BYTES
    return SlotUsage(disk_bytes, entries, walk.is_whole)
