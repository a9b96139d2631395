"""Unpacked wheels by their hash: fetched once, unpacked once, linked into many sets.

DIR/wheels/<sha256>/        the wheel's files as a session sees them
DIR/wheels/<sha256>.json    what it is, and which modules it defines
DIR/staging/<random>/       a wheel that is on its way
"""

import asyncio
import contextlib
import json
import os
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from servicekit.logs import get_logger

from sandbox.adapters.child_process import Finished, run_child
from sandbox.adapters.download import Download
from sandbox.adapters.json_file import read_json, write_json
from sandbox.adapters.thread_work import in_thread
from sandbox.adapters.unpack import UnpackOrder
from sandbox.errors import InstallFailed, PackageRefused
from sandbox.packages.lock import LockedPackage
from sandbox.packages.ports import UnpackedWheel
from sandbox.packages.tree import Entry, TreeLimits, check_tree
from sandbox.packages.wheel import WHEEL_RULES

log = get_logger()

_DOWNLOADS: Final = 4
_UNPACKERS: Final = 2
_MAX_REPORT_BYTES: Final = 1 << 20


class WheelCache:
    """The unpacked wheels beneath one folder.

    Parameters
    ----------
    root
        The folder of package sets.
    download
        Where wheels come from.
    limits
        Bounds on what one wheel unpacks to.
    """

    def __init__(self, root: Path, download: Download, limits: TreeLimits) -> None:
        self._wheels = root / "wheels"
        self._staging = root / "staging"
        self._download = download
        self._limits = limits
        self._fetching = asyncio.Semaphore(_DOWNLOADS)
        self._unpacking = asyncio.Semaphore(_UNPACKERS)

    def find(self, package: LockedPackage) -> UnpackedWheel | None:
        """Return an unpacked wheel."""
        path = self._wheels / package.sha256
        facts = read_json(path.with_name(f"{package.sha256}.json"))
        if not isinstance(facts, dict) or not path.is_dir():
            return None
        try:
            modules = tuple(str(each) for each in facts["modules"])
            size, files = int(facts["size_bytes"]), int(facts["files"])
        except (KeyError, TypeError, ValueError):
            return None
        with contextlib.suppress(OSError):
            os.utime(path)  # the time of its last use, for the tidying
        return UnpackedWheel(package, path, size, files, modules)

    async def add(self, package: LockedPackage, *, is_trusted: bool, python: str) -> UnpackedWheel:
        """Fetch, unpack and check a wheel.

        Raises
        ------
        PackageRefused, IndexUnavailable, InstallFailed
            A rule refuses it, it can't be fetched, or it can't be unpacked.

        Notes
        -----
        A call that is cancelled at its end may leave the whole wheel; see `discard`.
        """
        try:
            async with self._staged() as folder:
                return await self._add(package, folder, is_trusted=is_trusted, python=python)
        except OSError as error:
            raise InstallFailed(
                f"{package.name} could not be written ({error.strerror}); an operator can look at "
                "the disk of SANDBOX_PACKAGES_DIR."
            ) from error

    async def discard(self, packages: Iterable[LockedPackage]) -> None:
        """Delete wheels that no set uses, as far as they are there."""
        paths = [self._wheels / package.sha256 for package in packages]
        await in_thread(lambda: _delete_all(paths))

    @asynccontextmanager
    async def _staged(self) -> AsyncIterator[Path]:
        folder = Path(tempfile.mkdtemp(dir=self._staging))
        try:
            yield folder
        finally:
            await in_thread(lambda: shutil.rmtree(folder, ignore_errors=True))

    async def _add(
        self, package: LockedPackage, folder: Path, *, is_trusted: bool, python: str
    ) -> UnpackedWheel:
        async with self._fetching:
            await self._download.fetch(package, folder / "wheel")
        tree = folder / "tree"
        tree.mkdir(mode=0o755)
        order = UnpackOrder(
            parent=os.getpid(),
            wheel=str(folder / "wheel"),
            target=str(tree),
            package=package.name,
            version=package.version,
            max_bytes=self._limits.total_bytes,
            max_files=self._limits.files,
            is_trusted=is_trusted,
            is_compiled=is_same_python(python),
        )
        async with self._unpacking:
            modules = await _unpack(package, order)
        return await in_thread(lambda: self._publish(package, tree, modules))

    def _publish(
        self, package: LockedPackage, tree: Path, modules: tuple[str, ...]
    ) -> UnpackedWheel:
        # Counted again, by somebody who has not read the archive.
        entries = list(first(walk(tree), self._limits.files + 1))
        size = check_tree(entries, self._limits, package=package.name)
        path = self._wheels / package.sha256
        facts = {
            "name": package.name,
            "version": package.version,
            "files": len(entries),
            "size_bytes": size,
            "modules": modules,
        }
        if path.exists():  # a folder whose description was lost
            shutil.rmtree(path)
        tree.rename(path)
        try:
            write_json(path.with_name(f"{package.sha256}.json"), facts)
        except BaseException:
            delete(path)
            raise
        return UnpackedWheel(package, path, size, len(entries), modules)


