"""Answers leave in one piece: what a turn of the loop writes is one call of the kernel.

Uvicorn writes the head of an answer and its body one after the other, and the loop hands each of
them to the kernel at once: two calls of some 40 µs each, and a client that is woken up twice.
"""

import asyncio
import socket
import sys
from contextlib import suppress
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

# What is longer gains nothing, and a body that is written in one turn must not be held whole.
_MOST_HELD_BYTES: Final = 64 << 10
_TCP_NOTSENT_LOWAT: Final = 25  # of Linux; Python has a name for it from 3.12 on
_MOST_UNSENT_BYTES: Final = 128 << 10


class GatheringTransport:
    """A transport that holds what is written until the loop's next turn.

    All that it does not have itself is the transport's behind it.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._held: list[bytes] = []
        self._held_bytes = 0

    def write(self, data: bytes) -> None:
        """Write some bytes, soon."""
        if not self._held:
            self._loop.call_soon(self._flush)
        self._held.append(data)
        self._held_bytes += len(data)
        if self._held_bytes >= _MOST_HELD_BYTES:
            self._flush()

    def get_write_buffer_size(self) -> int:
        """Return how many bytes have not been sent."""
        return self._held_bytes + self._transport.get_write_buffer_size()

    def close(self) -> None:
        """Send what was written, then hang up."""
        self._flush()
        self._transport.close()

    def abort(self) -> None:
        """Hang up at once."""
        self._held.clear()
        self._held_bytes = 0
        self._transport.abort()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def _flush(self) -> None:
        held, self._held, self._held_bytes = self._held, [], 0
        if held and not self._transport.is_closing():
            self._transport.write(b"".join(held))


def _keep_little(transport: asyncio.Transport) -> None:
    """Have the kernel take no more than it is about to send.

    It would take megabytes, and then nothing until a third of them has gone: who sends a file to a
    slow reader could not tell whether it reads at all.
    """
    connection = transport.get_extra_info("socket")
    if connection is not None and sys.platform == "linux":
        with suppress(OSError):  # no TCP
            connection.setsockopt(socket.IPPROTO_TCP, _TCP_NOTSENT_LOWAT, _MOST_UNSENT_BYTES)


class GatheringProtocol(HttpToolsProtocol):
    """Uvicorn's protocol, on such a transport."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's own
        """Take a connection."""
        _keep_little(transport)
        super().connection_made(GatheringTransport(transport, self.loop))  # type: ignore[arg-type]  # it passes on what it does not have
