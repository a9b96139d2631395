"""Messages between the sandbox service and its runner, each in a frame of its own.

Everything here is pure: bytes in, values out; both sides use the same classes, so neither can
drift from the other.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Final, Literal, TypeAlias, get_args

from sandbox_runner import file_messages
from sandbox_runner.file_messages import FileChanges, FileEvent, FileRequest
from sandbox_runner.frames import (
    HEADER_BYTES,
    MAX_EVENT_BYTES,
    MAX_OUTPUT_BYTES,
    MAX_REQUEST_BYTES,
    Frame,
    FrameDecoder,
    FrameKind,
    ProtocolError,
    decode_header,
    encode_frame,
)
from sandbox_runner.hello_messages import (
    Bounds,
    HelloEvent,
    Protection,
    ProtectionState,
    SlotUse,
    parse_hello,
)
from sandbox_runner.message_fields import (
    dump,
    given_members,
    load,
    only,
    optional_string,
    positive,
    string,
)
from sandbox_runner.rich_messages import OutputHead, parse_heads

# Names of frames and of the greeting as well: who speaks the protocol imports one module.
__all__ = [
    "HEADER_BYTES",
    "MAX_EVENT_BYTES",
    "MAX_OUTPUT_BYTES",
    "MAX_REQUEST_BYTES",
    "Bounds",
    "Frame",
    "FrameDecoder",
    "FrameKind",
    "HelloEvent",
    "Protection",
    "ProtectionState",
    "ProtocolError",
    "SlotUse",
    "decode_header",
    "encode_frame",
]

PROTOCOL_VERSION: Final = 4

Status: TypeAlias = Literal[
    "ok", "error", "timeout", "memory", "output", "killed", "crashed", "cancelled"
]
RefusalReason: TypeAlias = Literal["full", "unsafe", "bad-request"]


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
    disk_entries
        Number of files and folders in the session's folder.
    """

    memory_bytes: int | None = None
    processes: int | None = None
    output_bytes: int | None = None
    file_bytes: int | None = None
    disk_bytes: int | None = None
    disk_entries: int | None = None


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
    """Run one cell; of the limits it may lower those that are the warden's to keep."""

    id: str
    code: str
    timeout_seconds: float
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True, slots=True)
class Cancel:
    """End the run in progress, and with it the session."""


@dataclass(frozen=True, slots=True)
class Reset:
    """End the run in progress, if there is one, and give the session a fresh interpreter.

    Files, limits and package set stay.
    """


@dataclass(frozen=True, slots=True)
class Packages:
    """Make the package set in a folder importable, in place of the one before."""

    path: str


@dataclass(frozen=True, slots=True)
class Close:
    """End the session."""


_LIMIT_NAMES: Final = tuple(item.name for item in fields(Limits))
Request: TypeAlias = Hello | Open | Run | Cancel | Reset | Packages | Close | FileRequest

_OP_NAMES: Final[Mapping[type[Request], str]] = {
    Hello: "hello",
    Open: "open",
    Run: "run",
    Cancel: "cancel",
    Reset: "reset",
    Packages: "packages",
    Close: "close",
}
_BARE: Final[Mapping[str, Request]] = {
    "hello": Hello(),
    "cancel": Cancel(),
    "reset": Reset(),
    "close": Close(),
}


def encode_request(request: Request) -> bytes:
    """Return the frame of a request."""
    if isinstance(request, FileRequest):
        return encode_frame(FrameKind.JSON, dump(file_messages.request_message(request)))
    message = {"op": _OP_NAMES[type(request)], **given_members(request)}
    return encode_frame(FrameKind.JSON, dump(message))


def parse_request(frame: Frame) -> Request:
    """Return the request in a frame.

    Raises
    ------
    ProtocolError
        The frame is no request of this protocol; the message says why.
    """
    message = load(frame)
    op = message.pop("op", None)
    if op == "open":
        return _parse_open(message)
    if op == "run":
        return _parse_run(message)
    if op == "packages":
        only(message, "path")
        return Packages(path=string(message, "path"))
    if isinstance(op, str) and op in _BARE:
        only(message)
        return _BARE[op]
    if isinstance(op, str) and op in file_messages.REQUESTS:
        return file_messages.parse_request(op, message)
    raise ProtocolError(f"unknown op {str(op)[:40]!r}")


def _parse_open(message: dict[str, Any]) -> Open:
    only(message, "limits", "package_path")
    package_path = optional_string(message, "package_path")
    return Open(limits=_parse_limits(message), package_path=package_path)


_NO_LIMITS: Final = Limits()


def _parse_limits(message: dict[str, Any]) -> Limits:
    raw = message.get("limits")
    if raw is None:
        return _NO_LIMITS
    if not isinstance(raw, dict):
        raise ProtocolError("limits must be an object")
    only(raw, *_LIMIT_NAMES)
    return Limits(**{name: positive(raw, name) for name in raw})


