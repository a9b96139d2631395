"""A run as server-sent events: what it prints while it goes on, then how it ended.

`started` (`execution_id`, `session_id`), any number of `stdout` and `stderr` (`text`), and as the
last event `result`, with the object that the JSON form answers, or `error`, with a problem
document. What is wrong with a request before its code runs is an ordinary error response.

Nothing waits for the reader: the run goes on, is limited and ends whether or not its events are
taken. What waits for a slow reader is bounded by the run's own cap on output.
"""

import asyncio
import json
from collections import deque
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, Final, TypeAlias

from servicekit.context import current_context
from servicekit.errors import StackError
from servicekit.hangup import ClientHungUp, give_up, wait_for_hangup
from servicekit.logs import get_logger
from servicekit.problems import problem_of
from servicekit.wire.execution import ExecuteResult
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from sandbox.cells import Stream
from sandbox.execution import RunListener

log = get_logger()

MEDIA_TYPE: Final = "text/event-stream"
KEEP_ALIVE_SECONDS: Final = 10.0
# The time that a reader has for what is left when the run is over.
PATIENCE_SECONDS: Final = 30.0
_MAX_EVENT_CHARACTERS: Final = 32 << 10
# Line ends to many readers, though not to the standard; in JSON they stand in strings alone.
_LINE_ENDS: Final = {0x85: "\\u0085", 0x2028: "\\u2028", 0x2029: "\\u2029"}
_KEEP_ALIVE: Final = b": keep-alive\n\n"
_HEADERS: Final = (
    (b"content-type", f"{MEDIA_TYPE}; charset=utf-8".encode()),
    (b"cache-control", b"no-store"),
    # Proxies that buffer would hold back what is to be seen at once.
    (b"x-accel-buffering", b"no"),
)

StartRun: TypeAlias = Callable[[RunListener], Coroutine[Any, Any, ExecuteResult]]


def wants_events(accept: str) -> bool:
    """Say whether an Accept header asks for events: by name, and not less than for JSON."""
    weights = {name: weight for name, weight in map(_media_range, accept.split(",")) if name}
    wanted = weights.get(MEDIA_TYPE, 0.0)
    return wanted > 0 and wanted >= weights.get("application/json", 0.0)


def _media_range(text: str) -> tuple[str, float]:
    name, *parameters = (part.strip().lower() for part in text.split(";"))
    for parameter in parameters:
        if parameter.startswith("q="):
            try:
                return name, float(parameter[2:])
            except ValueError:
                return name, 0.0
    return name, 1.0


class RunFeed:
    """What a run has said and its reader has not taken yet; pieces of one stream are joined."""

    def __init__(self) -> None:
        self._events: deque[bytes] = deque()
        self._name: Stream = "stdout"
        self._texts: list[str] = []
        self._news = asyncio.Event()
        self.has_begun = False

    def started(self, execution_id: str, session_id: str | None) -> None:
        """Take note that the code is about to run."""
        self.has_begun = True
        event = {"execution_id": execution_id, "session_id": session_id}
        self._events.append(_event("started", event))
        self.wake()

    def printed(self, stream: Stream, text: str) -> None:
        """Take a piece of output."""
        if stream != self._name:
            self._cut()
            self._name = stream
        self._texts.append(text)
        self.wake()

    def wake(self) -> None:
        """Have the reader look again."""
        self._news.set()

    async def news(self, timeout_seconds: float | None) -> bool:
        """Wait until there may be something new; False when the time was over first."""
        try:
            async with asyncio.timeout(timeout_seconds):
                await self._news.wait()
        except TimeoutError:
            return False
        self._news.clear()
        return True

    def take(self) -> Iterator[bytes]:
        """Yield and forget what has come in, an event at a time."""
        self._cut()
        while self._events:
            yield self._events.popleft()

    def _cut(self) -> None:
        text = "".join(self._texts)
        self._texts.clear()
        for start in range(0, len(text), _MAX_EVENT_CHARACTERS):
            piece = text[start : start + _MAX_EVENT_CHARACTERS]
            self._events.append(_event(self._name, {"text": piece}))


class RunStream(Response):
    """Carries out a run and sends its events.

    Parameters
    ----------
    start
        Carries out the run for a listener.
    """

    def __init__(self, start: StartRun) -> None:
        super().__init__(media_type=MEDIA_TYPE)
        self._start = start

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002  # ASGI
        """Serve the request; a reader that hangs up ends the run."""
        feed = RunFeed()
        run = asyncio.ensure_future(self._start(feed))
        watch = asyncio.ensure_future(wait_for_hangup(receive))
        for task in (run, watch):
            task.add_done_callback(lambda _: feed.wake())
        try:
            while not (feed.has_begun or run.done() or watch.done()):
                await feed.news(None)
            if not feed.has_begun:
                if not run.done():
                    raise ClientHungUp("The client closed the connection before its code ran.")
                run.result()  # what is wrong with the request is an answer of its own
            await send({"type": "http.response.start", "status": 200, "headers": [*_HEADERS]})
            await self._relay(feed, run, watch, send)
        except TimeoutError:
            log.info("run_stream.reader_too_slow", patience_seconds=PATIENCE_SECONDS)
        finally:
            await give_up(run, watch)

    async def _relay(
        self,
        feed: RunFeed,
        run: "asyncio.Future[ExecuteResult]",
        watch: "asyncio.Future[None]",
        send: Send,
    ) -> None:
        loop = asyncio.get_running_loop()
        is_over = False
        async with asyncio.timeout(None) as limit:

            def limit_the_rest(_: object) -> None:
                if not is_over:
                    limit.reschedule(loop.time() + PATIENCE_SECONDS)

            run.add_done_callback(limit_the_rest)
            try:
                while not (run.done() or watch.done()):
                    await _send(send, *feed.take())
                    if not await feed.news(KEEP_ALIVE_SECONDS):
                        await _send(send, _KEEP_ALIVE)
                if run.done():  # else the reader is gone, and nobody is to be told
                    await _send(send, *feed.take(), _last_event(run), is_last=True)
            finally:
                is_over = True


async def _send(send: Send, *events: bytes, is_last: bool = False) -> None:
    # One at a time: the server holds the sender back while the reader is behind.
    for event in events:
        await send({"type": "http.response.body", "body": event, "more_body": True})
    if is_last:
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def _last_event(run: "asyncio.Future[ExecuteResult]") -> bytes:
    try:
        return _framed("result", run.result().model_dump_json())
    except StackError as error:
        problem = error
    except Exception:
        log.exception("run_stream.failed")
        problem = StackError("Something went wrong inside the service; its log has the reason.")
    return _event("error", problem_of(problem, current_context().request_id))


def _event(name: str, data: dict[str, Any]) -> bytes:
    return _framed(name, json.dumps(data, ensure_ascii=False, separators=(",", ":")))


def _framed(name: str, data: str) -> bytes:
    line = data if data.isascii() else data.translate(_LINE_ENDS)
    return f"event: {name}\ndata: {line}\n\n".encode()
