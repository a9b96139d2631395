"""How much an installation unpacks, watched while it goes on.

uv unpacks a wheel into its cache and copies it from there, so an archive bomb fills
the cache first. Only what is new since the start is measured: the rest may be large.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from sandbox.adapters.thread_work import in_thread

# Where uv puts what it unpacks: temporary folders at the top, then renamed into the archive.
_ARCHIVES: Final = "archive-v0"


class CacheGrowth:
    """What lies in a cache and was not there at the start: folders, and files on their way."""

    def __init__(self, cache: Path, *also: Path) -> None:
        self._cache = cache
        self._also = also
        self._known = set(self._unpacked())

    async def exceeds(self, max_bytes: int) -> bool:
        """Whether what is new holds more bytes than that; counting stops there."""
        return await in_thread(lambda: self._exceeds(max_bytes))

    async def discard(self) -> None:
        """Delete what is new."""
        await in_thread(self._discard)

    def _discard(self) -> None:
        for path in self._new():
            _delete(path)

    def _exceeds(self, max_bytes: int) -> bool:
        total = 0
        for folder in (*self._new(), *self._also):
            for size in _sizes(folder):
                total += size
                if total > max_bytes:
                    return True
        return False

    def _new(self) -> list[Path]:
        return [path for path in self._unpacked() if path not in self._known]

    def _unpacked(self) -> Iterator[Path]:
        yield from self._cache.glob(".tmp*")
        yield from self._cache.glob(f"{_ARCHIVES}/*")


def _delete(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _sizes(top: Path) -> Iterator[int]:
    """Yield the sizes of the files in a folder; what uv keeps there may be a file as well."""
    folders = [top]
    while folders:
        folder = folders.pop()
        try:
            with os.scandir(folder) as items:
                for item in items:
                    if item.is_dir(follow_symlinks=False):
                        folders.append(Path(item.path))
                    else:
                        yield item.stat(follow_symlinks=False).st_size
        except FileNotFoundError:
            continue  # it was renamed meanwhile, or deleted
        except NotADirectoryError:
            with suppress(FileNotFoundError):
                yield folder.lstat().st_size
