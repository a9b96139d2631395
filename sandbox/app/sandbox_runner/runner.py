"""The runner as a program: settings in, exit status out."""

import contextlib
import os
import sys
from collections.abc import Mapping
from pathlib import Path

from sandbox_runner import door, house, listener, log, settings
from sandbox_runner.failure import EXIT_CONFIGURATION, RunnerFailed


def start(environment: Mapping[str, str]) -> int:
    """Serve until told to stop; return the exit status."""
    if sys.platform != "linux":
        return _fail("The sandbox runner needs Linux; without it the sandbox is off.")
    try:
        chosen = settings.load(environment)
        # Before the house: as root its private mounts may hide the folder of the socket.
        listening = door.bind(chosen.socket, chosen.socket_group)
        folder = os.open(Path(chosen.socket).parent, os.O_PATH | os.O_CLOEXEC)
    except settings.SettingsError as error:
        return _fail(str(error))
    except RunnerFailed as error:
        return _fail(str(error), error.exit_code)
    try:
        listener.Listener(chosen, house.prepare(chosen), listening).run()
    except house.HouseError as error:
        return _fail(str(error))
    except RunnerFailed as error:
        return _fail(str(error), error.exit_code)
    finally:
        with contextlib.suppress(OSError):
            os.unlink(Path(chosen.socket).name, dir_fd=folder)
    log.event("runner.stopped")
    return 0


def _fail(sentence: str, status: int = EXIT_CONFIGURATION) -> int:
    log.event("runner.refused", level="error", reason=sentence)
    return status
