"""Prepares the place where sessions live: folders, and for root the private view of the machine."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sandbox_runner import mounts, privileges
from sandbox_runner.mounts import Tree
from sandbox_runner.policy import readable_trees
from sandbox_runner.protections import interpreter_paths
from sandbox_runner.settings import RunnerSettings
from sandbox_runner.slots import SlotHouse

_CACHE_NAME: Final = "cache"


class HouseError(Exception):
    """The place cannot be prepared; the text is one readable sentence."""


@dataclass(frozen=True, slots=True)
class House:
    """Where slots are made, and where preloaded modules keep their caches."""

    slots: SlotHouse
    cache: str


def prepare(settings: RunnerSettings) -> House:
    """Make the folders, and as root the private mounts that let an ordinary user reach them.

    Raises
    ------
    HouseError
        A folder cannot be made, or the interpreter cannot be read without root.
    """
    try:
        Path(settings.slots_dir).mkdir(mode=0o700, parents=True, exist_ok=True)
        if settings.packages_dir is not None:
            Path(settings.packages_dir).mkdir(mode=0o755, parents=True, exist_ok=True)
        owner = (settings.uid, settings.gid) if privileges.is_root() else None
        can_mount = owner is not None and _open_up(settings)
        slots = SlotHouse(settings.slots_dir, owner=owner, can_mount=can_mount and settings.tmpfs)
        if owner is not None:
            _refuse_unreadable(settings)
        return House(slots, _cache(settings.slots_dir, owner))
    except (OSError, privileges.PrivilegeError) as error:
        raise HouseError(f"The sandbox runner cannot prepare its folders: {error}") from error


def _open_up(settings: RunnerSettings) -> bool:
    if not mounts.enter_private_namespace():
        return False
    trees = [Tree(os.path.realpath(path)) for path in _needed(settings)]
    trees += [Tree(path) for path in _needed(settings)]
    trees.append(Tree(os.path.realpath(settings.slots_dir), is_writable=True))
    existing = [tree for tree in dict.fromkeys(trees) if Path(tree.path).is_dir()]
    mounts.apply(mounts.plan(existing, mounts.is_closed_for(settings.uid, settings.gid)))
    return True


def _refuse_unreadable(settings: RunnerSettings) -> None:
    closed = privileges.unreadable_for(settings.uid, settings.gid, _needed(settings))
    if closed:
        raise HouseError(
            f"The sandbox runner was started as root and gives that up for user {settings.uid}, who "
            f"cannot read {closed[0]}: make it readable for others, or start as an ordinary user."
        )


def _needed(settings: RunnerSettings) -> list[str]:
    needed = [*readable_trees(interpreter_paths()), str(Path(__file__).resolve().parent)]
    if settings.packages_dir is not None:
        needed.append(settings.packages_dir)
    return needed


def _cache(slots_dir: str, owner: tuple[int, int] | None) -> str:
    path = Path(slots_dir) / _CACHE_NAME
    path.mkdir(mode=0o700, exist_ok=True)
    if owner is not None:
        os.chown(path, *owner, follow_symlinks=False)
    return str(path)
