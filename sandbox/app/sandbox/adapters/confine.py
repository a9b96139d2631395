"""Confines this process, for good: what it reads and writes, whom it talks to, when it dies.

    python -I -m sandbox.adapters.confine PARENT_PID CONFINEMENT PROGRAM ARGUMENT...

As a program it runs in the child, between fork and exec: Landlock, the filter and the
limits are set on itself and outlive the exec. CONFINEMENT is JSON.
"""

import contextlib
import json
import os
import resource
import signal
import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import Final, Literal

from sandbox_runner import kernel, landlock, seccomp
from sandbox_runner.policy import PathRule

from sandbox.packages.confinement import Confinement, filter_rules

State = Literal["active", "degraded", "unavailable"]
_PROC: Final = "/proc"


def installer_protection() -> tuple[State, str]:
    """Return how well this kernel confines an installation, and what is missing."""
    abi = landlock.abi_version()
    if abi == 0 or seccomp.current_architecture() is None:
        return "unavailable", "no Landlock or no filter: nothing is installed"
    if abi < landlock.ABI_TCP:
        return "degraded", f"Landlock {abi} does not know ports: the resolver may connect anywhere"
    return "active", f"Landlock {abi}, system call filter; the unpacker has no network"


def to_words(confinement: Confinement, parent: int) -> list[str]:
    """Return the words before a command that confine it."""
    launcher = [sys.executable, "-I", "-m", "sandbox.adapters.confine"]
    return [*launcher, str(parent), json.dumps(asdict(confinement))]


def from_words(parent: str, text: str) -> tuple[int, Confinement]:
    """Read what `to_words` wrote."""
    data = json.loads(text)
    for name in ("readable", "writable", "ports"):
        data[name] = None if data[name] is None else tuple(data[name])
    return int(parent), Confinement(**data)


def confine(confinement: Confinement, parent: int) -> None:
    """Put this process, and all that it starts, under a confinement.

    Raises
    ------
    OSError
        The kernel has no Landlock or no filter. The sandbox runs no code there either.
    """
    kernel.die_with_parent(signal.SIGKILL, parent)
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)  # Python ignores them, and that outlives the exec
    os.umask(0o022)
    for limit, value in (
        (resource.RLIMIT_FSIZE, confinement.max_file_bytes),
        (resource.RLIMIT_AS, confinement.max_memory_bytes),
        (resource.RLIMIT_CORE, 0),
    ):
        with contextlib.suppress(ValueError, OSError):  # a lower hard limit is in force already
            resource.setrlimit(limit, (value, value))
    architecture = seccomp.current_architecture()
    if architecture is None:
        raise OSError("there is no system call filter for this machine")
    program = seccomp.assemble(filter_rules(confinement), architecture)
    _restrict_paths_and_ports(confinement)
    seccomp.install(program.pack().bound_to(os.getpid()))


def _restrict_paths_and_ports(confinement: Confinement) -> None:
    rules = [
        *(PathRule(path) for path in confinement.readable),
        *(PathRule(path, is_writable=True) for path in (*confinement.writable, os.devnull)),
    ]
    abi = landlock.abi_version()
    ruleset = landlock.create_ruleset(rules, abi)
    if abi >= landlock.ABI_TCP:
        for port in confinement.ports or ():
            landlock.allow_connect(ruleset, port)
    landlock.restrict_self(ruleset)


def main(arguments: Sequence[str]) -> None:
    """Confine this process, then become the program."""
    parent, confinement = from_words(arguments[0], arguments[1])
    program = list(arguments[2:])
    confine(confinement, parent)
    os.execv(program[0], program)  # noqa: S606  # no shell is the point


if __name__ == "__main__":
    main(sys.argv[1:])
