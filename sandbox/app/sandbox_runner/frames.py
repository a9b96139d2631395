"""Frames: what the sandbox service and its runner send each other, cut from a byte stream.

A frame is ``u32 big-endian payload length, u8 kind, payload``. Pure: bytes in, values out.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

_HEADER: Final = struct.Struct("!IB")
HEADER_BYTES: Final = _HEADER.size
MAX_REQUEST_BYTES: Final = 4 << 20
"""The longest JSON payload that the service may send."""
MAX_OUTPUT_BYTES: Final = 64 << 10
"""The longest payload of output, of a file, or of what a cell shows, in one frame."""
MAX_EVENT_BYTES: Final = 8 << 20
"""The longest JSON payload that the runner may send."""


class ProtocolError(Exception):
    """The peer sent what no peer of this version sends."""


class FrameKind(IntEnum):
    """What the payload of a frame is."""

    JSON = 1
    STDOUT = 2
    STDERR = 3
    FILE = 4
    DISPLAY = 5


@dataclass(frozen=True, slots=True)
class Frame:
    """One whole frame."""

    kind: FrameKind
    payload: bytes


def encode_frame(kind: FrameKind, payload: bytes) -> bytes:
    """Return the frame's bytes on the wire."""
    return _HEADER.pack(len(payload), kind) + payload


def decode_header(header: bytes, *, max_json_bytes: int) -> tuple[FrameKind, int]:
    """Return kind and payload length of a frame from its first `HEADER_BYTES` bytes.

    Raises
    ------
    ProtocolError
        The kind is unknown or the payload is over its cap.
    """
    length, number = _HEADER.unpack(header)
    try:
        kind = FrameKind(number)
    except ValueError:
        raise ProtocolError(f"unknown frame kind {number}") from None
    cap = max_json_bytes if kind is FrameKind.JSON else MAX_OUTPUT_BYTES
    if length > cap:
        raise ProtocolError(f"a frame of {length} bytes is over the cap of {cap}")
    return kind, length


class FrameDecoder:
    """Cuts a byte stream into frames.

    Parameters
    ----------
    max_json_bytes
        Cap on a JSON payload: `MAX_REQUEST_BYTES` in the runner, `MAX_EVENT_BYTES` in the service.
    """

    def __init__(self, *, max_json_bytes: int) -> None:
        self._max_json_bytes = max_json_bytes
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Yield every frame that `data` completes.

        Raises
        ------
        ProtocolError
            The stream holds something that is no frame; it cannot be read on.
        """
        self._buffer += data
        while len(self._buffer) >= HEADER_BYTES:
            head = bytes(self._buffer[:HEADER_BYTES])
            kind, length = decode_header(head, max_json_bytes=self._max_json_bytes)
            end = HEADER_BYTES + length
            if len(self._buffer) < end:
                return
            payload = bytes(self._buffer[HEADER_BYTES:end])
            del self._buffer[:end]
            yield Frame(kind, payload)
