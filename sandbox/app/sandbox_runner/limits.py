"""What a session or a run asks for, settled against what it may have. Pure."""

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
