"""The status file of the service that pulls the model, where there is one."""

import time
from dataclasses import dataclass
from pathlib import Path

from middleware.model_pull import ModelPull, read_pull

_MAX_BYTES = 65_536


@dataclass(frozen=True, slots=True)
class PullFile:
    """Reads the file anew each time: it is small, and read only while a model is missing."""

    path: Path | None

    def __call__(self) -> ModelPull | None:
        """Return the pull that goes on; None where there is none, or nobody says so."""
        if self.path is None:
            return None
        try:
            with self.path.open("rb") as file:
                raw = file.read(_MAX_BYTES)
        except OSError:
            return None
        return read_pull(raw, now=time.time())
