"""Files as callers see them: what kind they seem to be, and where they can be had. Pure."""

import mimetypes
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import Final
from urllib.parse import quote

from servicekit.wire.files import FileChanges, SessionFile

from sandbox.stored_files import ChangedFiles, StoredFile

# Without the machine's own tables: the same name has the same type wherever the service runs.
_TYPES: Final = mimetypes.MimeTypes()
_FURTHER_TYPES: Final = {
    ".csv": "text/csv",
    ".ipynb": "application/x-ipynb+json",
    ".jsonl": "application/jsonl",
    ".md": "text/markdown",
    ".npy": "application/octet-stream",
    ".parquet": "application/vnd.apache.parquet",
    ".svg": "image/svg+xml",
    ".toml": "application/toml",
    ".webp": "image/webp",
    ".xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    ".yaml": "application/yaml",
}
UNKNOWN_TYPE: Final = "application/octet-stream"

_NO_CHANGES: Final = ChangedFiles()
_NONE_SHOWN: Final = FileChanges()


def media_type_of(path: str) -> str:
    """Return the media type that a name's ending suggests."""
    ending = PurePosixPath(path).suffix.lower()
    if ending in _FURTHER_TYPES:
        return _FURTHER_TYPES[ending]
    # As a file's name and not as an address, in which `data:` and a scheme would mean something.
    found, encoding = _TYPES.guess_type("x" + ending)
    return found if found is not None and encoding is None else UNKNOWN_TYPE


def shown(path: str) -> str:
    r"""Return a path as text that UTF-8 can carry: an odd byte becomes `\udcXX`."""
    return path.encode("utf-8", "backslashreplace").decode("utf-8")


def link_to(path: str, session_id: str) -> str:
    """Return the address of a file on this service, whatever bytes its name has."""
    raw = path.encode("utf-8", "surrogateescape")
    return f"/sessions/{quote(session_id, safe='')}/files/{quote(raw, safe='/')}"


def describe(file: StoredFile, session_id: str | None) -> SessionFile:
    """Return a file as callers see it; without a session it cannot be had."""
    is_file = file.type == "file"
    return SessionFile(
        name=shown(file.path.rpartition("/")[2]),
        path=shown(file.path),
        type=file.type,
        media_type=media_type_of(file.path) if is_file else None,
        size_bytes=file.size_bytes,
        modified_at=_moment(file.modified),
        link=link_to(file.path, session_id) if is_file and session_id is not None else None,
    )


def describe_changes(changes: ChangedFiles, session_id: str | None) -> FileChanges:
    """Return a run's lists as callers see them; of a session that has ended nothing can be had."""
    if changes == _NO_CHANGES:
        return _NONE_SHOWN
    return FileChanges(
        added=_all(changes.added, session_id),
        changed=_all(changes.changed, session_id),
        deleted=_all(changes.deleted, None),
        truncated=changes.is_truncated,
    )


def _all(files: Iterable[StoredFile], session_id: str | None) -> tuple[SessionFile, ...]:
    return tuple(describe(file, session_id) for file in files)


def _moment(seconds: float) -> datetime | None:
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        return None  # a file may bear any time at all
