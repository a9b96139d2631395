"""A client that goes away stops the work that it asked for."""

import asyncio
from collections.abc import Coroutine
from typing import Any, Final, TypeVar

from starlette.requests import Request
from starlette.types import Receive

from servicekit.errors import StackError
from servicekit.logs import get_logger

log = get_logger()

T = TypeVar("T")

# What is done sooner is not worth a task that waits beside it: of a cell in a live session, which
# takes a millisecond, that was 60 µs.
_UNWATCHED_SECONDS: Final = 0.005
_LEFT: Final = "The client closed the connection before the answer was there."


class ClientHungUp(StackError):
    """Nobody waits for the answer any more; the status stands in the log alone."""

    type = "client-hung-up"
    title = "The client hung up"
    http_status = 499
    rpc_code = -32800


async def wait_for_hangup(receive: Receive) -> None:
    """Wait until the client has gone; its body must have been read."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def ended(*tasks: asyncio.Future[Any]) -> None:
    """Wait until tasks that were cancelled have cleaned up.

    An anyio scope, in which MCP requests run, repeats its cancellation at every await.
    `gather` would pass each one on, and so cut the tasks' own clean-up short: a request
    to a neighbour would stay open, and the neighbour at work.
    """
    cancelled: asyncio.CancelledError | None = None
    while pending := [task for task in tasks if not task.done()]:
        try:
            await asyncio.wait(pending)
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        raise cancelled


async def give_up(*tasks: asyncio.Future[Any]) -> None:
    """Cancel what is left of tasks, and wait until they have cleaned up.

    Nobody asks any more how they end. What goes wrong then is logged, if it should not have.
    """
    left = [task for task in tasks if not task.done()]
    for task in left:
        task.cancel()
        task.add_done_callback(_take_note)
    await ended(*left)


def _take_note(task: asyncio.Future[Any]) -> None:
    error = None if task.cancelled() else task.exception()
    if error is not None and not isinstance(error, StackError):
        log.error("abandoned_work.failed", exc_info=error)


async def _watch(receive: Receive, task: asyncio.Task[Any]) -> None:
    watch = asyncio.ensure_future(wait_for_hangup(receive))
    try:
        await asyncio.wait((task, watch), return_when=asyncio.FIRST_COMPLETED)
    finally:
        watch.cancel()  # nothing of it is left to wait for
    if not task.done():
        raise ClientHungUp(_LEFT)


async def until_hangup(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """Run `work`, and cancel it when the client closes its connection.

    Call it after the body was read. A client who goes away is seen to have gone 5 ms after the
    beginning at the earliest. `work` is awaited to its end in every case, so
    that its own clean-up runs.

    Raises
    ------
    ClientHungUp
        The client went away first.
    """
    task = asyncio.ensure_future(work)
    try:
        await asyncio.wait((task,), timeout=_UNWATCHED_SECONDS)
        if not task.done():
            await _watch(request.receive, task)
        return task.result()
    finally:
        await give_up(task)


async def ended_by_hangup(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """Run `work` as `until_hangup` does, in the caller's own task.

    For work that is mostly short, so that a task of its own would be felt, and whose clean-up
    awaits nothing: a repeated cancellation, as MCP requests see, would cut it short.

    Raises
    ------
    ClientHungUp
        The client went away first.
    """
    watch = _HangupWatch(request.receive)
    try:
        return await work
    except asyncio.CancelledError:
        if watch.takes_cancellation():
            raise ClientHungUp(_LEFT) from None
        raise
    finally:
        watch.end()


class _HangupWatch:
    """Cancels the task that makes it once the client has gone; begins to look a little later."""

    def __init__(self, receive: Receive) -> None:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("there is no task to cancel")
        self._task = task
        self._receive = receive
        self._cancellations = task.cancelling()
        self._has_gone = self._is_over = False
        self._looking: asyncio.Task[None] | None = None
        self._timer = asyncio.get_running_loop().call_later(_UNWATCHED_SECONDS, self._look)

    def takes_cancellation(self) -> bool:
        """Say whether the cancellation that the task has just seen is this one's and nobody's else.

        As `asyncio.timeout` does: the task then goes on.
        """
        return self._has_gone and self._task.uncancel() <= self._cancellations

    def end(self) -> None:
        """Look no further."""
        self._is_over = True
        self._timer.cancel()
        if self._looking is not None:
            self._looking.cancel()

    def _look(self) -> None:
        self._looking = asyncio.ensure_future(wait_for_hangup(self._receive))
        self._looking.add_done_callback(self._take)

    def _take(self, looking: asyncio.Task[None]) -> None:
        if not (self._is_over or looking.cancelled() or looking.exception()):
            self._has_gone = True
            self._task.cancel()
