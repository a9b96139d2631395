"""What a user runs on this machine: RLIMIT_NPROC counts all of it, wherever it runs."""
# ruff: noqa: PTH208  # names are wanted, in a hot path; no Path for each

import os
import time
from typing import Final

_KEPT_SECONDS: Final = 1.0


class UserTasks:
    """Counts the processes and threads of a user, at most once a second.

    Parameters
    ----------
    margin
        What may come to run between two counts.
    """

    def __init__(self, uid: int, *, margin: int) -> None:
        self._uid = uid
        self._margin = margin
        self._count = 0
        self._counted_at = -_KEPT_SECONDS

    def bound(self) -> int:
        """Return what the user runs, and may come to run."""
        now = time.monotonic()
        if now - self._counted_at >= _KEPT_SECONDS:
            self._counted_at = now
            self._count = tasks_of_user(self._uid)
        return self._count + self._margin


def tasks_of_user(uid: int) -> int:
    """Return how many processes and threads a user runs: RLIMIT_NPROC counts them all."""
    total = 0
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            if os.stat(f"/proc/{name}").st_uid == uid:  # noqa: PTH116  # a Path for each would cost more
                total += len(os.listdir(f"/proc/{name}/task"))
        except OSError:
            continue  # it ended while we looked
    return total
