"""A turn that is heard while it goes on: its task, its queue, and the response that owns both."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

from fastapi import Request
from servicekit.hangup import until_hangup
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from middleware.speech import Heard, Speech
from middleware.turn_progress import TurnOutcome

# A turn that fails at once gets the status of its error; a stream has only 200 to give.
_BEFORE_STREAM_SECONDS = 1.0
# Proxies close what is silent for half a minute.
_KEEP_ALIVE_SECONDS = 10.0
KEEP_ALIVE = ": still working\n\n"


class RunningTurn:
    """A turn under way.

    Parameters
    ----------
    answering
        Makes the work, given the speech that it is to be heard by.
    """

    def __init__(self, answering: Callable[[Speech], Coroutine[Any, Any, TurnOutcome]]) -> None:
        # None: the turn is over, and nothing more is heard.
        self._queue: asyncio.Queue[Heard | None] = asyncio.Queue()
        self._first_heard = asyncio.Event()
        self._task = asyncio.ensure_future(answering(Speech(self._hear)))
        self._task.add_done_callback(lambda _: self._queue.put_nowait(None))

    async def begin(self, request: Request) -> None:
        """Wait until something is heard, for a moment at most; raise what it failed with already.

        Raises
        ------
        ClientHungUp
            The client has gone; the turn is over then.
        """
        try:
            await until_hangup(request, self._settled())
        except BaseException:
            await self.end()
            raise

    async def heard(self) -> AsyncIterator[Heard | None]:
        """Yield what is heard, to the turn's end; None now and then, where nothing is."""
        while True:
            try:
                async with asyncio.timeout(_KEEP_ALIVE_SECONDS):
                    heard = await self._queue.get()
            except TimeoutError:
                yield None
                continue
            if heard is None:
                return
            yield heard

    def outcome(self) -> TurnOutcome:
        """Return how the turn ended, or raise its error; after `heard` has ended."""
        return self._task.result()

    async def end(self) -> None:
        """End the turn, done or not."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    def _hear(self, heard: Heard) -> None:
        self._queue.put_nowait(heard)
        self._first_heard.set()

    async def _settled(self) -> None:
        first = asyncio.ensure_future(self._first_heard.wait())
        try:
            await asyncio.wait(
                (self._task, first),
                timeout=_BEFORE_STREAM_SECONDS,
                return_when=asyncio.FIRST_COMPLETED,
            )
        finally:
            first.cancel()
        if self._task.done():
            self._task.result()


class TurnStream(StreamingResponse):
    """A stream of events that owns its turn: the turn ends when the stream does."""

    def __init__(self, turn: RunningTurn, events: AsyncIterator[str]) -> None:
        super().__init__(
            events, media_type="text/event-stream", headers={"cache-control": "no-cache"}
        )
        self._turn = turn

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the events; see the base class."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            await self._turn.end()
