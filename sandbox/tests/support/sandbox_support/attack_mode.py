"""The ways in which a runner may be confined; each attack is tried in every one."""

import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from sandbox_runner.launch import RunnerProcess

from sandbox_support.user_runner import user_runner

Who = Literal["root", "user", "anybody"]


@dataclass(frozen=True, eq=False)
class Mode:
    """Settings of a runner, and who runs it.

    Attributes
    ----------
    refuses_namespaces
        Whether the runner is refused namespaces and mounts, as in a plain container.
    uid
        Of its sessions, where root can give them one: a bomb in one mode is not to use up the
        processes that the user of another may have.
    """

    name: str
    who: Who
    uid: int
    settings: Mapping[str, str] = field(default_factory=dict)
    refuses_namespaces: bool = False
    needs_namespaces: bool = False

    @property
    def why_not_here(self) -> str:
        """Return why this machine's user can't try this mode; nothing if it can."""
        if self.who == "root" and os.geteuid() != 0:
            return "only root can"
        return ""

    @contextmanager
    def runner(self, folder: Path, environment: Mapping[str, str]) -> Iterator[RunnerProcess]:
        """Start a runner in an existing folder."""
        if self.who == "user":
            with user_runner(
                folder,
                may_have_namespaces=not self.refuses_namespaces,
                uid=self.uid,
                settings=self.settings,
                environment=environment,
            ) as runner:
                yield runner
            return
        settings = {**self.settings, "uid": str(self.uid), "gid": str(self.uid)}
        with RunnerProcess(folder, settings=settings, environment=environment) as runner:
            yield runner


_PLAIN = {"namespaces": "0"}
_OLD = {"namespaces": "0", "landlock_abi_max": "5"}
_PROCESSES = {"subprocesses": "1"}

MODES = (
    Mode("root", "root", 64201, _PLAIN),
    Mode("root-subprocesses", "root", 64202, _PLAIN | _PROCESSES),
    Mode("user", "user", 64203, refuses_namespaces=True),
    Mode("user-subprocesses", "user", 64204, _PROCESSES, refuses_namespaces=True),
    Mode("old-landlock", "anybody", 64205, _OLD),
    Mode("old-landlock-subprocesses", "anybody", 64206, _OLD | _PROCESSES),
    Mode("namespaces", "user", 64207, needs_namespaces=True),
    Mode("namespaces-subprocesses", "anybody", 64208, _PROCESSES, needs_namespaces=True),
)
# Tried by the containers stage of CI, which has an engine: see tests/containers.
ELSEWHERE = {"container": "the containers stage tries it"}


def short_folder() -> tempfile.TemporaryDirectory[str]:
    """Return a folder whose path leaves room for a socket's name."""
    return tempfile.TemporaryDirectory(prefix="escape-")
