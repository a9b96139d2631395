"""The ways in which a runner may be confined; each attack is tried in every one."""

import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from sandbox_runner.launch import RunnerProcess

from sandbox_support.container_runner import PROFILE, ContainerRunner, container_runner
from sandbox_support.user_runner import user_runner

Who = Literal["root", "user", "anybody", "container"]
Runner = RunnerProcess | ContainerRunner
SPARE_SESSIONS = 2


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
    is_http
        Whether attacks come through the service, as requests, and not at the runner's socket.
    """

    name: str
    who: Who
    uid: int
    settings: Mapping[str, str] = field(default_factory=dict)
    refuses_namespaces: bool = False
    needs_namespaces: bool = False
    is_http: bool = False

    @property
    def seconds(self) -> float:
        """Return a cell's time limit: enough for all that is no endless loop, on a busy machine.

        In a container modules are read through more layers, and nothing is preloaded.
        """
        return 4.0 if self.who == "container" else 1.5

    @property
    def why_not_here(self) -> str:
        """Return why this machine's user can't try this mode; nothing if it can."""
        if self.who in {"root", "container"} and os.geteuid() != 0:
            return "only root can"
        return ""

    @contextmanager
    def runner(self, folder: Path, environment: Mapping[str, str]) -> Iterator[Runner]:
        """Start a runner in an existing folder."""
        if self.who == "container":
            with container_runner(
                folder,
                uid=self.uid,
                profile=PROFILE if self.needs_namespaces else None,
                settings=self.settings,
                environment=environment,
            ) as contained:
                yield contained
            return
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
# That of Linux 6.1, and so of Debian 12.
_OLDER = {"namespaces": "0", "landlock_abi_max": "2"}
_PROCESSES = {"subprocesses": "1"}
# The service keeps an eighth of the places opened ahead.
_ROOMY = {"slots": str(8 * SPARE_SESSIONS)}

_LOCAL = (
    Mode("root", "root", 64201, _PLAIN),
    Mode("root-subprocesses", "root", 64202, _PLAIN | _PROCESSES),
    Mode("user", "user", 64203, refuses_namespaces=True),
    Mode("user-subprocesses", "user", 64204, _PROCESSES, refuses_namespaces=True),
    Mode("old-landlock", "anybody", 64205, _OLD),
    Mode("old-landlock-subprocesses", "anybody", 64206, _OLDER | _PROCESSES),
    Mode("namespaces", "user", 64207, needs_namespaces=True),
    Mode("namespaces-subprocesses", "anybody", 64208, _PROCESSES, needs_namespaces=True),
    Mode("http", "anybody", 64209, _ROOMY, is_http=True),
)
_IN_CONTAINERS = (
    Mode("container", "container", 64211, refuses_namespaces=True),
    Mode("container-subprocesses", "container", 64212, _PROCESSES, refuses_namespaces=True),
    Mode("container-namespaces", "container", 64213, needs_namespaces=True),
)
# The containers stage of CI has an engine and the images: STACK_CONTAINERS=1 says so.
HAS_ENGINE = os.environ.get("STACK_CONTAINERS") == "1"
MODES = _IN_CONTAINERS if HAS_ENGINE else _LOCAL
ELSEWHERE = () if HAS_ENGINE else _IN_CONTAINERS


def short_folder() -> tempfile.TemporaryDirectory[str]:
    """Return a folder whose path leaves room for a socket's name."""
    return tempfile.TemporaryDirectory(prefix="escape-")
