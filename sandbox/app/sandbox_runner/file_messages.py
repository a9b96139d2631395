"""Messages about a session's files, and the lists of what a run changed. Pure.

A read is answered by `FileOpened`, FILE frames and `FileEnd`; a write is FILE frames that follow
the request, the last of them empty, and is answered by `FileWritten` or a refusal. `Cancel` ends
either before its time.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from json.encoder import encode_basestring_ascii
from typing import Any, Final, Literal, TypeAlias, get_args

from sandbox_runner.frames import ProtocolError
from sandbox_runner.message_fields import members, only, string

_MOST_SECONDS: Final = 2.0**63
# The names of the fields, a kind, and two numbers of 20 digits and more.
_ENTRY_BYTES: Final = 128

FileKind: TypeAlias = Literal["file", "folder", "link", "other"]
FileReason: TypeAlias = Literal[
    "bad-path", "not-found", "not-a-file", "unreadable", "too-large", "full", "cancelled", "failed"
]


# ---------------------------------------------------------------- requests: service → runner


@dataclass(frozen=True, slots=True)
class ListFiles:
    """List everything in the session's folder."""


@dataclass(frozen=True, slots=True)
class ReadFile:
    """Send a file's content."""

    path: str


@dataclass(frozen=True, slots=True)
class WriteFile:
    """Take the FILE frames that follow as a file's new content."""

    path: str


@dataclass(frozen=True, slots=True)
class DeleteFile:
    """Remove a file, or a link."""

    path: str


FileRequest: TypeAlias = ListFiles | ReadFile | WriteFile | DeleteFile

_REQUEST_NAMES: Final[Mapping[type[FileRequest], str]] = {
    ListFiles: "list-files",
    ReadFile: "read-file",
    WriteFile: "write-file",
    DeleteFile: "delete-file",
}
REQUESTS: Final[Mapping[str, type[FileRequest]]] = {
    name: kind for kind, name in _REQUEST_NAMES.items()
}


def request_message(request: FileRequest) -> dict[str, Any]:
    """Return a request as a JSON message."""
    return {"op": _REQUEST_NAMES[type(request)], **members(request)}


def parse_request(op: str, message: Mapping[str, Any]) -> FileRequest:
    """Return the request `op`, which is one of `REQUESTS`.

    Raises
    ------
    ProtocolError
        Its fields are not those of such a request.
    """
    kind = REQUESTS[op]
    if kind is ListFiles:
        only(message)
        return ListFiles()
    only(message, "path")
    path = string(message, "path")
    return DeleteFile(path) if kind is DeleteFile else _parse_transfer(kind, path)


def _parse_transfer(kind: type[FileRequest], path: str) -> FileRequest:
    return ReadFile(path) if kind is ReadFile else WriteFile(path)


# ---------------------------------------------------------------- events: runner → service


@dataclass(frozen=True, slots=True)
class FileEntry:
    """One file, folder or link.

    Attributes
    ----------
    path
        Relative to the session's folder; bytes that are no UTF-8 as lone surrogates.
    size_bytes
        0 for folders.
    modified
        Seconds since 1970, in UTC.
    """

    path: str
    kind: FileKind
    size_bytes: int
    modified: float


def json_bytes(path: str) -> int:
    """Return how long an entry is as JSON, at most: a byte of its path may become six."""
    return len(encode_basestring_ascii(path)) + _ENTRY_BYTES


@dataclass(frozen=True, slots=True)
class FileChanges:
    """What a run added, changed and deleted; `is_truncated` if that is not all."""

    added: tuple[FileEntry, ...] = ()
    changed: tuple[FileEntry, ...] = ()
    deleted: tuple[FileEntry, ...] = ()
    is_truncated: bool = False


@dataclass(frozen=True, slots=True)
class FileList:
    """What is in the session's folder; `is_truncated` if that is not all."""

    entries: tuple[FileEntry, ...]
    is_truncated: bool


@dataclass(frozen=True, slots=True)
class FileOpened:
    """The content follows: so many bytes in FILE frames, then `FileEnd`."""

    entry: FileEntry


@dataclass(frozen=True, slots=True)
class FileEnd:
    """No more FILE frames come; `is_whole` if all the bytes have been sent."""

    is_whole: bool


@dataclass(frozen=True, slots=True)
class FileWritten:
    """The file has its new content."""

    entry: FileEntry
    is_new: bool


@dataclass(frozen=True, slots=True)
class FileDeleted:
    """The file is gone."""


@dataclass(frozen=True, slots=True)
class FileRefused:
    """The request was not carried out; the session is as it was. `detail` is a sentence."""

    reason: FileReason
    detail: str


FileEvent: TypeAlias = FileList | FileOpened | FileEnd | FileWritten | FileDeleted | FileRefused

_EVENT_NAMES: Final[Mapping[type[FileEvent], str]] = {
    FileList: "file-list",
    FileOpened: "file-opened",
    FileEnd: "file-end",
    FileWritten: "file-written",
    FileDeleted: "file-deleted",
    FileRefused: "file-refused",
}
EVENTS: Final = frozenset(_EVENT_NAMES.values())


def event_message(event: FileEvent) -> dict[str, Any]:
    """Return an event as a JSON message."""
    return {"event": _EVENT_NAMES[type(event)], **members(event)}


def parse_event(name: str, message: Mapping[str, Any]) -> FileEvent:
    """Return the event `name`, which is one of `EVENTS`.

    Raises
    ------
    ProtocolError, KeyError, TypeError, AttributeError
        Its fields are not those of such an event.
    """
    match name:
        case "file-list":
            return FileList(_entries(message["entries"]), message["is_truncated"] is True)
        case "file-opened":
            return FileOpened(_entry(message["entry"]))
        case "file-end":
            return FileEnd(message["is_whole"] is True)
        case "file-written":
            return FileWritten(_entry(message["entry"]), message["is_new"] is True)
        case "file-deleted":
            return FileDeleted()
        case _:
            return _parse_refused(message)


def parse_changes(raw: Mapping[str, Any]) -> FileChanges:
    """Return the lists of a run.

    Raises
    ------
    ProtocolError, KeyError, TypeError, AttributeError
        They are not such lists.
    """
    return FileChanges(
        _entries(raw["added"]),
        _entries(raw["changed"]),
        _entries(raw["deleted"]),
        raw["is_truncated"] is True,
    )


def _parse_refused(message: Mapping[str, Any]) -> FileRefused:
    reason = message["reason"]
    if reason not in get_args(FileReason):
        raise ProtocolError(f"unknown reason {reason!r}")
    return FileRefused(reason, string(message, "detail"))


def _entries(raw: Any) -> tuple[FileEntry, ...]:
    return tuple(_entry(item) for item in raw)


def _entry(raw: Mapping[str, Any]) -> FileEntry:
    kind, size, modified = raw["kind"], raw["size_bytes"], raw["modified"]
    if kind not in get_args(FileKind):
        raise ProtocolError(f"unknown kind of file {kind!r}")
    if isinstance(size, bool) or not isinstance(size, int) or size < 0:
        raise ProtocolError("size_bytes must be a number of bytes")
    if isinstance(modified, bool) or not isinstance(modified, int | float):
        raise ProtocolError("modified must be a number of seconds")
    if not abs(modified) <= _MOST_SECONDS:
        raise ProtocolError("modified is no time that a file can bear")
    return FileEntry(string(raw, "path"), kind, size, float(modified))
