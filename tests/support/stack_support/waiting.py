"""Waits that end."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def wait_until(condition: Callable[[], T], *, within: float, what: str, every: float = 0.1) -> T:
    """Return the first true value of `condition`; fail with a sentence when there is none."""
    ends_at = time.monotonic() + within
    while True:
        if value := condition():
            return value
        if time.monotonic() > ends_at:
            raise AssertionError(f"{what}: not within {within:g} s")
        time.sleep(every)