def _parse_run(message: dict[str, Any]) -> Run:
    only(message, "id", "code", "timeout_seconds", "limits")
    timeout = message.get("timeout_seconds")
    if isinstance(timeout, bool) or not isinstance(timeout, int | float):
        raise ProtocolError("timeout_seconds must be a number")
    if not (math.isfinite(timeout) and timeout > 0):
        raise ProtocolError("timeout_seconds must be a positive number")
    limits = _parse_limits(message)
    return Run(string(message, "id"), string(message, "code"), float(timeout), limits)


# ---------------------------------------------------------------- events: runner → service


@dataclass(frozen=True, slots=True)
class Opened:
    """The connection is a session now; its warden is the peer.

    Attributes
    ----------
    was_waiting
        Whether it had been forked before it was asked for.
    """

    session: str
    was_waiting: bool


@dataclass(frozen=True, slots=True)
class Refused:
    """The request was not carried out; a session that gets this has ended."""

    reason: RefusalReason
    detail: str


@dataclass(frozen=True, slots=True)
class PackagesApplied:
    """The package set is on the session's path."""


@dataclass(frozen=True, slots=True)
class ResetDone:
    """The session has a fresh interpreter."""


@dataclass(frozen=True, slots=True)
class CellError:
    """The exception that ended a cell: text from untrusted code, capped."""

    type: str
    message: str
    traceback: str


@dataclass(frozen=True, slots=True)
class Done:
    """How a run ended. Only `result`, `error` and `outputs` are the worker's words.

    The content of `outputs` came before, in DISPLAY frames.

    Attributes
    ----------
    peak_memory_bytes
        Most that was resident of the worker's memory, the interpreter and its libraries included,
        which the limit on memory does not count.
    kill_ms
        From the end of its time to the death of the whole tree; of what ended in another way, from
        when that was noticed.
    is_light
        Whether the session holds little: one process and thread, a few MiB, no file that the run
        has touched.
    """

    id: str
    status: Status
    signal: str | None = None
    result: str | None = None
    error: CellError | None = None
    duration_ms: float = 0.0
    peak_memory_bytes: int = 0
    kill_ms: float | None = None
    stdout_dropped: int = 0
    stderr_dropped: int = 0
    session_ended: bool = False
    outputs: tuple[OutputHead, ...] = ()
    outputs_dropped: int = 0
    files: FileChanges = field(default_factory=FileChanges)
    is_light: bool = False


Event: TypeAlias = HelloEvent | Opened | Refused | PackagesApplied | ResetDone | Done | FileEvent

_EVENT_NAMES: Final[Mapping[type[Event], str]] = {
    HelloEvent: "hello",
    Opened: "opened",
    Refused: "refused",
    PackagesApplied: "packages",
    ResetDone: "reset",
    Done: "done",
}


def encode_event(event: Event) -> bytes:
    """Return the frame of an event.

    Raises
    ------
    ValueError
        It is longer than the service takes.
    """
    if isinstance(event, FileEvent):
        message = file_messages.event_message(event)
    else:
        message = {"event": _EVENT_NAMES[type(event)], **given_members(event)}
    payload = dump(message)
    if len(payload) > MAX_EVENT_BYTES:
        raise ValueError(f"an event of {len(payload)} bytes is over the cap")
    return encode_frame(FrameKind.JSON, payload)


def parse_event(frame: Frame) -> Event:
    """Return the event in a JSON frame.

    Raises
    ------
    ProtocolError
        The frame is no event of this protocol.
    """
    message = load(frame)
    name = message.pop("event", None)
    try:
        match name:
            case "hello":
                return parse_hello(message)
            case "opened":
                return Opened(string(message, "session"), message["was_waiting"] is True)
            case "refused":
                return _parse_refused(message)
            case "packages" | "reset":
                return PackagesApplied() if name == "packages" else ResetDone()
            case "done":
                return _parse_done(message)
            case str() if name in file_messages.EVENTS:
                return file_messages.parse_event(name, message)
    except (KeyError, TypeError, AttributeError) as error:
        raise ProtocolError(f"malformed {name} event: {error}") from None
    raise ProtocolError(f"unknown event {str(name)[:40]!r}")


def _parse_refused(message: dict[str, Any]) -> Refused:
    reason = message["reason"]
    if reason not in get_args(RefusalReason):
        raise ProtocolError(f"unknown refusal {reason!r}")
    return Refused(reason=reason, detail=string(message, "detail"))


def _parse_done(message: dict[str, Any]) -> Done:
    if message["status"] not in get_args(Status):
        raise ProtocolError(f"unknown status {message['status']!r}")
    if (error := message.get("error")) is not None:
        message["error"] = CellError(**error)
    if "outputs" in message:
        try:
            message["outputs"] = parse_heads(message["outputs"])
        except ValueError as problem:
            raise ProtocolError(str(problem)) from None
    if "files" in message:
        message["files"] = file_messages.parse_changes(message["files"])
    return Done(**message)
