"""Wheels linked together into one folder, where none replaces what is another's."""

import filecmp
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from sandbox.adapters.wheel_cache import walk
from sandbox.packages.ports import UnpackedWheel
from sandbox.packages.refusal import refusal
from sandbox.packages.wheel import module_of

# Folders that careless packages bring at the top: the first one's is kept, nobody imports them.
_CARELESS: Final = frozenset({"tests", "test", "testing", "docs", "doc", "examples", "scripts"})


def link_all(
    staged: Path, wheels: Sequence[UnpackedWheel], is_trusted: Callable[[str], bool]
) -> None:
    """Link the files of wheels into an empty folder; where two have one, the well-known one's.

    Raises
    ------
    PackageRefused
        One would replace a file or a module of another.
    OSError
        The disk does not take it.
    """
    owners: dict[Path, UnpackedWheel] = {}
    modules: dict[str, UnpackedWheel] = {}
    # The well-known ones first: where two bring one file, theirs is kept.
    for wheel in sorted(wheels, key=lambda each: not is_trusted(each.package.name)):
        for entry in walk(wheel.path):
            place, source = staged / entry.path, wheel.path / entry.path
            if source.is_dir():
                if place in owners:
                    raise _shadowing(wheel, owners[place], entry.path)
                place.mkdir(mode=0o755, exist_ok=True)
            elif place in owners or place.is_dir():
                other = owners.get(place)
                if other is None or not _may_share(
                    entry.path, source, place, (wheel, other), is_trusted
                ):
                    raise _shadowing(wheel, other, entry.path)
            else:
                first = modules.setdefault(module_of(entry.path) or entry.path, wheel)
                if first is not wheel and not _is_shared(entry.path, (wheel, first), is_trusted):
                    raise _shadowing(wheel, first, entry.path)
                _link(source, place)
                owners[place] = wheel


def _may_share(
    path: str,
    source: Path,
    place: Path,
    owners: tuple[UnpackedWheel, UnpackedWheel],
    is_trusted: Callable[[str], bool],
) -> bool:
    """Whether two wheels may bring a file of one path; the first one's is kept."""
    if "/" not in path and not path.endswith((".py", ".so")):
        return True  # a licence or a note
    return _is_shared(path, owners, is_trusted) or filecmp.cmp(source, place, shallow=False)


def _is_shared(
    path: str, owners: tuple[UnpackedWheel, UnpackedWheel], is_trusted: Callable[[str], bool]
) -> bool:
    """Whether two wheels may bring one module, in files of one kind or of two.

    Of two kinds Python takes the folder before the file, and the library before the source: so a
    module can be replaced by a file beside its own.
    """
    if "__pycache__" in path.split("/"):
        return True  # our own; the sources beside them are compared
    is_careless = path.partition("/")[0] in _CARELESS
    return is_careless or all(is_trusted(each.package.name) for each in owners)


def _shadowing(wheel: UnpackedWheel, other: UnpackedWheel | None, path: str) -> Exception:
    of = "another package" if other is None else other.package.name
    return refusal(
        "shadows",
        wheel.package.name,
        f"It brings {path[:80]}, which belongs to {of}, with another content.",
        operator="An operator who knows it can install it for a session without the other one.",
    )


def _link(source: Path, place: Path) -> None:
    try:
        os.link(source, place, follow_symlinks=False)
    except OSError:  # a file system without hard links
        shutil.copyfile(source, place, follow_symlinks=False)
