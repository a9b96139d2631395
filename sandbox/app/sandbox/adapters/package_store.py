"""Package sets on disk: staged, checked, renamed into place, never changed again.

DIR/sets/<sha256>/        one set: what a session appends to its path
DIR/sets/<sha256>.json    its members
DIR/staging/<random>/     a set that is being made
DIR/default.json          the set that new sessions see
"""

import asyncio
import csv
import json
import math
import os
import shutil
import stat
import tempfile
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, Literal

from packaging.utils import canonicalize_name
from servicekit.logs import get_logger
from servicekit.wire.execution import InstalledPackage

from sandbox.metrics import DISK_FREE, DISK_SIZE
from sandbox.packages.install import PackageSet
from sandbox.packages.lock import LockedPackage
from sandbox.packages.tree import Entry, TreeLimits, check_tree

log = get_logger()

# A RECORD of a hundred thousand files is some 10 MB; a larger one lists what is not there.
_MAX_RECORD_BYTES: Final = 32 << 20


class PackageStore:
    """The package sets under one folder.

    Parameters
    ----------
    root
        The folder; it is made when it is missing. The runner reads it.
    limits
        Bounds on one set.
    trusted
        Well-known packages, whose `.pth` files are left out instead of refused.
    """

    def __init__(self, root: Path, limits: TreeLimits, *, trusted: frozenset[str]) -> None:
        self._root = root
        self._limits = limits
        self._trusted = trusted
        self._sets: dict[str, PackageSet] = {}
        self._default: PackageSet | None = None

    def prepare(self) -> None:
        """Make the folders, sweep what an earlier process left half done, read the default."""
        for folder in (self._root, self._root / "sets"):
            folder.mkdir(mode=0o755, parents=True, exist_ok=True)
        shutil.rmtree(self._root / "staging", ignore_errors=True)
        (self._root / "staging").mkdir(mode=0o755)
        DISK_FREE.set_function(lambda: _disk_bytes(self._root, "free"))
        DISK_SIZE.set_function(lambda: _disk_bytes(self._root, "total"))
        default = _read_json(self._root / "default.json")
        if isinstance(default, dict) and isinstance(name := default.get("set"), str):
            self._default = self.find(name)
            if self._default is None:
                log.warning("packages.default_lost", set=name[:64])

    def find(self, set_id: str) -> PackageSet | None:
        """Return an installed set."""
        known = self._sets.get(set_id)
        if known is None and (known := self._read(set_id)) is not None:
            self._sets[set_id] = known
        return known

    def default(self) -> PackageSet | None:
        """Return the set that new sessions see."""
        return self._default

    def default_place(self) -> tuple[str, Path] | None:
        """Return name and folder of the set that new sessions see."""
        return None if self._default is None else (self._default.set_id, self._default.path)

    def make_default(self, set_id: str) -> None:
        """Let new sessions see this set, also after a restart."""
        _write_json(self._root / "default.json", {"set": set_id})
        self._default = self.find(set_id)

    @asynccontextmanager
    async def staging(self) -> AsyncIterator[Path]:
        """Return an empty folder that vanishes with the block unless it was committed."""
        folder = Path(tempfile.mkdtemp(dir=self._root / "staging"))
        try:
            yield folder
        finally:
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)

    async def commit(
        self, staged: Path, *, set_id: str, packages: Sequence[LockedPackage], wish: str
    ) -> PackageSet:
        """Check a staged tree and rename it into place.

        Raises
        ------
        PackageRefused
            The tree holds what no session may see.
        """
        members = await asyncio.to_thread(self._check, staged, packages, wish)
        made = PackageSet(set_id, self._path(set_id), members)
        _publish(staged, made)
        self._sets[set_id] = made
        return made

    def _check(
        self, staged: Path, packages: Sequence[LockedPackage], wish: str
    ) -> tuple[InstalledPackage, ...]:
        # Counted before anything is read: the list of owners is the archives' own word.
        entries = _first(_walk(staged), self._limits.files + 1)
        owners = _owners(staged)
        drop = check_tree(entries, self._limits, package=wish, owners=owners, trusted=self._trusted)
        for path in sorted(drop, reverse=True):
            _delete(staged / path)
        _open_to_readers(staged, [entry for entry in entries if entry.path not in drop])
        sizes: dict[str, int] = {}
        for entry in entries:
            if entry.path not in drop and (owner := owners.get(entry.path)) is not None:
                sizes[owner] = sizes.get(owner, 0) + entry.size
        return tuple(
            InstalledPackage(
                name=package.name,
                version=package.version,
                size_bytes=sizes.get(package.name, 0),
                # Of several admitted files the installer took one; which one it does not say.
                sha256=package.hashes[0] if len(package.hashes) == 1 else None,
            )
            for package in packages
        )

    def _path(self, set_id: str) -> Path:
        return self._root / "sets" / set_id

    def _read(self, set_id: str) -> PackageSet | None:
        if not (set_id.isalnum() and set_id.isascii()):
            return None
        path = self._path(set_id)
        manifest = _read_json(path.with_name(f"{set_id}.json"))
        if not path.is_dir() or not isinstance(manifest, dict):
            return None
        try:
            members = tuple(InstalledPackage.model_validate(item) for item in manifest["packages"])
        except (KeyError, TypeError, ValueError):
            return None
        return PackageSet(set_id, path, members)


def _publish(staged: Path, made: PackageSet) -> None:
    """Write the list of members, then rename: the folder's name is the proof that all is there."""
    members = [member.model_dump() for member in made.packages]
    _write_json(made.path.with_name(f"{made.set_id}.json"), {"packages": members})
    staged.chmod(0o755)
    if made.path.exists():  # a folder whose list of members was lost
        shutil.rmtree(made.path)
    staged.rename(made.path)


def _first(entries: Iterator[Entry], count: int) -> list[Entry]:
    return [entry for entry, _ in zip(entries, range(count), strict=False)]


def _walk(root: Path) -> Iterator[Entry]:
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


def _owners(root: Path) -> dict[str, str]:
    """Read which package names which file in its RECORD."""
    owners: dict[str, str] = {}
    for record in sorted(root.glob("*.dist-info/RECORD")):
        if not record.is_file() or record.stat().st_size > _MAX_RECORD_BYTES:
            continue
        name = str(canonicalize_name(record.parent.name.split("-")[0]))
        with record.open(encoding="utf-8", errors="replace", newline="") as lines:
            owners |= {row[0]: name for row in csv.reader(lines) if row}
    return owners


def _delete(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _open_to_readers(root: Path, entries: Sequence[Entry]) -> None:
    """Let everybody read and nobody write, whatever the archive and our umask said."""
    for entry in entries:
        is_program = stat.S_ISDIR(entry.mode) or entry.mode & stat.S_IXUSR
        mode = 0o755 if is_program else 0o644
        path = root / entry.path
        # What lay in a folder that was left out is gone by now.
        if stat.S_IMODE(entry.mode) != mode and path.exists():
            path.chmod(mode)


def _disk_bytes(folder: Path, part: Literal["free", "total"]) -> float:
    try:
        usage = shutil.disk_usage(folder)
    except OSError:
        return math.nan  # a folder that is gone must not cost the other metrics
    return usage.free if part == "free" else usage.total


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None


def _write_json(path: Path, value: object) -> None:
    """Write a file so that a reader sees the old or the new content, nothing between."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".tmp")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(value, file)
        Path(name).chmod(0o644)
        Path(name).rename(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
