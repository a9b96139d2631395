"""Prepares the place where sessions live: folders, and for root the private view of the machine."""

import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sandbox_runner import log, mounts, privileges, view
from sandbox_runner.mounts import Tree
from sandbox_runner.policy import PathRule, path_rules, readable_trees
from sandbox_runner.protections import interpreter_paths
from sandbox_runner.settings import WORKSPACE_VARIABLE, RunnerSettings
from sandbox_runner.slots import SlotHouse

_CACHE_NAME: Final = "cache"
_NO_MOUNTS: Final = "the kernel lets this process have no mounts of its own"


class HouseError(Exception):
    """The place cannot be prepared; the text is one readable sentence."""


@dataclass(frozen=True, slots=True)
class House:
    """Where slots are made, and where preloaded modules keep their caches.

    Attributes
    ----------
    view
        The root of sessions in namespaces of their own, None where it could not be built.
    view_problem
        Why it could not.
    """

    slots: SlotHouse
    cache: str
    has_private_mounts: bool
    view: str | None = None
    view_problem: str = ""


def prepare(settings: RunnerSettings) -> House:
    """Make the folders, and as root the private mounts that let an ordinary user reach them.

    Raises
    ------
    HouseError
        A folder cannot be made, or the interpreter cannot be read without root.
    """
    try:
        os.chdir("/")
        Path(settings.slots_dir).mkdir(mode=0o700, parents=True, exist_ok=True)
        _make_package_folders(settings)
        owner = (settings.uid, settings.gid) if privileges.is_root() else None
        _settle_workspace(settings.workspace_rule, owner)
        can_mount = settings.private_mounts and _open_up(settings)
        slots = SlotHouse(settings.slots_dir, owner=owner, can_mount=can_mount and settings.tmpfs)
        cache = _cache(settings.slots_dir, owner)
        if owner is not None:
            _refuse_unreadable(settings, cache)
        if not settings.namespaces:
            return House(slots, cache, can_mount)
        if not can_mount:
            return House(slots, cache, can_mount, view_problem=_NO_MOUNTS)
        return House(slots, cache, can_mount, *_view(settings, slots))
    except (OSError, privileges.PrivilegeError) as error:
        raise HouseError(f"The sandbox runner cannot prepare its folders: {error}") from error


def _view(settings: RunnerSettings, slots: SlotHouse) -> tuple[str | None, str]:
    """Build the root of sessions in namespaces; return it, or why there is none."""
    rules = path_rules(
        interpreter_paths(),
        packages=settings.package_sets,
        allow_subprocesses=settings.subprocesses,
        workspace=settings.workspace_rule,
    )
    folder = slots.make_view_folder()
    try:
        view.build(folder, view.plan(rules, view.real_path))
    except OSError as error:
        return None, str(error)
    return folder, ""


def _open_up(settings: RunnerSettings) -> bool:
    """Enter a private view of the machine that holds what sessions need, where the kernel can."""
    if not mounts.enter_private_namespace():
        return False
    needed = _needed(settings)
    trees = [Tree(os.path.realpath(settings.slots_dir), is_writable=True)]
    if (workspace := settings.workspace_rule) is not None:
        trees.append(Tree(os.path.realpath(workspace.path), is_writable=workspace.is_writable))
    trees += [Tree(path) for path in needed] + [Tree(os.path.realpath(path)) for path in needed]
    existing = [tree for tree in dict.fromkeys(trees) if Path(tree.path).is_dir()]
    kept = {tree.path for tree in existing}
    foreign = [folder for folder in mounts.foreign_folders() if folder not in kept]
    is_closed = mounts.is_closed_for(settings.uid, settings.gid)
    covers = mounts.plan(existing, lambda path: path in foreign or is_closed(path))
    try:
        mounts.apply(mounts.hide(covers, foreign))
    except OSError as error:
        if privileges.is_root():
            raise
        # Some systems hand out user namespaces in which nothing may be mounted.
        log.event("mounts.refused", level="warning", reason=repr(error))
        return False
    return True


def _make_package_folders(settings: RunnerSettings) -> None:
    """See that sessions which are forked before the first package was installed see it later."""
    if settings.packages_dir is None or settings.package_sets is None:
        return
    Path(settings.packages_dir).mkdir(mode=0o755, parents=True, exist_ok=True)
    try:
        Path(settings.package_sets).mkdir(mode=0o755, exist_ok=True)
    except OSError as error:  # it is somebody else's to write, as in containers
        log.event("packages.no_sets", level="warning", reason=repr(error))


def _settle_workspace(rule: PathRule | None, owner: tuple[int, int] | None) -> None:
    """See that code can get into the workspace where it may; of root's, as a group of its own."""
    if rule is None:
        return
    if not Path(rule.path).is_dir():
        raise HouseError(f"{WORKSPACE_VARIABLE} is set, and there is no folder {rule.path}.")
    if owner is None or not rule.is_writable:
        return
    # The folder itself and nothing in it: the same that containers do to theirs.
    os.chown(rule.path, -1, owner[1])
    Path(rule.path).chmod(stat.S_IMODE(Path(rule.path).stat().st_mode) | stat.S_IRWXG)


def _refuse_unreadable(settings: RunnerSettings, cache: str) -> None:
    # Not the sets: the service keeps them so that each can be entered and none be listed.
    needed = [cache, *(path for path in _needed(settings) if path != settings.package_sets)]
    closed = privileges.unreadable_for(settings.uid, settings.gid, needed)
    if closed:
        raise HouseError(
            f"The sandbox runner was started as root and gives that up for user {settings.uid}, "
            f"who cannot read {closed[0]}: make it readable, or start as an ordinary user."
        )


def _needed(settings: RunnerSettings) -> list[str]:
    needed = [*readable_trees(interpreter_paths()), str(Path(__file__).resolve().parent)]
    if settings.package_sets is not None:
        needed.append(settings.package_sets)
    if settings.workspace_rule is not None and not settings.workspace_rule.is_writable:
        needed.append(os.path.realpath(settings.workspace_rule.path))
    return needed


def _cache(slots_dir: str, owner: tuple[int, int] | None) -> str:
    path = Path(slots_dir) / _CACHE_NAME
    path.mkdir(mode=0o700, exist_ok=True)
    if owner is not None:
        os.chown(path, *owner, follow_symlinks=False)
    return str(path)
