"""Package sets on disk: staged, linked together, renamed into place, never changed again.

DIR/sets/<hmac>/          one set: what a session appends to its path
DIR/sets/<hmac>.json      its members, and the hashes of their wheels
DIR/lock                  held by the service
DIR/key                   what makes the names of sets unguessable
DIR/wheels/               the unpacked wheels that sets are linked from (wheel_cache.py)
DIR/staging/<random>/     what is being made; swept at each start
DIR/default.json          the set that new sessions see
"""

import hmac
import math
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, Literal

from servicekit.logs import get_logger
from servicekit.wire.execution import InstalledPackage

from sandbox.adapters.json_file import read_json, write_json
from sandbox.adapters.owned_folder import FolderError, OwnedFolder
from sandbox.adapters.thread_work import in_thread
from sandbox.adapters.wheel_cache import delete
from sandbox.adapters.wheel_links import link_all
from sandbox.errors import InstallFailed
from sandbox.metrics import DISK_FREE, DISK_SIZE, PACKAGE_STORE_SIZE
from sandbox.packages.ports import PackageSet, UnpackedWheel
from sandbox.packages.retention import Kept, surplus
from sandbox.packages.tree import TreeLimits, check_count, check_total

log = get_logger()

# Who knows the name of a set, which no one can guess, may read it; nobody may list them. Of the
# rest sessions see nothing, where they run as another user.
_FOLDERS: Final = {"sets": 0o711, "wheels": 0o700, "staging": 0o700, "rules": 0o700}
_COMING: Final = "coming"


