"""The runner's socket: bound where no other runner listens, for its owner or for a group too."""

import os
import socket
import stat
from pathlib import Path
from typing import Final

from sandbox_runner.failure import EXIT_CONFIGURATION, RunnerFailed

_BACKLOG: Final = 256
_WRITABLE_BY_OTHERS: Final = stat.S_IWGRP | stat.S_IWOTH


def bind(path: str, group: int | None) -> socket.socket:
    """Return a socket listening on `path`, for its owner only or for a group too.

    Raises
    ------
    RunnerFailed
        The path is taken by a runner that lives, or cannot be bound, or others could put a socket
        of theirs in its place.
    """
    try:
        folder = Path(path).parent
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _refuse_foreign(folder)
        _remove_stale(path)
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        former = os.umask(0o177)
        try:
            listening.bind(path)
        finally:
            os.umask(former)
        if group is not None:
            os.chown(path, -1, group)
            Path(path).chmod(0o660)
        listening.listen(_BACKLOG)
    except OSError as error:
        text = f"The sandbox runner cannot listen on {path}: {error}"
        raise RunnerFailed(text, EXIT_CONFIGURATION) from error
    return listening


def _refuse_foreign(folder: Path) -> None:
    status = folder.stat()
    is_own = status.st_uid == os.geteuid() and not status.st_mode & _WRITABLE_BY_OTHERS
    # A link to such a folder may be anybody's.
    if is_own and folder.lstat().st_uid in {0, os.geteuid()}:
        return
    raise RunnerFailed(
        f"The sandbox runner's socket cannot lie in {folder}: the folder has to be its user's own, "
        "and nobody else may write to it.",
        EXIT_CONFIGURATION,
    )


def _remove_stale(path: str) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as trial:
        try:
            trial.connect(path)
        except FileNotFoundError:
            return
        except ConnectionRefusedError:
            Path(path).unlink(missing_ok=True)
            return
    raise RunnerFailed(f"Another sandbox runner listens on {path}.", EXIT_CONFIGURATION)
