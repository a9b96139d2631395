"""A connection to the runner: requests out, events and frames in."""

import asyncio
from collections import deque
from pathlib import Path
from typing import Final, TypeAlias, cast

from sandbox_runner import protocol
from sandbox_runner.protocol import Frame, FrameDecoder, FrameKind

Arrival: TypeAlias = Frame | protocol.Event
"""An event; or the frame of what a cell prints or shows, or of a file."""

# What has come and was not asked for yet, before no more is read: a few of the largest frames.
_MOST_WAITING_BYTES: Final = 1 << 20
# A listing of thousands of files takes a tenth of a second to parse, in which nobody is answered.
_LARGE_BYTES: Final = 128 << 10


class Connection(asyncio.Protocol):
    """Frames over one socket.

    A protocol of its own and no pair of streams: those copy each message once more and take some
    twenty calls for it, which is felt in a cell of less than a millisecond.
    """

    def __init__(self) -> None:
        self._transport: asyncio.Transport
        self._decoder = FrameDecoder(max_json_bytes=protocol.MAX_EVENT_BYTES)
        self._frames: deque[Frame] = deque()
        self._waiting_bytes = 0
        self._is_paused = False
        self._arrival: asyncio.Future[None] | None = None
        self._room: asyncio.Future[None] | None = None
        self._end: Exception | None = None

    @classmethod
    async def connect(cls, path: Path) -> "Connection":
        """Open a connection to the runner's socket."""
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_unix_connection(cls, str(path))
        return connection

    @property
    def is_open(self) -> bool:
        """Whether neither side has hung up."""
        return self._end is None and not self._transport.is_closing()

    def post(self, request: protocol.Request) -> None:
        """Send a short request without waiting.

        Raises
        ------
        ConnectionError
            One of the two sides has hung up.
        """
        self._write(protocol.encode_request(request))

    async def send(self, request: protocol.Request) -> None:
        """Send a request; wait while the other side is behind."""
        self.post(request)
        await self._until_taken()

    async def send_piece(self, data: bytes) -> None:
        """Send a piece of a file."""
        self._write(protocol.encode_frame(FrameKind.FILE, data))
        await self._until_taken()

    async def receive(self) -> Arrival:
        """Return the next event, or a frame of bytes; one caller at a time.

        Raises
        ------
        ConnectionError
            The runner has hung up.
        ProtocolError
            It sent what no runner sends.
        """
        while not self._frames:
            if self._end is not None:
                raise self._end
            self._arrival = asyncio.get_running_loop().create_future()
            await self._arrival
        frame = self._frames.popleft()
        self._waiting_bytes -= len(frame.payload)
        if self._is_paused and self._waiting_bytes <= _MOST_WAITING_BYTES:
            self._is_paused = False
            if not self._transport.is_closing():
                self._transport.resume_reading()
        if frame.kind is not FrameKind.JSON:
            return frame
        if len(frame.payload) > _LARGE_BYTES:
            return await asyncio.to_thread(protocol.parse_event, frame)
        return protocol.parse_event(frame)

    async def ask(self, request: protocol.Request) -> Arrival:
        """Send a request and return what answers it."""
        await self.send(request)
        return await self.receive()

    def abort(self) -> None:
        """Hang up at once."""
        # abort, not close: nothing that is still to be written is worth a wait
        self._transport.abort()

    def _write(self, data: bytes) -> None:
        # Not the transport's to say: asyncio's drops what comes too late, and uvloop's raises an
        # error that is no OSError.
        if not self.is_open:
            raise ConnectionResetError("the connection to the runner is closed")
        self._transport.write(data)

    async def _until_taken(self) -> None:
        if self._room is not None:
            await asyncio.shield(self._room)
        if self._end is not None:
            raise ConnectionResetError("the runner closed the connection")

    # ------------------------------------------------------------ what the loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Take in what has come; while nobody asks for it, have the other side wait."""
        try:
            for frame in self._decoder.feed(data):
                self._frames.append(frame)
                self._waiting_bytes += len(frame.payload)
        except protocol.ProtocolError as error:
            self._over(error)
            self.abort()
        if self._waiting_bytes > _MOST_WAITING_BYTES and not self._transport.is_closing():
            self._is_paused = True
            self._transport.pause_reading()
        self._wake(self._arrival)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell who waits that nothing more comes."""
        self._over(exc or ConnectionResetError("the runner closed the connection"))
        self._wake(self._arrival)
        self._wake(self._room)

    def pause_writing(self) -> None:
        """Have those wait who send."""
        self._room = asyncio.get_running_loop().create_future()

    def resume_writing(self) -> None:
        """Let them go on."""
        self._wake(self._room)
        self._room = None

    def _over(self, error: Exception) -> None:
        self._end = self._end or error

    @staticmethod
    def _wake(waiter: asyncio.Future[None] | None) -> None:
        if waiter is not None and not waiter.done():
            waiter.set_result(None)