class PackageStore:
    """The package sets under one folder.

    Parameters
    ----------
    root
        The folder; it is made when it is missing. The runner reads it.
    limits
        Bounds on one set.
    max_bytes
        Bound on all sets together, and on the wheels that they are linked from.
    """

    def __init__(self, root: Path, limits: TreeLimits, *, max_bytes: int) -> None:
        self._root = root
        self._limits = limits
        self._max_bytes = max_bytes
        self._sets: dict[str, PackageSet] = {}
        self._default: PackageSet | None = None
        self._key = b""
        self._folder: OwnedFolder | None = None

    def prepare(self) -> None:
        """Take the folder, sweep what an earlier process left half done, read the default.

        Raises
        ------
        FolderError, OSError
            It is not ours alone, or can't be written.
        """
        try:
            self._take_folder()
        except (FolderError, OSError) as error:
            log.error("packages.folder_refused", reason=str(error))  # noqa: TRY400  # it says all
            raise
        self._sweep()
        DISK_FREE.set_function(lambda: _disk_bytes(self._root, "free"))
        DISK_SIZE.set_function(lambda: _disk_bytes(self._root, "total"))
        default = read_json(self._root / "default.json")
        if isinstance(default, dict) and isinstance(name := default.get("set"), str):
            self._default = self.find(name)
            if self._default is None:
                log.warning("packages.default_lost", set=name[:64])
        self._make_room(frozenset(), ())

    def _take_folder(self) -> None:
        self._folder = OwnedFolder(self._root, setting="SANDBOX_PACKAGES_DIR")
        for part, mode in _FOLDERS.items():
            self._folder.part(part, mode)
        self._key = self._folder.secret("key")

    def close(self) -> None:
        """Let another service have the folder."""
        if self._folder is not None:
            self._folder.release()

    def touch(self, set_id: str) -> None:
        """Note that a set is used now."""
        _touch(self._path(set_id))

    def name_of(self, content: str) -> str:
        """Return the id of the set with a content address; who sees one set can't guess another."""
        return hmac.new(self._key, content.encode("ascii"), "sha256").hexdigest()

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
        """Let new sessions see this set, also after a restart; raises `InstallFailed`."""
        if self._default is not None:
            self.touch(self._default.set_id)  # sessions that are opened right now may still get it
        try:
            write_json(self._root / "default.json", {"set": set_id})
        except OSError as error:
            raise _failed(error) from error
        self._default = self.find(set_id)

    async def assemble(
        self,
        set_id: str,
        wheels: Sequence[UnpackedWheel],
        *,
        wishes: Sequence[str],
        is_trusted: Callable[[str], bool],
    ) -> PackageSet:
        """Link wheels into a set and rename it into place.

        Parameters
        ----------
        wishes
            The members that were asked for; the others came with them.
        is_trusted
            Tells well-known packages, which may bring different files of one path.

        Raises
        ------
        PackageRefused
            Together they are too large, or one would replace files of another.
        InstallFailed
            The set can't be written: the disk may be full.
        """
        try:
            return await in_thread(
                lambda: self._assemble(set_id, wheels, wishes, is_trusted),
                undo=lambda made: self._forget(made.set_id),
            )
        except OSError as error:
            raise _failed(error) from error

    async def make_room(self, in_use: frozenset[str], coming: Sequence[UnpackedWheel] = ()) -> bool:
        """Delete the sets that nobody used for the longest until all fit into the bound.

        Parameters
        ----------
        in_use
            Sets that live sessions see; they stay, as does the default.
        coming
            Wheels of which a set will be made next; they stay as well.

        Returns
        -------
        bool
            Whether what is left fits.

        Raises
        ------
        InstallFailed
            The disk can't be read.
        """
        try:
            return await in_thread(lambda: self._make_room(in_use, coming))
        except OSError as error:
            raise _failed(error) from error

    async def discard(self, set_id: str, in_use: frozenset[str]) -> None:
        """Delete a set, and wheels that no other one is linked from, unless somebody sees it.

        Parameters
        ----------
        in_use
            As for `make_room`.
        """
        if set_id in in_use or (self._default is not None and self._default.set_id == set_id):
            return
        await in_thread(lambda: self._discard(set_id, in_use))

    def _discard(self, set_id: str, in_use: frozenset[str]) -> None:
        self._forget(set_id)
        with suppress(OSError):  # the next install tidies, and says what is wrong
            self._make_room(in_use, ())

    def _forget(self, set_id: str) -> None:
        self._sets.pop(set_id, None)
        delete(self._path(set_id))

    def _make_room(self, in_use: frozenset[str], coming: Sequence[UnpackedWheel]) -> bool:
        kept = self._kept()
        sets = {**kept.sets, _COMING: (math.inf, frozenset(each.path.name for each in coming))}
        busy = in_use | {_COMING} | ({self._default.set_id} if self._default else set())
        gone = surplus(Kept(sets, kept.wheels), busy=busy, max_bytes=self._max_bytes)
        for name in gone.sets:
            self._forget(name)
        for name in gone.wheels:
            delete(self._root / "wheels" / name)
        if gone.sets or gone.wheels:
            log.info("packages.tidied", sets=len(gone.sets), wheels=len(gone.wheels))
        PACKAGE_STORE_SIZE.set(gone.left_bytes)
        return gone.left_bytes <= self._max_bytes

    def _sweep(self) -> None:
        """Delete what a killed process left: staged folders, and halves of a pair."""
        shutil.rmtree(self._root / "staging", ignore_errors=True)
        (self._root / "staging").mkdir(mode=0o700)
        for folder in (self._root / "sets", self._root / "wheels"):
            names = {path.name for path in folder.iterdir()}
            for name in names:
                bare = name.removesuffix(".json")
                if name.startswith(".") or not {bare, f"{bare}.json"} <= names:
                    delete(folder / bare)
                    (folder / name).unlink(missing_ok=True)

    def _assemble(
        self,
        set_id: str,
        wheels: Sequence[UnpackedWheel],
        wishes: Sequence[str],
        is_trusted: Callable[[str], bool],
    ) -> PackageSet:
        asked = wishes[0] if wishes else "the set"
        check_total(sum(wheel.size_bytes for wheel in wheels), self._limits, asked)
        check_count(sum(wheel.files for wheel in wheels), self._limits, asked)
        members = tuple(
            InstalledPackage(
                name=wheel.package.name,
                version=wheel.package.version,
                size_bytes=wheel.size_bytes,
                sha256=wheel.package.sha256,
                modules=tuple(name for name in wheel.modules if not name.startswith("_")),
            )
            for wheel in wheels
        )
        made = PackageSet(set_id, self._path(set_id), members, tuple(sorted(wishes)))
        staged = Path(tempfile.mkdtemp(dir=self._root / "staging"))
        try:
            link_all(staged, wheels, is_trusted)
            self._publish(staged, made)
        finally:
            shutil.rmtree(staged, ignore_errors=True)
        self._sets[set_id] = made
        return made

    def _publish(self, staged: Path, made: PackageSet) -> None:
        """Write the list of members, then rename: folder and list together are a set."""
        staged.chmod(0o755)
        if made.path.exists():  # a folder whose list of members was lost
            shutil.rmtree(made.path)
        manifest = {
            "packages": [member.model_dump() for member in made.packages],
            "wishes": list(made.wishes),
        }
        staged.rename(made.path)
        try:
            write_json(made.path.with_name(f"{made.set_id}.json"), manifest)
        except BaseException:
            delete(made.path)
            raise

    def _kept(self) -> Kept:
        sets: dict[str, tuple[float, frozenset[str]]] = {}
        for path in (self._root / "sets").iterdir():
            if path.is_dir() and (found := self.find(path.name)) is not None:
                hashes = frozenset(each.sha256 for each in found.packages if each.sha256)
                sets[path.name] = (path.stat().st_mtime, hashes)
        wheels: dict[str, int] = {}
        for path in (self._root / "wheels").iterdir():
            if path.is_dir():
                facts = read_json(path.with_name(f"{path.name}.json"))
                size = facts.get("size_bytes") if isinstance(facts, dict) else None
                wheels[path.name] = size if isinstance(size, int) else 0
        return Kept(sets, wheels)

    def _path(self, set_id: str) -> Path:
        return self._root / "sets" / set_id

    def _read(self, set_id: str) -> PackageSet | None:
        if not (set_id.isalnum() and set_id.isascii()):
            return None
        path = self._path(set_id)
        manifest = read_json(path.with_name(f"{set_id}.json"))
        if not path.is_dir() or not isinstance(manifest, dict):
            return None
        try:
            members = tuple(InstalledPackage.model_validate(item) for item in manifest["packages"])
            wishes = manifest.get("wishes") or [member.name for member in members]
            return PackageSet(set_id, path, members, tuple(str(each) for each in wishes))
        except (KeyError, TypeError, ValueError):
            return None


def _failed(error: OSError) -> InstallFailed:
    return InstallFailed(
        f"The packages could not be put together ({error.strerror}), and nothing was installed; an "
        "operator can look at the disk of SANDBOX_PACKAGES_DIR."
    )


def _touch(path: Path) -> None:
    try:
        os.utime(path)
    except OSError:
        log.warning("packages.set_lost", set=path.name)


def _disk_bytes(folder: Path, part: Literal["free", "total"]) -> float:
    try:
        usage = shutil.disk_usage(folder)
    except OSError:
        return math.nan  # a folder that is gone must not cost the other metrics
    return usage.free if part == "free" else usage.total
