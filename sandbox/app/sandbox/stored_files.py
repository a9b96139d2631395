"""The port to a session's files: what the service asks of the runner, as plain values."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from servicekit.wire.files import FileType


@dataclass(frozen=True, slots=True)
class StoredFile:
    """One file, folder or link.

    Attributes
    ----------
    path
        Relative to the session's folder; bytes that are no UTF-8 as lone surrogates.
    modified
        Seconds since 1970, in UTC.
    """

    path: str
    type: FileType
    size_bytes: int
    modified: float


@dataclass(frozen=True, slots=True)
class StoredFiles:
    """A listing; `is_truncated` if that is not all."""

    files: tuple[StoredFile, ...]
    is_truncated: bool


@dataclass(frozen=True, slots=True)
class ChangedFiles:
    """What a run added, changed and deleted; `is_truncated` if that is not all."""

    added: tuple[StoredFile, ...] = ()
    changed: tuple[StoredFile, ...] = ()
    deleted: tuple[StoredFile, ...] = ()
    is_truncated: bool = False


@dataclass(frozen=True, slots=True)
class OpenFile:
    """A file that is being read: its description, and its content in pieces."""

    file: StoredFile
    pieces: AsyncIterator[bytes]


class CellFiles(Protocol):
    """The files of one live session. Between its runs only: the caller holds its turn.

    Every call may raise a `FileRefusal`, after which the session is as it was, or
    `RunnerDown`. A cancelled call is undone before it ends, and the session lives on.
    """

    async def list(self) -> StoredFiles:
        """List everything in the session's folder."""

    def read(self, path: str) -> AbstractAsyncContextManager[OpenFile]:
        """Open a plain file; its pieces can be read inside of the `with` block."""

    async def write(self, path: str, content: AsyncIterator[bytes]) -> tuple[StoredFile, bool]:
        """Write a file, all of it or nothing; say also whether it is new."""

    async def delete(self, path: str) -> None:
        """Remove a file or a link."""
