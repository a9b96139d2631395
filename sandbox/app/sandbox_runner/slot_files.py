"""Files of a session for its owner: found name by name below a descriptor, no link followed.

Whatever code made of its folder (links, pipes, folders a thousand deep), only plain files with a
single name are read, and only plain files come into being.
"""

import contextlib
import errno
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, Self, TypeAlias

from sandbox_runner.file_messages import FileEntry, FileList, FileReason, json_bytes
from sandbox_runner.frames import MAX_EVENT_BYTES
from sandbox_runner.slot_changes import entry_of, is_too_long
from sandbox_runner.slot_path import (
    MAX_DEPTH,
    PathRefused,
    refuse_control_characters,
    split_path,
)
from sandbox_runner.slot_walk import SlotWalk

MAX_LISTED: Final = 10_000
_Made: TypeAlias = tuple[int, str]
"""A folder that was made: the descriptor of the one that it is in, and its name."""
_MAX_LISTED_BYTES: Final = MAX_EVENT_BYTES // 2
_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# O_NONBLOCK: should it be a pipe after all, nobody waits for its other end.
_READ: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_CREATE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})


class FileTrouble(Exception):
    """A request about a file cannot be carried out; the text is a sentence."""

    def __init__(self, reason: FileReason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


def list_files(slot: int) -> FileList:
    """Return what is in a folder, sorted by path; so much of it as a listing may hold."""
    walk = SlotWalk(slot, max_depth=MAX_DEPTH)
    entries: list[FileEntry] = []
    room_bytes = _MAX_LISTED_BYTES
    is_cut = False
    for found in walk:
        if is_too_long(found.path):
            is_cut = True
            continue
        room_bytes -= json_bytes(found.path)
        if len(entries) >= MAX_LISTED or room_bytes < 0:
            is_cut = True
            break
        entries.append(entry_of(found.path, found.status))
    entries.sort(key=lambda entry: entry.path)
    return FileList(tuple(entries), is_truncated=is_cut or not walk.is_whole)


@contextmanager
def open_to_read(slot: int, path: str) -> Iterator[tuple[int, FileEntry]]:
    """Open a plain file; give its descriptor and description.

    Raises
    ------
    FileTrouble
        There is none of that path, or it is something else, or has several names.
    """
    with _at(slot, path) as (folder, name):
        with _told(path):
            _require_plain(os.stat(name, dir_fd=folder, follow_symlinks=False), path)
            descriptor = os.open(name, _READ, dir_fd=folder)
        try:
            status = os.fstat(descriptor)
            _require_plain(status, path)
            yield descriptor, entry_of(path, status)
        finally:
            os.close(descriptor)


def delete(slot: int, path: str) -> None:
    """Remove a file or a link, and not what the link leads to.

    Raises
    ------
    FileTrouble
        There is none of that path, or it is a folder.
    """
    with _at(slot, path) as (folder, name), _told(path):
        status = os.stat(name, dir_fd=folder, follow_symlinks=False)
        if stat.S_ISDIR(status.st_mode):
            raise FileTrouble("not-a-file", f"{_shown(path)} is a folder; delete its files.")
        os.unlink(name, dir_fd=folder)


class Upload:
    """A file that is being written: beside the old one, and renamed over it when it is whole.

    Parameters
    ----------
    max_bytes
        Bound on the file's size.
    room_bytes
        What the session may still write, or None where a file system of its own counts that.
    """

    def __init__(self, slot: int, path: str, *, max_bytes: int, room_bytes: int | None) -> None:
        self._path = path
        self._max_bytes = max_bytes
        self._room_bytes = room_bytes
        self._size = 0
        self._made: list[_Made] = []
        self._stack = contextlib.ExitStack()
        with self._stack:
            _refuse_odd_name(path)
            self._stack.callback(self._remove_empty)
            self._folder, self._name = self._stack.enter_context(_at(slot, path, self._made))
            with _told(path):
                self.is_new = self._is_free()
                self._draft = f".upload-{secrets.token_hex(16)}"
                self._file = os.open(self._draft, _CREATE, 0o600, dir_fd=self._folder)
            self._stack.callback(os.close, self._file)
            self._stack = self._stack.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Leave nothing behind of what was not committed."""
        with self._stack, contextlib.suppress(OSError):
            os.unlink(self._draft, dir_fd=self._folder)

    def _remove_empty(self) -> None:
        """Remove the folders that were made for the file; in those that stay there is something."""
        while self._made:
            parent, name = self._made.pop()
            try:
                os.rmdir(name, dir_fd=parent)
            except OSError:
                continue
            finally:
                os.close(parent)

    def write(self, data: bytes) -> None:
        """Add to the content.

        Raises
        ------
        FileTrouble
            The file grows too large, or the session is full.
        """
        self._size += len(data)
        if self._size > self._max_bytes:
            raise FileTrouble(
                "too-large", f"A file of this session may have {self._max_bytes} bytes at most."
            )
        if self._room_bytes is not None and self._size > self._room_bytes:
            raise _full()
        with _told(self._path):
            while data:
                data = data[os.write(self._file, data) :]

    def commit(self) -> FileEntry:
        """Put the file in its place; what was there is replaced at once."""
        with _told(self._path):
            self._is_free()
            os.rename(self._draft, self._name, src_dir_fd=self._folder, dst_dir_fd=self._folder)
            return entry_of(self._path, os.fstat(self._file))

    def _is_free(self) -> bool:
        try:
            status = os.stat(self._name, dir_fd=self._folder, follow_symlinks=False)
        except FileNotFoundError:
            return True
        if not stat.S_ISREG(status.st_mode):
            _require_plain(status, self._path)
        return False


def _refuse_odd_name(path: str) -> None:
    try:
        refuse_control_characters(path)
    except PathRefused as error:
        raise FileTrouble("bad-path", str(error)) from None


@contextmanager
def _at(slot: int, path: str, made: list[_Made] | None = None) -> Iterator[tuple[int, str]]:
    """Give the folder of a path (a descriptor) and the last name.

    Missing folders are made if there is a list to note them in.
    """
    try:
        *folders, name = split_path(path)
    except PathRefused as error:
        raise FileTrouble("bad-path", str(error)) from None
    current = os.open(".", _FOLDER, dir_fd=slot)
    try:
        for number, folder in enumerate(folders, 1):
            inner = _step("/".join(folders[:number]), folder, current, made)
            os.close(current)
            current = inner
        yield current, name
    finally:
        os.close(current)


def _step(path: str, name: str, parent: int, made: list[_Made] | None) -> int:
    with _told(path):
        if made is not None:
            with contextlib.suppress(FileExistsError):
                os.mkdir(name, 0o700, dir_fd=parent)
                made.append((os.dup(parent), name))
        status = os.stat(name, dir_fd=parent, follow_symlinks=False)
        if stat.S_ISLNK(status.st_mode):
            raise FileTrouble("not-a-file", f"{_shown(path)} is a link; links are not followed.")
        if not stat.S_ISDIR(status.st_mode):
            raise FileTrouble("not-a-file", f"{_shown(path)} is no folder.")
        return os.open(name, _FOLDER, dir_fd=parent)


def _require_plain(status: os.stat_result, path: str) -> None:
    if stat.S_ISLNK(status.st_mode):
        what = "is a link; links are not followed"
    elif stat.S_ISDIR(status.st_mode):
        what = "is a folder; name a file in it"
    elif not stat.S_ISREG(status.st_mode):
        what = "is no plain file"
    elif status.st_nlink != 1:
        what = "has several names (hard links); copy it in the session and take the copy"
    else:
        return
    raise FileTrouble("not-a-file", f"{_shown(path)} {what}.")


@contextmanager
def _told(path: str) -> Iterator[None]:
    """Tell the system's refusals in a sentence."""
    try:
        yield
    except OSError as error:
        raise _trouble(error, path) from error


def _trouble(error: OSError, path: str) -> FileTrouble:
    shown = _shown(path)
    if error.errno in _FULL:
        return _full()
    if isinstance(error, FileNotFoundError):
        return FileTrouble("not-found", f"There is no {shown} in this session.")
    if isinstance(error, PermissionError):
        return FileTrouble("unreadable", f"The session's code closed {shown} by its permissions.")
    if error.errno in {errno.ELOOP, errno.ENOTDIR, errno.EISDIR, errno.ENXIO}:
        return FileTrouble("not-a-file", f"{shown} is no plain file.")
    return FileTrouble("failed", f"{shown} could not be reached: {error.strerror}.")


def _full() -> FileTrouble:
    return FileTrouble(
        "full", "The session's folder is full. Delete files, or let code delete them."
    )


def _shown(path: str) -> str:
    return repr(path if len(path) <= 100 else f"{path[:100]}…")  # noqa: PLR2004  # enough to know it by
