"""The connection to a session's client: whole requests come in; events, output and files go out."""

import select
import socket
import time
from collections import deque
from typing import Final

from sandbox_runner.file_messages import FileEvent
from sandbox_runner.frames import FrameDecoder, FrameKind, encode_frame
from sandbox_runner.protocol import (
    MAX_REQUEST_BYTES,
    Done,
    Opened,
    PackagesApplied,
    ProtocolError,
    Refused,
    Request,
    ResetDone,
    encode_event,
    parse_request,
)

FLUSH_SECONDS: Final = 5.0
_READ_BYTES: Final = 64 << 10


class PeerGone(Exception):
    """The service hung up, or the listener is gone."""


class ClientLine:
    """One client's connection.

    Attributes
    ----------
    requests
        What has come and was not taken yet: requests, and pieces of files.
    """

    def __init__(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        self.requests: deque[Request | bytes] = deque()
        self._connection = connection
        self._decoder = FrameDecoder(max_json_bytes=MAX_REQUEST_BYTES)
        self._outbox = bytearray()

    def fileno(self) -> int:
        """Return the connection's descriptor."""
        return self._connection.fileno()

    def close(self) -> None:
        """Hang up."""
        self._connection.close()

    @property
    def is_clear(self) -> bool:
        """Whether all that was said has been taken."""
        return not self._outbox

    @property
    def awaited(self) -> int:
        """What to wait for, as a mask of `select.poll`."""
        return select.POLLIN if self.is_clear else select.POLLIN | select.POLLOUT

    def say(self, event: Opened | Refused | Done | PackagesApplied | ResetDone | FileEvent) -> None:
        """Send an event, now as much of it as is taken."""
        self.add(encode_event(event))
        self.flush(0)

    def send_piece(self, data: bytes) -> None:
        """Send a FILE frame."""
        self.add(encode_frame(FrameKind.FILE, data))
        self.flush(0)

    def add(self, frames: bytes) -> None:
        """Send frames with what is flushed next."""
        self._outbox += frames

    def take(self) -> None:
        """Take in what has come.

        Raises
        ------
        PeerGone
            The client hung up, or sent what is no request, which it is told.
        """
        try:
            data = self._connection.recv(_READ_BYTES)
        except BlockingIOError:
            return
        except OSError as error:
            raise PeerGone(str(error)) from error
        if not data:
            raise PeerGone("the service hung up")
        try:
            self.requests.extend(
                frame.payload if frame.kind is FrameKind.FILE else parse_request(frame)
                for frame in self._decoder.feed(data)
            )
        except ProtocolError as error:
            self.say(Refused(reason="bad-request", detail=str(error)))
            self.flush(FLUSH_SECONDS)
            raise PeerGone(str(error)) from error

    def flush(self, patience_seconds: float) -> None:
        """Send what waits, for as long as the client takes it within some patience.

        Raises
        ------
        PeerGone
            The client hung up.
        """
        limit = time.monotonic() + patience_seconds
        while self._outbox:
            try:
                del self._outbox[: self._connection.send(self._outbox)]
            except BlockingIOError:
                left = limit - time.monotonic()
                if left <= 0:
                    return
                select.select([], [self._connection], [], left)
            except OSError as error:
                raise PeerGone(str(error)) from error
