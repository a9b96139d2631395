"""The moment by which a request must be answered; it travels with the request."""

import time
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Deadline:
    """A point on this machine's monotonic clock.

    Parameters
    ----------
    at
        Seconds of `time.monotonic()`. Between processes only the time that is
        left travels (milliseconds), because clocks differ.
    """

    at: float

    @classmethod
    def after(cls, seconds: float) -> "Deadline":
        """Return the deadline that lies `seconds` from now."""
        return cls(time.monotonic() + seconds)

    def remaining(self) -> float:
        """Return the seconds left, never below zero."""
        return max(0.0, self.at - time.monotonic())

    @property
    def is_expired(self) -> bool:
        """Whether no time is left."""
        return self.remaining() <= 0.0

    def earlier(self, seconds: float) -> "Deadline":
        """Return a deadline `seconds` before this one, to keep a reserve."""
        return Deadline(self.at - seconds)

    def within(self, seconds: float) -> "Deadline":
        """Return the sooner of this deadline and `seconds` from now."""
        return min(self, Deadline.after(seconds), key=lambda deadline: deadline.at)
