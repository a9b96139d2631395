"""Frames and messages between the sandbox service and its runner.

A frame is ``u32 big-endian payload length, u8 kind, payload``. Everything here is pure: bytes in,
values out; both sides use the same classes, so neither can drift from the other.
"""

import json
import math
import struct
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from enum import IntEnum
from typing import Any, Final, Literal, TypeAlias, get_args

PROTOCOL_VERSION: Final = 1

_HEADER: Final = struct.Struct("!IB")
HEADER_BYTES: Final = _HEADER.size
MAX_REQUEST_BYTES: Final = 4 << 20
"""The longest JSON payload that the service may send."""
MAX_OUTPUT_BYTES: Final = 64 << 10
"""The longest stdout or stderr payload in one frame."""
MAX_EVENT_BYTES: Final = 8 << 20
"""The longest JSON payload that the runner may send."""

Status: TypeAlias = Literal[
    "ok", "error", "timeout", "memory", "output", "killed", "crashed", "cancelled"
]
RefusalReason: TypeAlias = Literal["full", "unsafe", "bad-request"]
ProtectionState: TypeAlias = Literal["active", "degraded", "disabled", "unavailable"]


class ProtocolError(Exception):
    """The peer sent what no peer of this version sends."""


class FrameKind(IntEnum):
    """What the payload of a frame is."""

    JSON = 1
    STDOUT = 2
    STDERR = 3


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

    @property
    def pending_bytes(self) -> int:
        """Bytes received that do not make a whole frame yet."""
        return len(self._buffer)

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


# ---------------------------------------------------------------- requests: service → runner


@dataclass(frozen=True, slots=True)
class Limits:
    """What one session may use; None stands for the runner's own bound.

    Attributes
    ----------
    memory_bytes
        Resident memory of all processes of the session together.
    processes
        Processes and threads of the session together.
    output_bytes
        Bytes of stdout, and of stderr, that are kept for each run.
    file_bytes
        Size of one file.
    disk_bytes
        Sum of the files in the session's folder.
    """

    memory_bytes: int | None = None
    processes: int | None = None
    output_bytes: int | None = None
    file_bytes: int | None = None
    disk_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Hello:
    """Ask who is there and how safe it is."""


@dataclass(frozen=True, slots=True)
class Open:
    """Turn this connection into a session."""

    limits: Limits = field(default_factory=Limits)
    package_path: str | None = None


@dataclass(frozen=True, slots=True)
class Run:
    """Run one cell."""

    id: str
    code: str
    timeout_seconds: float


@dataclass(frozen=True, slots=True)
class Cancel:
    """End the run in progress, and with it the session."""


@dataclass(frozen=True, slots=True)
class Packages:
    """Make the package set in a folder importable, in place of the one before."""

    path: str


@dataclass(frozen=True, slots=True)
class Close:
    """End the session."""


Request: TypeAlias = Hello | Open | Run | Cancel | Packages | Close

_OP_NAMES: Final[Mapping[type[Request], str]] = {
    Hello: "hello",
    Open: "open",
    Run: "run",
    Cancel: "cancel",
    Packages: "packages",
    Close: "close",
}
_BARE: Final[Mapping[str, Request]] = {"hello": Hello(), "cancel": Cancel(), "close": Close()}


def encode_request(request: Request) -> bytes:
    """Return the frame of a request."""
    message = {"op": _OP_NAMES[type(request)], **asdict(request)}
    return encode_frame(FrameKind.JSON, _dump(message))


def parse_request(frame: Frame) -> Request:
    """Return the request in a frame.

    Raises
    ------
    ProtocolError
        The frame is no request of this protocol; the message says why.
    """
    message = _load(frame)
    op = message.pop("op", None)
    if op == "open":
        return _parse_open(message)
    if op == "run":
        return _parse_run(message)
    if op == "packages":
        _only(message, "path")
        return Packages(path=_string(message, "path"))
    if isinstance(op, str) and op in _BARE:
        _only(message)
        return _BARE[op]
    raise ProtocolError(f"unknown op {str(op)[:40]!r}")


def _parse_open(message: dict[str, Any]) -> Open:
    _only(message, "limits", "package_path")
    raw = message.get("limits") or {}
    if not isinstance(raw, dict):
        raise ProtocolError("limits must be an object")
    _only(raw, *(item.name for item in fields(Limits)))
    limits = Limits(**{name: _positive(raw, name) for name in raw})
    return Open(limits=limits, package_path=_optional_string(message, "package_path"))


def _parse_run(message: dict[str, Any]) -> Run:
    _only(message, "id", "code", "timeout_seconds")
    timeout = message.get("timeout_seconds")
    if isinstance(timeout, bool) or not isinstance(timeout, int | float):
        raise ProtocolError("timeout_seconds must be a number")
    if not (math.isfinite(timeout) and timeout > 0):
        raise ProtocolError("timeout_seconds must be a positive number")
    return Run(_string(message, "id"), _string(message, "code"), float(timeout))


# ---------------------------------------------------------------- events: runner → service


@dataclass(frozen=True, slots=True)
class Protection:
    """One line of defence and the state it was found in at start."""

    name: str
    state: ProtectionState
    detail: str = ""


