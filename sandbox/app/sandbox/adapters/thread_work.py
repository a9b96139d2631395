"""Work on the disk, in a thread, that a cancelled call does not leave behind."""

import asyncio
from collections.abc import Callable
from contextvars import copy_context
from functools import partial
from typing import TypeVar

from servicekit.hangup import ended

T = TypeVar("T")


async def in_thread(work: Callable[[], T], *, undo: Callable[[T], object] | None = None) -> T:
    """Do blocking work in a thread and wait for its end, also when this call is cancelled.

    `asyncio.to_thread` returns at once when it is cancelled, while its thread works on: beside
    whoever cleans up after it.

    Parameters
    ----------
    undo
        Takes back what cancelled work has done, given what it returned; in the thread too.

    Notes
    -----
    There is no time limit here: a thread can't be stopped. What is given to it has to be bounded.
    """
    loop = asyncio.get_running_loop()
    # With the context, as `to_thread` does: log lines of a request carry its id.
    working = loop.run_in_executor(None, partial(copy_context().run, work))
    try:
        await ended(working)
    except asyncio.CancelledError:
        if working.exception() is None and undo is not None:
            await ended(loop.run_in_executor(None, undo, working.result()))
        raise
    return working.result()
