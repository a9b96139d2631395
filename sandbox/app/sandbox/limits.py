"""What a request may ask for: time and resources, checked against bounds and never clamped."""

from dataclasses import dataclass
from typing import Final

from servicekit.wire.execution import ResourceLimits

from sandbox.errors import LimitOutOfBounds, TimeoutOutOfBounds

NO_LIMITS: Final = ResourceLimits()
_OF_THE_SESSION: Final = ("file_bytes", "disk_bytes", "files")


@dataclass(frozen=True, slots=True)
class TimeBounds:
    """Limits of a cell's own time."""

    default_seconds: float
    max_seconds: float

    def within(self, longest_seconds: float | None) -> "TimeBounds":
        """Return these bounds where the runner grants no more than some seconds."""
        if longest_seconds is None or longest_seconds >= self.max_seconds:
            return self
        return TimeBounds(min(self.default_seconds, longest_seconds), longest_seconds)

    def choose(self, wanted: float | None, default: float | None = None) -> float:
        """Return the limit in seconds that a request gets.

        Parameters
        ----------
        default
            What its session was created with, for a request that names none.

        Raises
        ------
        TimeoutOutOfBounds
            It asked for more than is granted.
        """
        if wanted is None:
            return min(default or self.default_seconds, self.max_seconds)
        if not 0 < wanted <= self.max_seconds:
            raise TimeoutOutOfBounds(
                f"timeout_seconds must be over 0 and at most {self.max_seconds:g}; it was "
                f"{wanted:g}. Leave it out for {self.default_seconds:g} seconds.",
                maximum_seconds=self.max_seconds,
            )
        return wanted


def settle(asked: ResourceLimits | None, bounds: ResourceLimits) -> ResourceLimits:
    """Return the limits of a session: what is asked for, else the bounds.

    Parameters
    ----------
    bounds
        The runner's bounds, every value given.

    Raises
    ------
    LimitOutOfBounds
        More is asked for than a bound.
    """
    given = {} if asked is None else asked.model_dump(exclude_none=True)
    for name, value in given.items():
        bound = getattr(bounds, name)
        if value > bound:
            raise LimitOutOfBounds(
                f"limits.{name} may be at most {bound}; it was {value}. Leave it out for {bound}.",
                limit=name,
                maximum=bound,
            )
    return bounds.model_copy(update=given)


def settle_run(asked: ResourceLimits | None, session: ResourceLimits) -> ResourceLimits:
    """Return what one run in a live session asks for, checked against the session's limits.

    Raises
    ------
    LimitOutOfBounds
        It asks for more than its session has, or for what only a session can be given.
    """
    if asked is None:
        return NO_LIMITS
    for name in _OF_THE_SESSION:
        if getattr(asked, name) is not None:
            raise LimitOutOfBounds(
                f"limits.{name} holds for a whole session: give it to POST /sessions, or leave "
                "session_id out.",
                limit=name,
                maximum=getattr(session, name),
            )
    settle(asked, session)
    return asked
