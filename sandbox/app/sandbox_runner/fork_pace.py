"""How soon and how many at once sessions are forked: at once for who waits, else out of the way."""

import os
from typing import Final

# More at once are no sooner ready, and whoever comes meanwhile has to share the processors: sixteen
# forks at once hold two of them for a fifth of a second.
_AT_ONCE: Final = max(1, len(os.sched_getaffinity(0)))
# With so many ahead the others are forked one at a time, with a pause: the second that it takes to
# fork sixty is not to be a second that others wait.
_ENOUGH_AHEAD: Final = 8
_UNHURRIED_SECONDS: Final = 0.02
# A session that is claimed should have the processor before the one that is to replace it.
_CLAIM_SECONDS: Final = 0.01
_FAILURE_SECONDS: Final = 0.25


class ForkPace:
    """Says when to fork; times are of the monotonic clock, in seconds."""

    def __init__(self) -> None:
        self._failed_until = 0.0
        self._rest_until = 0.0

    def due(self, arrivals: int) -> float:
        """Return when the next session may be forked; those who wait for one wait for no rest."""
        return self._failed_until if arrivals else max(self._failed_until, self._rest_until)

    def at_once(self, *, ready: int, arrivals: int) -> int:
        """Return how many may be under way, where so many are ready and so many are waited for."""
        return _AT_ONCE if ready < max(_ENOUGH_AHEAD, arrivals) else 1

    def forked(self, now: float, *, ready: int) -> None:
        """Take note that one was ordered; where enough are ready, others have the next moment."""
        if ready >= _ENOUGH_AHEAD:
            self._rest_until = now + _UNHURRIED_SECONDS

    def claimed(self, now: float) -> None:
        """Take note that one was taken, and others are left."""
        self._rest_until = now + _CLAIM_SECONDS

    def failed(self, now: float) -> None:
        """Take note that one could not be made."""
        self._failed_until = now + _FAILURE_SECONDS
