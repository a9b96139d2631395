"""Which package sets and wheels are deleted so that all of them fit into their bound."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Kept:
    """What lies on the disk.

    Attributes
    ----------
    sets
        By name: the time of the last use in seconds, and the wheels that it is linked from.
    wheels
        By hash: bytes. A set's files are links to these and take no space of their own.
    """

    sets: Mapping[str, tuple[float, frozenset[str]]]
    wheels: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Gone:
    """What is to be deleted, and the bytes of all wheels that are left then."""

    sets: frozenset[str]
    wheels: frozenset[str]
    left_bytes: int


def surplus(kept: Kept, *, busy: frozenset[str], max_bytes: int) -> Gone:
    """Return what has to go: the set that nobody used for the longest first.

    A wheel goes when no set is left that is linked from it. Busy sets stay even if they are
    over the bound together.
    """
    total = sum(kept.wheels.values())
    users = dict.fromkeys(kept.wheels, 0)
    for _, wheels in kept.sets.values():
        for wheel in wheels & users.keys():
            users[wheel] += 1
    gone_wheels = {wheel for wheel, count in users.items() if count == 0}
    total -= sum(kept.wheels[wheel] for wheel in gone_wheels)
    gone_sets: set[str] = set()
    for name, (_, wheels) in sorted(kept.sets.items(), key=lambda item: item[1][0]):
        if total <= max_bytes:
            break
        if name in busy:
            continue
        gone_sets.add(name)
        for wheel in wheels & users.keys():
            users[wheel] -= 1
            if users[wheel] == 0:
                gone_wheels.add(wheel)
                total -= kept.wheels[wheel]
    return Gone(frozenset(gone_sets), frozenset(gone_wheels), total)
