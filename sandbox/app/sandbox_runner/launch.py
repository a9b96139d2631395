"""Starts a runner as a child process, for tests and the bench; no image has it."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from sandbox_runner.settings import PACKAGES_VARIABLE, PREFIX

MAIN: Final = Path(__file__).with_name("__main__.py")
_STOP_SECONDS: Final = 15.0


class RunnerProcess:
    """A runner with a folder of its own for socket, slots and log.

    Parameters
    ----------
    folder
        An existing folder; its path must be short, the system allows 107 bytes for a socket's.
    python
        Interpreter of the cells.
    settings
        Further settings by lower-case name, as text.
    environment
        Further variables for the runner's own environment; no cell ever sees them.
    """

    def __init__(
        self,
        folder: Path,
        *,
        python: str = sys.executable,
        settings: Mapping[str, str] | None = None,
        environment: Mapping[str, str] | None = None,
        prefix_command: tuple[str, ...] = (),
    ) -> None:
        self.folder = folder
        self.socket = str(folder / "runner.sock")
        self.packages_dir = folder / "packages"
        self.slots_dir = folder / "slots"
        self.log = folder / "runner.log"
        variables = {
            "PATH": os.environ.get("PATH", "/usr/bin:/bin"),
            PREFIX + "SOCKET": self.socket,
            PREFIX + "SLOTS_DIR": str(self.slots_dir),
            PACKAGES_VARIABLE: str(self.packages_dir),
            **{PREFIX + name.upper(): value for name, value in (settings or {}).items()},
            **(environment or {}),
        }
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(  # noqa: S603  # our own program
                [*prefix_command, python, "-I", "-B", str(MAIN)],
                env=variables,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=log,
            )

    @property
    def pid(self) -> int:
        """Process id of the listener."""
        return self.process.pid

    def stop(self) -> int:
        """End the runner as a supervisor would; return its exit status."""
        self.process.terminate()
        try:
            return self.process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait(_STOP_SECONDS)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.process.poll() is None:
            self.stop()
