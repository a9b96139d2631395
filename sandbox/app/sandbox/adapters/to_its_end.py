"""Work that must not be torn in the middle, whoever stops waiting for it."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from servicekit.hangup import ended

T = TypeVar("T")


async def to_its_end(work: Coroutine[Any, Any, T]) -> T:
    """Await `work` to its end, also when this call is cancelled, however often."""
    task = asyncio.ensure_future(work)
    try:
        await ended(task)
    except asyncio.CancelledError:
        task.exception()  # seen, so that nobody warns of it
        raise
    return task.result()
