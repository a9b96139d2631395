"""Files of a session over its connection to the runner; see `CellFiles`.

A request and its answer are never torn apart: whatever ends a call, the connection is brought to
the end of the exchange, because the session's variables live behind it.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final, Protocol

from sandbox_runner import file_messages, protocol
from sandbox_runner.file_messages import (
    DeleteFile,
    FileDeleted,
    FileEntry,
    FileEvent,
    FileList,
    FileOpened,
    FileRefused,
    FileWritten,
    ListFiles,
    ReadFile,
    WriteFile,
)
from sandbox_runner.protocol import Frame, FrameKind

from sandbox.adapters.clean_text import clean_text
from sandbox.adapters.to_its_end import to_its_end
from sandbox.errors import (
    FileFailed,
    FileNotPlain,
    FilePathInvalid,
    FileRefusal,
    FileStalled,
    FileTooLarge,
    FileUnknown,
    RunnerDown,
    SessionFull,
)
from sandbox.stored_files import ChangedFiles, OpenFile, StoredFile, StoredFiles

# The warden looks at a folder for a quarter of a second at most; the rest is for a busy machine.
_ANSWER_SECONDS: Final = 10.0
# After 30 s without a byte the warden takes this service for dead, and ends the session. The client
# may be slow all the same: a transfer is given up before that.
_PATIENCE_SECONDS: Final = 20.0
# Read from the socket at a time, and so what a client has to take before the warden sees any of it
# gone: 256 KiB in pieces of 64.
_PIECES_AT_ONCE: Final = 4

_REFUSALS: Final[dict[str, type[FileRefusal]]] = {
    "bad-path": FilePathInvalid,
    "not-found": FileUnknown,
    "not-a-file": FileNotPlain,
    "unreadable": FileNotPlain,
    "too-large": FileTooLarge,
    "full": SessionFull,
    "cancelled": FileRefusal,
}


class FrameLine(Protocol):
    """The connection, as far as files need it."""

    @property
    def exchange(self) -> asyncio.Lock:
        """Held for as long as one request and its answer take."""

    async def send(self, request: protocol.Request) -> None:
        """Send a request."""

    async def send_piece(self, data: bytes) -> None:
        """Send a FILE frame."""

    @property
    def receive(self) -> Callable[[], Awaitable[Frame | protocol.Event]]:
        """Returns the next event or frame that concerns the exchange."""

    def abort(self) -> None:
        """Cut the connection, and so end the session."""


class RunnerFiles:
    """The files of one session."""

    def __init__(self, line: FrameLine) -> None:
        self._line = line
        self._reading: _Reading | None = None

    async def list(self) -> StoredFiles:
        """List everything in the session's folder."""
        event = await to_its_end(self._ask(ListFiles()))
        if not isinstance(event, FileList):
            raise self._lost("a list of files")
        return StoredFiles(tuple(map(stored_file, event.entries)), event.is_truncated)

    async def delete(self, path: str) -> None:
        """Remove a file or a link."""
        event = await to_its_end(self._ask(DeleteFile(path)))
        if not isinstance(event, FileDeleted):
            raise self._lost("the end of a file")

    @asynccontextmanager
    async def read(self, path: str) -> AsyncIterator[OpenFile]:
        """Open a plain file; its pieces can be read inside of the `with` block."""
        async with self._line.exchange:
            event = await to_its_end(self._ask_now(ReadFile(path)))
            if not isinstance(event, FileOpened):
                raise self._lost("the content of a file")
            reading = self._reading = _Reading(self, event.entry.size_bytes)
            try:
                async with reading.while_it_goes_on():
                    yield OpenFile(stored_file(event.entry), reading.pieces())
            finally:
                self._reading = None
                if not reading.is_over:
                    await to_its_end(reading.give_up())

    def overtake(self) -> None:
        """End a download: a reset comes first, however slow who reads it is."""
        if self._reading is not None:
            self._reading.overtake()

    async def write(self, path: str, content: AsyncIterator[bytes]) -> tuple[StoredFile, bool]:
        """Write a file, all of it or nothing; say also whether it is new."""
        async with self._line.exchange:
            await self.post(WriteFile(path))
            # Listened for from the start: a refusal comes before all has been sent.
            answer = asyncio.ensure_future(self.event())
            # Where the session is lost, it is the sending that says so.
            answer.add_done_callback(lambda done: done.cancelled() or done.exception())
            sending = asyncio.ensure_future(self._send_content(content))
            try:
                await asyncio.wait((answer, sending), return_when=asyncio.FIRST_COMPLETED)
                if sending.done():
                    sending.result()
            finally:
                await to_its_end(self._finish(answer, sending))
            event = answer.result()
        if not isinstance(event, FileWritten):
            raise self._lost("a written file")
        return stored_file(event.entry), event.is_new

    async def _send_content(self, content: AsyncIterator[bytes]) -> None:
        async for data in _without_stalls(content):
            for start in range(0, len(data), protocol.MAX_OUTPUT_BYTES):
                await self._send_piece(data[start : start + protocol.MAX_OUTPUT_BYTES])

    async def _finish(
        self, answer: asyncio.Future[FileEvent], sending: asyncio.Future[None]
    ) -> None:
        """Say that the content is whole or is given up, and wait until that is heard."""
        sending.cancel()
        await asyncio.wait((sending,))
        is_whole = not sending.cancelled() and sending.exception() is None
        if is_whole:
            await self._send_piece(b"")
        else:
            await self.post(protocol.Cancel())
        await asyncio.wait((answer,), timeout=_ANSWER_SECONDS)
        if not answer.done():
            answer.cancel()
            raise self._lost("an answer to an upload")
        if not is_whole:
            answer.exception()  # seen: what went wrong before is what is told

    async def _send_piece(self, data: bytes) -> None:
        try:
            await self._line.send_piece(data)
        except OSError as error:
            raise self._lost("the connection") from error

    # ------------------------------------------------------------ the exchange

    async def _ask(self, request: file_messages.FileRequest) -> FileEvent:
        async with self._line.exchange:
            return await self._ask_now(request)

    async def _ask_now(self, request: file_messages.FileRequest) -> FileEvent:
        await self.post(request)
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                return await self.event()
        except TimeoutError as error:
            raise self._lost("an answer") from error

    async def post(self, request: protocol.Request) -> None:
        """Send a request."""
        try:
            await self._line.send(request)
        except OSError as error:
            raise self._lost("the connection") from error

    async def event(self) -> FileEvent:
        """Return the next event.

        Raises
        ------
        FileRefusal
            It is a refusal.
        """
        event = await self.arrival()
        if isinstance(event, FileRefused):
            raise _REFUSALS.get(event.reason, FileFailed)(clean_text(event.detail))
        if not isinstance(event, FileEvent):
            raise self._lost("an event of files")
        return event

    async def arrival(self) -> Frame | protocol.Event:
        """Return the next event or frame."""
        try:
            return await self._line.receive()
        except (OSError, protocol.ProtocolError) as error:
            raise self._lost("the connection") from error

    def _lost(self, what: str) -> RunnerDown:
        self._line.abort()
        return RunnerDown(
            f"The sandbox's runner gave up {what}; the session is lost. Create a new session."
        )


