"""What a session cannot do without. Pure."""

from collections.abc import Sequence
from typing import Final

from sandbox_runner.protocol import Protection

_LANDLOCK: Final = "landlock"
# No setting accepts the lack of these.
_BOUNDS: Final = ("seccomp", "user", "no-new-privileges", "resource-limits", "memory-watch")


def lacking(
    protections: Sequence[Protection], *, accepts_no_landlock: bool = False
) -> tuple[Protection, ...]:
    """Return what keeps code from being run: what is not there, or was not tried."""
    found = {item.name: item for item in protections}
    needed = _BOUNDS if accepts_no_landlock else (_LANDLOCK, *_BOUNDS)
    wanted = (found.get(name, Protection(name, "unavailable", "not tried")) for name in needed)
    return tuple(item for item in wanted if item.state == "unavailable")
