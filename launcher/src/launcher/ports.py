"""Is a port free, and if not, who holds it."""

import errno
import os
import shutil
import socket
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

_LISTEN = "0A"
_MAX_COMMAND_CHARACTERS = 100


@dataclass(frozen=True)
class Holder:
    """The process that listens on a port."""

    pid: int
    command: str


@dataclass(frozen=True)
class PortConflict:
    """A port that a service wants and somebody has."""

    service: str
    port: int
    holder: Holder | None

    def sentence(self) -> str:
        """Say which port, for whom, and who has it."""
        if self.holder is None:
            who = "is in use by a process that this user cannot see"
        else:
            who = f"is in use by process {self.holder.pid} ({self.holder.command})"
        return f"Port {self.port} ({self.service}) {who}."


def find_conflicts(wanted: Iterable[tuple[str, str, int]]) -> tuple[PortConflict, ...]:
    """Give a conflict for each `(service, host, port)` that cannot be bound now."""
    return tuple(
        PortConflict(service, port, port_holder(port))
        for service, host, port in wanted
        if not is_free(host, port)
    )


def is_free(host: str, port: int) -> bool:
    """Tell whether `host:port` can be bound.

    A listener on `[::1]` counts as well: browsers and curl try it first for `localhost`.
    """
    hosts = [host] if host not in {"127.0.0.1", "localhost"} else ["127.0.0.1", "::1"]
    return all(_can_bind(each, port) for each in hosts)


def _can_bind(host: str, port: int) -> bool:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            # As the server will: a connection in TIME_WAIT is no holder.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except OSError as error:
        # Without IPv6 (EADDRNOTAVAIL, EAFNOSUPPORT) nobody can listen there either; a port that
        # may not be bound (EACCES) is told by the service itself.
        return error.errno != errno.EADDRINUSE
    return True


def free_ports(count: int) -> tuple[int, ...]:
    """Give ports that are free now, all different."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return tuple(each.getsockname()[1] for each in sockets)
    finally:
        for each in sockets:
            each.close()


def port_holder(port: int, proc: Path = Path("/proc")) -> Holder | None:
    """Find who listens on a TCP port; None when that cannot be seen."""
    if (proc / "net" / "tcp").exists():
        inodes = set(_listening_inodes(port, proc))
        return _holder_of(inodes, proc) if inodes else None
    return _holder_by_lsof(port)


def _listening_inodes(port: int, proc: Path) -> Iterator[str]:
    for table in ("tcp", "tcp6"):
        try:
            lines = (proc / "net" / table).read_text(encoding="ascii").splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            columns = line.split()
            if columns[3] == _LISTEN and int(columns[1].rpartition(":")[2], 16) == port:
                yield columns[9]


def _holder_of(inodes: set[str], proc: Path) -> Holder | None:
    targets = {f"socket:[{inode}]" for inode in inodes}
    for folder in proc.iterdir():
        if folder.name.isdigit() and _has_descriptor(folder / "fd", targets):
            return Holder(int(folder.name), _command(folder))
    return None


def _has_descriptor(folder: Path, targets: set[str]) -> bool:
    try:
        return any(str(entry.readlink()) in targets for entry in folder.iterdir())
    except OSError:
        # Another user's process, or one that ended while we looked.
        return False


def _command(folder: Path) -> str:
    try:
        raw = (folder / "cmdline").read_bytes()
    except OSError:
        return "?"
    return shortened(raw.replace(b"\0", b" ").decode(errors="replace").strip() or "?")


def shortened(command: str) -> str:
    """Cut a command line for a message."""
    if len(command) <= _MAX_COMMAND_CHARACTERS:
        return command
    return command[: _MAX_COMMAND_CHARACTERS - 1] + "…"


def _holder_by_lsof(port: int) -> Holder | None:
    lsof = shutil.which("lsof")
    if lsof is None:
        return None
    try:
        done = subprocess.run(  # noqa: S603  # fixed arguments and a number
            [lsof, "-nP", f"-iTCP:{port}", "-sTCP:LISTEN", "-Fpc"],
            capture_output=True,
            text=True,
            timeout=5,
            check=False,
            env={**os.environ, "LC_ALL": "C"},
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    fields = {line[:1]: line[1:] for line in reversed(done.stdout.splitlines())}
    if not fields.get("p", "").isdigit():
        return None
    return Holder(int(fields["p"]), fields.get("c", "?"))
