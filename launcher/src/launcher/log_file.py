"""A child's log on disk, bounded: the current file and one older."""

from pathlib import Path
from typing import BinaryIO

MAX_BYTES = 5 * 1024 * 1024


class LogFile:
    """Appends lines to `<service>.log`; a full file becomes `<service>.log.1`."""

    def __init__(self, path: Path, *, max_bytes: int = MAX_BYTES) -> None:
        self._path = path
        self._max_bytes = max_bytes
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file: BinaryIO = path.open("ab", buffering=0)
        self._size = self._file.tell()

    def write(self, line: bytes) -> None:
        """Append one line."""
        if self._size + len(line) + 1 > self._max_bytes:
            self._rotate()
        self._size += self._file.write(line + b"\n")

    def close(self) -> None:
        """Close the file; nothing may be written after."""
        self._file.close()

    def _rotate(self) -> None:
        self._file.close()
        self._path.replace(self._path.with_name(self._path.name + ".1"))
        self._file = self._path.open("ab", buffering=0)
        self._size = 0
