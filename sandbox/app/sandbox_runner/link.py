"""The line between warden and worker: whole messages, tied to one task by a secret tag.

The worker's end can be written to by untrusted code. A message without the tag of the task in
progress is ignored, so blind writes forge nothing; the warden decides on status, time and signals
by itself in any case.
"""

import json
import os
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

from sandbox_runner.message_fields import dump

TAG_BYTES: Final = 16
# One message stays well below the default socket buffer (208 KiB).
PART_BYTES: Final = 64 << 10
MESSAGE_BYTES: Final = PART_BYTES + 64
_HEAD: Final = struct.Struct(f"!{TAG_BYTES}s?")
MAX_REPORT_BYTES: Final = 6 << 20
"""A megabyte of JSON, and the content of what a cell shows (`rich_messages`), with room."""

TaskKind: TypeAlias = Literal["run", "packages", "rehearsal"]


@dataclass(frozen=True, slots=True)
class Task:
    """What the worker is to do: run source, make packages importable, rehearse a run."""

    kind: TaskKind
    text: str


@dataclass(frozen=True, slots=True)
class Part:
    """One message, cut into tag, whether it is the last of its kind, and data."""

    tag: bytes
    is_last: bool
    data: bytes


def new_tag() -> bytes:
    """Return the tag of a new task."""
    return os.urandom(TAG_BYTES)


def encode(tag: bytes, message: dict[str, Any]) -> Iterator[bytes]:
    """Yield the messages that carry a JSON object."""
    return cut(tag, dump(message))


def cut(tag: bytes, payload: bytes) -> Iterator[bytes]:
    """Yield the messages that carry some bytes, of which there must be one at least."""
    starts = range(0, len(payload), PART_BYTES)
    for start in starts:
        yield _HEAD.pack(tag, start == starts[-1]) + payload[start : start + PART_BYTES]


def parse(message: bytes) -> Part | None:
    """Return the parts of a message, or None if it is no message of ours."""
    if len(message) < _HEAD.size or len(message) > MESSAGE_BYTES:
        return None
    tag, is_last = _HEAD.unpack_from(message)
    return Part(tag, is_last, message[_HEAD.size :])


def receive_task(line: socket.socket) -> tuple[bytes, Task]:
    """Wait for the next task, in the worker.

    Raises
    ------
    EOFError
        The warden is gone.
    """
    payload = bytearray()
    while True:
        # A cell may have made the socket non-blocking for us as well.
        os.set_blocking(line.fileno(), True)
        part = parse(line.recv(MESSAGE_BYTES))
        if part is None:
            raise EOFError
        payload += part.data
        if part.is_last:
            return part.tag, Task(**json.loads(payload))
