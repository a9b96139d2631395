"""How many sessions to fork in advance: as many as the machine can spare the memory for."""

from pathlib import Path, PurePosixPath
from typing import Final

# Counted: 450 to 480 MiB for 64, with numpy, pandas and matplotlib preloaded.
_SESSION_BYTES: Final = 15 << 19
# Of a machine that does other things too, and of what somebody set aside for cells.
_SHARE_OF_MACHINE: Final = 32
_SHARE_OF_LIMIT: Final = 10
_LEAST: Final = 4
_MACHINE: Final = "proc/meminfo"
_GROUPS: Final = "proc/self/cgroup"
_GROUP_ROOT: Final = "sys/fs/cgroup"


def fitting_pool(most: int, root: Path = Path("/")) -> int:
    """Return a size of the pool, `most` at the highest.

    Parameters
    ----------
    root
        The root of the file system that tells how much memory there is.
    """
    budget = _machine_bytes(root) // _SHARE_OF_MACHINE
    for limit in _limits(root):
        budget = min(budget, limit // _SHARE_OF_LIMIT)
    return min(most, max(_LEAST, budget // _SESSION_BYTES))


def _machine_bytes(root: Path) -> int:
    for line in _text(root / _MACHINE).splitlines():
        name, _, value = line.partition(":")
        if name == "MemTotal":
            return int(value.split()[0]) << 10
    return 0


def _limits(root: Path) -> list[int]:
    """Return the memory limits of this process's control group and of those around it."""
    found = []
    for line in _text(root / _GROUPS).splitlines():
        _, has_controllers, rest = line.partition(":")
        controllers, has_group, group = rest.partition(":")
        if not (has_controllers and has_group):
            continue
        if not controllers:  # the second generation has one tree for all
            base, name = root / _GROUP_ROOT, "memory.max"
        elif "memory" in controllers.split(","):
            base, name = root / _GROUP_ROOT / "memory", "memory.limit_in_bytes"
        else:
            continue
        here = PurePosixPath(group.lstrip("/"))
        for each in (here, *here.parents):
            text = _text(base / each / name).strip()
            if text.isdecimal():
                found.append(int(text))
    return found


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""  # not on this kernel, or not from in here
