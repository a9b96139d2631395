"""The runner's settings: environment in, one frozen value out."""

import difflib
import os
import re
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Final

from sandbox_runner.policy import PathRule, SessionLimits
from sandbox_runner.pool_size import fitting_pool
from sandbox_runner.protocol import Bounds

PREFIX: Final = "SANDBOX_RUNNER_"
PACKAGES_VARIABLE: Final = "SANDBOX_PACKAGES_DIR"
WORKSPACE_VARIABLE: Final = "SANDBOX_WORKSPACE"

# What Kubernetes sets for each Service of the namespace whose name begins like ours.
_SERVICE_LINK: Final = re.compile(
    r"(?:.+_)?(?:SERVICE_HOST|SERVICE_PORT(?:_\w+)?|PORT_\d+_(?:TCP|UDP|SCTP)(?:_(?:PROTO|PORT|ADDR))?)"
)
_SERVICE_LINK_VALUE: Final = re.compile(r"(?:tcp|udp|sctp)://")

WORKSPACE_MODES: Final = ("off", "ro", "rw")

_MIB: Final = 1 << 20


class SettingsError(Exception):
    """A variable is misspelt or out of bounds; the text is one readable sentence."""


@dataclass(frozen=True, slots=True)
class RunnerSettings:
    """All settings, each from ``SANDBOX_RUNNER_<NAME>``.

    Attributes
    ----------
    socket
        Path of the Unix socket to listen on.
    socket_group
        Number of a group that may connect too (mode 0660 instead of 0600).
    slots_dir
        Folder for the sessions' folders; made if missing.
    packages_dir
        Folder of installed packages, of whose ``sets`` workers may read (``SANDBOX_PACKAGES_DIR``).
    workspace
        Whether cells see the workspace: off, ro (they read it) or rw (``SANDBOX_WORKSPACE``).
    workspace_dir
        The folder that is the workspace.
    slots
        Sessions at once.
    pool
        Sessions forked in advance, some 7 MiB each. Where none is set, from 4 to 64: as many as a
        32nd of the machine's memory holds, and a tenth of a control group's limit.
    preload
        Modules imported before any session is forked; one that starts threads is left to the cells.
    subprocesses
        Whether cells may start processes.
    allow_unsafe
        Accept a kernel without Landlock, with one session at a time.
    uid, gid
        What root becomes before it runs anything untrusted.
    landlock_abi_max
        Use no newer Landlock than this (to try out old kernels).
    private_mounts
        Hide the machine's folders from sessions where the kernel lets us.
    namespaces
        Give each session processes, network and mounts of its own where the kernel lets us; needs
        private_mounts.
    tmpfs
        Give each slot a file system of its own where the kernel lets us; else bytes and entries
        are watched, and `/health` says that the quota is degraded.
    memory_bytes, processes, output_bytes, file_bytes, disk_bytes, disk_entries, open_files
        Bounds of one session, and what it gets unless it asks for less.
    max_timeout_seconds
        The longest time limit that a run may ask for.
    """

    socket: str
    slots_dir: str
    packages_dir: str | None = None
    workspace: str = "off"
    workspace_dir: str = "/workspace"
    socket_group: int | None = None
    slots: int = 80
    pool: int = 64
    preload: tuple[str, ...] = ()
    subprocesses: bool = False
    allow_unsafe: bool = False
    uid: int = 64123
    gid: int = 64123
    landlock_abi_max: int = 1000
    private_mounts: bool = True
    namespaces: bool = True
    tmpfs: bool = True
    memory_bytes: int = 512 * _MIB
    processes: int = 64
    output_bytes: int = _MIB
    file_bytes: int = 64 * _MIB
    disk_bytes: int = 128 * _MIB
    disk_entries: int = 10_000
    open_files: int = 128
    max_timeout_seconds: float = 600.0

    @property
    def bounds(self) -> SessionLimits:
        """The bounds of one session."""
        names = [item.name for item in fields(SessionLimits)]
        return SessionLimits(**{name: getattr(self, name) for name in names})

    @property
    def wire_bounds(self) -> Bounds:
        """The bounds as a client is told them."""
        names = [item.name for item in fields(Bounds) if item.name != "timeout_seconds"]
        values = {name: getattr(self, name) for name in names}
        return Bounds(**values, timeout_seconds=self.max_timeout_seconds)

    @property
    def package_sets(self) -> str | None:
        """The folder of package sets, the one part of `packages_dir` that workers may read."""
        return None if self.packages_dir is None else f"{self.packages_dir}/sets"

    @property
    def workspace_rule(self) -> PathRule | None:
        """What cells may do in the workspace, or None if they do not see it."""
        if self.workspace == "off":
            return None
        return PathRule(self.workspace_dir, is_writable=self.workspace == "rw", is_users=True)

    def to_json(self) -> dict[str, Any]:
        """Return the settings as the zygote gets them."""
        return asdict(self)

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> "RunnerSettings":
        """Return the settings that `to_json` gave."""
        return cls(**{**raw, "preload": tuple(raw["preload"])})


