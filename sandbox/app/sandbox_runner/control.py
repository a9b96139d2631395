"""Messages inside the runner: listener to zygote, listener to warden, and back.

The lines are SOCK_SEQPACKET pairs between trusted processes: one message, one packet.
"""

import json
import os
import socket
from dataclasses import dataclass
from typing import Any, Final

from sandbox_runner.message_fields import dump, members
from sandbox_runner.policy import SessionLimits
from sandbox_runner.protocol import Protection

_MAX_MESSAGE_BYTES: Final = 64 << 10


class DescriptorLost(Exception):
    """A message came without its descriptor: this process may open no more of them."""


@dataclass(frozen=True, slots=True)
class ZygoteReady:
    """The zygote has preloaded and verified everything."""

    protections: tuple[Protection, ...]
    is_safe: bool
    preloaded: tuple[str, ...]

    @classmethod
    def from_json(cls, raw: dict[str, Any]) -> "ZygoteReady":
        """Return the message that was sent."""
        protections = tuple(Protection(**item) for item in raw["protections"])
        return cls(protections, raw["is_safe"], tuple(raw["preloaded"]))


@dataclass(frozen=True, slots=True)
class ZygoteThreaded:
    """A preloaded module has started threads, so this zygote ends: no fork would have them."""

    threaded: str


@dataclass(frozen=True, slots=True)
class Spawn:
    """Fork a session; its control line comes along as a descriptor."""

    session: str
    slot: str
    has_quota: bool


@dataclass(frozen=True, slots=True)
class WardenReady:
    """A worker is confined and waits to be claimed.

    Attributes
    ----------
    pid
        The warden's, as the listener and ``/proc`` know it.
    """

    pid: int


@dataclass(frozen=True, slots=True)
class Claim:
    """A client has come: its connection comes along as a descriptor.

    Attributes
    ----------
    was_waiting
        Whether the session was ready before the client came.
    """

    limits: SessionLimits
    package_path: str | None
    was_waiting: bool

    @classmethod
    def from_json(cls, raw: dict[str, Any]) -> "Claim":
        """Return the message that was sent."""
        return cls(SessionLimits(**raw["limits"]), raw["package_path"], raw["was_waiting"])


def send(line: socket.socket, message: Any, descriptors: tuple[int, ...] = ()) -> None:
    """Send one message, with descriptors."""
    socket.send_fds(line, [dump(members(message))], list(descriptors))


def receive_claim(line: socket.socket) -> tuple[Claim, socket.socket]:
    """Wait for a client; return what it was granted, and its connection.

    Raises
    ------
    EOFError
        The other end is gone.
    DescriptorLost
        The connection did not come along.
    """
    message, descriptor = receive_with_descriptor(line)
    return Claim.from_json(message), socket.socket(fileno=descriptor)


def receive_with_descriptor(line: socket.socket) -> tuple[dict[str, Any], int]:
    """Return the next message and the one descriptor that comes with it.

    Raises
    ------
    EOFError
        The other end is gone.
    DescriptorLost
        It did not come along.
    """
    message, descriptors = receive(line)
    if len(descriptors) != 1:
        for descriptor in descriptors:
            os.close(descriptor)
        raise DescriptorLost(f"{len(descriptors)} descriptors came with a message, and not one")
    return message, descriptors[0]


def receive(line: socket.socket) -> tuple[dict[str, Any], tuple[int, ...]]:
    """Return the next message and its descriptors.

    Raises
    ------
    EOFError
        The other end is gone.
    DescriptorLost
        The kernel had no room for one of the descriptors, and has closed it.
    """
    try:
        payload, descriptors, flags, _ = socket.recv_fds(line, _MAX_MESSAGE_BYTES, 4)
    except ConnectionResetError:
        raise EOFError from None
    if not payload:
        raise EOFError
    if flags & socket.MSG_CTRUNC:
        for descriptor in descriptors:
            os.close(descriptor)
        raise DescriptorLost("no descriptor is free for what came with a message")
    return json.loads(payload), tuple(descriptors)