class _Reading:
    """The content of one file on its way."""

    def __init__(self, files: RunnerFiles, size_bytes: int) -> None:
        self._files = files
        self._left = size_bytes
        self._limit = asyncio.timeout(None)
        self._taken_at: deque[float] = deque(maxlen=_PIECES_AT_ONCE)
        self._is_overtaken = False
        self.is_over = False

    @asynccontextmanager
    async def while_it_goes_on(self) -> AsyncIterator[None]:
        """End the `with` block when its pieces are not taken, or something else comes first."""
        try:
            async with self._limit:
                yield
        except TimeoutError:
            if not self._limit.expired():
                raise  # the request's own time
            if self._is_overtaken:
                raise FileRefusal("The transfer was given up for a reset of its session.") from None
            raise _stalled("took") from None

    def overtake(self) -> None:
        """Have the `with` block end at once."""
        if not (self.is_over or self._limit.expired()):
            self._is_overtaken = True
            self._limit.reschedule(0.0)

    async def pieces(self) -> AsyncIterator[bytes]:
        """Yield the content; raise if it ends before its time."""
        while not self.is_over:
            arrival = await self._files.arrival()
            if isinstance(arrival, Frame) and arrival.kind is FrameKind.FILE:
                self._left -= len(arrival.payload)
                self._taken_at.append(asyncio.get_running_loop().time())
                if not self._is_overtaken:
                    self._limit.reschedule(self._taken_at[0] + _PATIENCE_SECONDS)
                yield arrival.payload
            else:
                self.is_over = True
        if self._left:
            raise FileFailed("The file became shorter while it was read; read it again.")

    async def give_up(self) -> None:
        """Have the runner stop, and take what is still on its way."""
        await self._files.post(protocol.Cancel())
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                while isinstance(await self._files.arrival(), Frame):
                    pass
        except TimeoutError:
            self._files._lost("a download")  # noqa: SLF001  # one thing in two halves


async def _without_stalls(content: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Yield what a client sends; raise `FileStalled` when nothing comes for too long."""
    while True:
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS) as limit:
                data = await anext(content, None)
        except TimeoutError:
            if not limit.expired():
                raise
            raise _stalled("sent") from None
        if data is None:
            return
        yield data


def _stalled(did: str) -> FileStalled:
    return FileStalled(
        f"The client {did} too little of the file for {_PATIENCE_SECONDS:g} seconds, so the "
        "transfer was given up; the session is as it was. Try again, without a pause."
    )


def stored_file(entry: FileEntry) -> StoredFile:
    """Return an entry in the service's words."""
    return StoredFile(entry.path, entry.kind, entry.size_bytes, entry.modified)


def changed_files(changes: file_messages.FileChanges) -> ChangedFiles:
    """Return the lists of a run in the service's words."""
    if changes == file_messages.FileChanges():
        return ChangedFiles()
    added, changed, deleted = (
        tuple(map(stored_file, part)) for part in (changes.added, changes.changed, changes.deleted)
    )
    return ChangedFiles(added, changed, deleted, changes.is_truncated)