def load(environment: Mapping[str, str]) -> RunnerSettings:
    """Return the settings of an environment.

    Raises
    ------
    SettingsError
        A variable with our prefix is unknown, or a value is unreadable or out of bounds.
    """
    _refuse_unknown(environment)
    home = Path(tempfile.gettempdir()) / f"sandbox-runner-{os.getuid()}"
    values: dict[str, Any] = {
        "socket": str(home / "runner.sock"),
        "slots_dir": str(home / "slots"),
        "packages_dir": environment.get(PACKAGES_VARIABLE) or None,
    }
    for name, read in _READERS.items():
        text = environment.get(PREFIX + name.upper(), "").strip()
        if text:
            values[name] = _read(PREFIX + name.upper(), read, text)
    if text := environment.get(WORKSPACE_VARIABLE, "").strip():
        values["workspace"] = _read(WORKSPACE_VARIABLE, _workspace, text)
    settings = RunnerSettings(**values)
    if "pool" not in values:
        return replace(settings, pool=fitting_pool(min(settings.pool, settings.slots)))
    if settings.pool > settings.slots:
        raise SettingsError(
            f"{PREFIX}POOL is {settings.pool}, more than {PREFIX}SLOTS ({settings.slots})"
        )
    return settings


def _workspace(text: str) -> str:
    if text not in WORKSPACE_MODES:
        raise ValueError(f"must be {', '.join(WORKSPACE_MODES[:-1])} or {WORKSPACE_MODES[-1]}")
    return text


def _integer(low: int, high: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        value = int(text)
        if not low <= value <= high:
            raise ValueError(f"must be from {low} to {high}")
        return value

    return read


def _seconds(low: float, high: float) -> Callable[[str], float]:
    def read(text: str) -> float:
        value = float(text)
        if not low <= value <= high:
            raise ValueError(f"must be from {low} to {high} seconds")
        return value

    return read


def _boolean(text: str) -> bool:
    words = {"1": True, "true": True, "yes": True, "on": True}
    words |= {"0": False, "false": False, "no": False, "off": False}
    if text.lower() not in words:
        raise ValueError("must be true or false")
    return words[text.lower()]


def _path(text: str) -> str:
    if not Path(text).is_absolute():
        raise ValueError("must be an absolute path")
    return text


def _names(text: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    for name in names:
        if not all(part.isidentifier() for part in name.split(".")):
            raise ValueError(f"{name!r} is not the name of a module")
    return names


_READERS: Final[Mapping[str, Callable[[str], Any]]] = {
    "socket": _path,
    "socket_group": _integer(0, 2**32 - 2),
    "slots_dir": _path,
    "workspace_dir": lambda text: os.path.realpath(_path(text)),
    "slots": _integer(1, 1024),
    "pool": _integer(0, 256),
    "preload": _names,
    "subprocesses": _boolean,
    "allow_unsafe": _boolean,
    "uid": _integer(1, 2**32 - 2),
    "gid": _integer(1, 2**32 - 2),
    "landlock_abi_max": _integer(0, 1000),
    "private_mounts": _boolean,
    "namespaces": _boolean,
    "tmpfs": _boolean,
    "memory_bytes": _integer(16 * _MIB, 1 << 40),
    "processes": _integer(1, 4096),
    "output_bytes": _integer(1024, 64 * _MIB),
    "file_bytes": _integer(4096, 1 << 40),
    "disk_bytes": _integer(65536, 1 << 40),
    "disk_entries": _integer(16, 1_000_000),
    "open_files": _integer(32, 65536),
    "max_timeout_seconds": _seconds(0.1, 86400),
}


def _read(name: str, read: Callable[[str], Any], text: str) -> Any:
    try:
        return read(text)
    except ValueError as error:
        raise SettingsError(f"{name}={text!r}: {error}") from None


def _is_service_link(variable: str, text: str) -> bool:
    is_address = variable.endswith("_PORT") and _SERVICE_LINK_VALUE.match(text)
    return bool(is_address or _SERVICE_LINK.fullmatch(variable))


def _refuse_unknown(environment: Mapping[str, str]) -> None:
    known = [PREFIX + name.upper() for name in _READERS]
    for variable, text in environment.items():
        if _is_service_link(variable, text):
            continue
        if variable.startswith(PREFIX) and variable not in known:
            near = difflib.get_close_matches(variable, known, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise SettingsError(f"{variable} is not a setting of the sandbox runner{hint}")