def is_same_python(python: str) -> bool:
    """Whether what this interpreter compiles is of use to one of that version (3.11.7)."""
    return python.split(".")[:2] == [str(part) for part in sys.version_info[:2]]


async def _unpack(package: LockedPackage, order: UnpackOrder) -> tuple[str, ...]:
    finished = await run_child(
        order.to_words(),
        environment={"PATH": os.defpath, "LANG": "C.UTF-8"},
        folder=Path(order.target),
        max_text_bytes=_MAX_REPORT_BYTES,
    )
    return judge(package, finished)


def judge(package: LockedPackage, finished: Finished) -> tuple[str, ...]:
    """Return the modules of the unpacker's report: data, whatever the wheel did to its writer.

    Raises
    ------
    PackageRefused
        The unpacker refused the wheel.
    InstallFailed
        It wrote no report.
    """
    try:
        # The report is whole even if the compiler, which comes after it, met its end.
        report = json.loads(finished.stdout)
    except (ValueError, RecursionError):
        report = None
    match report:
        case {"refused": str(why)}:
            rule, operator = report.get("rule"), report.get("operator")
            raise PackageRefused(
                why[:500],
                rule=rule if isinstance(rule, str) and rule in WHEEL_RULES else "archive",
                package=package.name,
                meant=None,
                operator=operator if isinstance(operator, str) else None,
            )
        case {"modules": [*modules]}:
            return tuple(str(each)[:100] for each in modules)
    log.warning(
        "packages.unpack_failed",
        package=package.name,
        status=finished.code,
        words=finished.stderr[-500:],
    )
    raise InstallFailed(f"{package.name} could not be unpacked; nothing was installed.")


def first(entries: Iterator[Entry], count: int) -> Iterator[Entry]:
    """Return at most so many entries."""
    return (entry for entry, _ in zip(entries, range(count), strict=False))


def delete(path: Path) -> None:
    """Delete a folder and its description; the description first, so that no half is found."""
    try:
        path.with_name(f"{path.name}.json").unlink(missing_ok=True)
    except OSError as error:
        log.warning("packages.not_deleted", name=path.name, reason=error.strerror)
        return
    shutil.rmtree(path, ignore_errors=True)


def _delete_all(paths: Iterable[Path]) -> None:
    for path in paths:
        delete(path)


def walk(root: Path) -> Iterator[Entry]:
    """List a tree; folders come before what is in them, links are not followed."""
    folders = [root]
    while folders:
        with os.scandir(folders.pop()) as items:
            for item in items:
                facts = item.stat(follow_symlinks=False)
                path = Path(item.path)
                yield Entry(path.relative_to(root).as_posix(), facts.st_mode, facts.st_size)
                if item.is_dir(follow_symlinks=False):
                    folders.append(path)
