"""A connection that is no session yet: it says hello, and opens or goes."""

import socket
import time
from typing import Final

from sandbox_runner.protocol import (
    HEADER_BYTES,
    MAX_REQUEST_BYTES,
    Event,
    Frame,
    FrameKind,
    Request,
    decode_header,
    encode_event,
    parse_request,
)

_PATIENCE_SECONDS: Final = 30.0
_READ_BYTES: Final = 64 << 10


class Visitor:
    """Reads one frame at a time and not a byte more: what follows is the warden's to read."""

    def __init__(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        self.connection = connection
        self._buffer = bytearray()
        self._expires = time.monotonic() + _PATIENCE_SECONDS

    @property
    def is_overdue(self) -> bool:
        """Whether it has said nothing whole for too long."""
        return time.monotonic() > self._expires

    def receive(self) -> Request | None:
        """Return the next request, or None if it is not whole yet.

        Raises
        ------
        EOFError
            The peer is gone.
        ProtocolError
            It sent what is no request.
        """
        if len(self._buffer) < HEADER_BYTES:
            self._read(HEADER_BYTES - len(self._buffer))
        if len(self._buffer) < HEADER_BYTES:
            return None
        kind, length = decode_header(
            bytes(self._buffer[:HEADER_BYTES]), max_json_bytes=MAX_REQUEST_BYTES
        )
        missing = HEADER_BYTES + length - len(self._buffer)
        if missing:
            self._read(min(missing, _READ_BYTES))
        if len(self._buffer) < HEADER_BYTES + length:
            return None
        frame = Frame(FrameKind(kind), bytes(self._buffer[HEADER_BYTES:]))
        self._buffer.clear()
        self._expires = time.monotonic() + _PATIENCE_SECONDS
        return parse_request(frame)

    def say(self, event: Event) -> None:
        """Send an event; a peer that does not take so little is not worth waiting for."""
        try:
            self.connection.send(encode_event(event))
        except OSError:
            return  # it is gone; the next read says so

    def _read(self, most_bytes: int) -> None:
        try:
            data = self.connection.recv(most_bytes)
        except BlockingIOError:
            return
        except OSError as error:
            raise EOFError from error
        if not data:
            raise EOFError
        self._buffer += data
