"""The runner's socket: bound where no other runner listens, for its owner or for a group too."""

import os
import socket
from pathlib import Path
from typing import Final

from sandbox_runner.failure import EXIT_CONFIGURATION, RunnerFailed

_BACKLOG: Final = 256


def bind(path: str, group: int | None) -> socket.socket:
    """Return a socket listening on `path`, for its owner only or for a group too.

    Raises
    ------
    RunnerFailed
        The path is taken by a runner that lives, or cannot be bound.
    """
    try:
        Path(path).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
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
