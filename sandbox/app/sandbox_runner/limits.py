"""What a session or a run asks for, settled against what it may have, for the kernel too. Pure."""

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Final

from sandbox_runner.policy import SessionLimits
from sandbox_runner.protocol import Limits

OF_THE_RUN: Final = frozenset({"memory_bytes", "processes", "output_bytes"})
"""Limits that the warden keeps by itself and can change from run to run; the others are the
kernel's, which a session gets once."""

_NONE: Final = Limits()


class LimitRefused(ValueError):
    """More was asked for than there is; the text says what, and the bound."""


def settle(asked: Limits, bounds: SessionLimits) -> SessionLimits:
    """Return the limits of a session: what it asks for, within the bounds.

    Raises
    ------
    LimitRefused
        It asks for more than a bound.
    """
    wanted = {item.name: getattr(asked, item.name) for item in fields(asked)}
    given = {name: value for name, value in wanted.items() if value is not None}
    for name, value in given.items():
        bound = getattr(bounds, name)
        if value > bound:
            raise LimitRefused(f"{name} is {value}, over the bound of {bound}")
    return replace(bounds, **given) if given else bounds


def settle_run(asked: Limits, session: SessionLimits) -> SessionLimits:
    """Return the limits of one run in a session.

    Raises
    ------
    LimitRefused
        It asks for more than its session has, or for what only a session can be given.
    """
    if asked == _NONE:
        return session
    for item in fields(asked):
        if item.name not in OF_THE_RUN and getattr(asked, item.name) is not None:
            raise LimitRefused(f"{item.name} is a session's, given when it is opened")
    return settle(asked, session)


# Thread stacks (8 MiB each, reserved and mostly untouched) and allocator arenas need addresses,
# not memory: the warden counts what is resident.
_ADDRESS_SPACE_HEADROOM: Final = 256 << 20


def resource_limits(
    limits: SessionLimits, *, address_space_bytes: int, user_processes: int
) -> Mapping[str, int]:
    """Return the RLIMIT_ values of a worker by name.

    Parameters
    ----------
    limits
        The session's limits.
    address_space_bytes
        What the worker maps before its first cell.
    user_processes
        What the user already runs: RLIMIT_NPROC counts a user on the whole host.
    """
    return {
        "RLIMIT_AS": address_space_bytes + limits.memory_bytes + _ADDRESS_SPACE_HEADROOM,
        "RLIMIT_FSIZE": limits.file_bytes,
        "RLIMIT_NOFILE": limits.open_files,
        "RLIMIT_NPROC": user_processes + limits.processes,
        # Not 0: of that a pattern of dumps that names a program takes no notice, see core(5). Of 1
        # it does, and no file is as small as that.
        "RLIMIT_CORE": 1,
        "RLIMIT_MEMLOCK": 0,
        "RLIMIT_MSGQUEUE": 0,
        "RLIMIT_SIGPENDING": 1024,
    }