@dataclass(frozen=True, slots=True)
class SlotUse:
    """How full the house is."""

    size: int
    in_use: int


@dataclass(frozen=True, slots=True)
class HelloEvent:
    """The runner's answer to `Hello`."""

    protocol: int
    python: str
    protections: tuple[Protection, ...]
    is_safe: bool
    preloaded: tuple[str, ...]
    slots: SlotUse


@dataclass(frozen=True, slots=True)
class Opened:
    """The connection is a session now; its warden is the peer."""

    session: str


@dataclass(frozen=True, slots=True)
class Refused:
    """The request was not carried out; a session that gets this has ended."""

    reason: RefusalReason
    detail: str


@dataclass(frozen=True, slots=True)
class PackagesApplied:
    """The package set is on the session's path."""


@dataclass(frozen=True, slots=True)
class CellError:
    """The exception that ended a cell: text from untrusted code, capped."""

    type: str
    message: str
    traceback: str


@dataclass(frozen=True, slots=True)
class Done:
    """How a run ended. Only `result` and `error` are the worker's words."""

    id: str
    status: Status
    signal: str | None = None
    exit_code: int | None = None
    result: str | None = None
    error: CellError | None = None
    duration_ms: float = 0.0
    peak_memory_bytes: int = 0
    kill_ms: float | None = None
    stdout_dropped: int = 0
    stderr_dropped: int = 0
    session_ended: bool = False


Event: TypeAlias = HelloEvent | Opened | Refused | PackagesApplied | Done

_EVENT_NAMES: Final[Mapping[type[Event], str]] = {
    HelloEvent: "hello",
    Opened: "opened",
    Refused: "refused",
    PackagesApplied: "packages",
    Done: "done",
}


def encode_event(event: Event) -> bytes:
    """Return the frame of an event."""
    message = {"event": _EVENT_NAMES[type(event)], **asdict(event)}
    return encode_frame(FrameKind.JSON, _dump(message))


def parse_event(frame: Frame) -> Event:
    """Return the event in a JSON frame.

    Raises
    ------
    ProtocolError
        The frame is no event of this protocol.
    """
    message = _load(frame)
    name = message.pop("event", None)
    try:
        match name:
            case "hello":
                return _parse_hello(message)
            case "opened":
                return Opened(session=_string(message, "session"))
            case "refused":
                return _parse_refused(message)
            case "packages":
                return PackagesApplied()
            case "done":
                return _parse_done(message)
    except (KeyError, TypeError) as error:
        raise ProtocolError(f"malformed {name} event: {error}") from None
    raise ProtocolError(f"unknown event {str(name)[:40]!r}")


def _parse_hello(message: dict[str, Any]) -> HelloEvent:
    return HelloEvent(
        protocol=int(message["protocol"]),
        python=_string(message, "python"),
        protections=tuple(_parse_protection(item) for item in message["protections"]),
        is_safe=message["is_safe"] is True,
        preloaded=tuple(str(name) for name in message["preloaded"]),
        slots=SlotUse(**message["slots"]),
    )


def _parse_protection(raw: dict[str, Any]) -> Protection:
    protection = Protection(**raw)
    if protection.state not in get_args(ProtectionState):
        raise ProtocolError(f"unknown protection state {protection.state!r}")
    return protection


def _parse_refused(message: dict[str, Any]) -> Refused:
    reason = message["reason"]
    if reason not in get_args(RefusalReason):
        raise ProtocolError(f"unknown refusal {reason!r}")
    return Refused(reason=reason, detail=_string(message, "detail"))


def _parse_done(message: dict[str, Any]) -> Done:
    if message["status"] not in get_args(Status):
        raise ProtocolError(f"unknown status {message['status']!r}")
    error = message.pop("error", None)
    return Done(**message, error=None if error is None else CellError(**error))


# ---------------------------------------------------------------- JSON


def _dump(message: Mapping[str, Any]) -> bytes:
    return json.dumps(message, separators=(",", ":")).encode("ascii")


def _load(frame: Frame) -> dict[str, Any]:
    if frame.kind is not FrameKind.JSON:
        raise ProtocolError("expected a JSON frame")
    try:
        message = json.loads(frame.payload)
    except (ValueError, RecursionError):
        raise ProtocolError("the frame is not JSON") from None
    if not isinstance(message, dict):
        raise ProtocolError("the frame is not a JSON object")
    return message


def _only(message: Mapping[str, Any], *allowed: str) -> None:
    unknown = sorted(str(name)[:40] for name in message if name not in allowed)
    if unknown:
        raise ProtocolError(f"unknown fields: {', '.join(unknown)}")


def _string(message: Mapping[str, Any], name: str) -> str:
    value = message.get(name)
    if not isinstance(value, str):
        raise ProtocolError(f"{name} must be a string")
    return value


def _optional_string(message: Mapping[str, Any], name: str) -> str | None:
    return None if message.get(name) is None else _string(message, name)


def _positive(message: Mapping[str, Any], name: str) -> int | None:
    value = message[name]
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or value <= 0:
        raise ProtocolError(f"{name} must be a positive integer")
    return value
