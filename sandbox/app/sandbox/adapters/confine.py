"""Starts a program that may write to a few folders only, and that dies with its parent.

    python -I -m sandbox.adapters.confine PARENT_PID MAX_FILE_BYTES FOLDER... -- PROGRAM ARGUMENT...

It runs in the child, between fork and exec, as a program of its own: Landlock and the
limits are set on itself and outlive the exec. Reading is not restricted, because the
program is ours; what it unpacks is not.
"""

import contextlib
import os
import resource
import signal
import stat
import struct
import sys
from collections.abc import Sequence
from typing import Final

from sandbox_runner import kernel
from sandbox_runner.landlock import ABI_TRUNCATE, abi_version, restrict_self

# The kernel's numbers (linux/landlock.h); the same on every architecture.
_CREATE_RULESET: Final = 444
_ADD_RULE: Final = 445
_RULE_PATH_BENEATH: Final = 1
_WRITE_FILE: Final = 1 << 1
_REFER, _TRUNCATE = 1 << 13, 1 << 14
# Bits 4 to 12: remove a folder or file, make anything from a device to a link.
_CHANGE_FOLDERS: Final = 0x1FF0
_ABI_REFER: Final = 2


def write_rights(abi: int) -> int:
    """Return the rights to write that this version of Landlock can take away."""
    rights = _WRITE_FILE | _CHANGE_FOLDERS
    if abi >= _ABI_REFER:
        rights |= _REFER
    if abi >= ABI_TRUNCATE:
        rights |= _TRUNCATE
    return rights


def confine_writes(paths: Sequence[str]) -> None:
    """Let this process, and all that it starts, write beneath `paths` only.

    Notes
    -----
    Without Landlock nothing is confined. The sandbox runs no code there either, so what
    is installed is never imported.
    """
    abi = abi_version()
    if abi == 0:
        return
    rights = write_rights(abi)
    ruleset = kernel.syscall(_CREATE_RULESET, struct.pack("Q", rights), 8, 0)
    for path in paths:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
        is_folder = stat.S_ISDIR(os.fstat(descriptor).st_mode)
        allowed = rights if is_folder else rights & (_WRITE_FILE | _TRUNCATE)
        rule = struct.pack("=Qi", allowed, descriptor)
        kernel.syscall(_ADD_RULE, ruleset, _RULE_PATH_BENEATH, rule, 0)
        os.close(descriptor)
    restrict_self(ruleset)


def main(arguments: Sequence[str]) -> None:
    """Confine this process, then become the program."""
    split = arguments.index("--")
    parent, max_file_bytes, *folders = arguments[:split]
    program = [*arguments[split + 1 :]]
    kernel.die_with_parent(signal.SIGKILL, int(parent))
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)  # Python ignores them, and that outlives the exec
    os.umask(0o022)
    for limit, value in ((resource.RLIMIT_FSIZE, int(max_file_bytes)), (resource.RLIMIT_CORE, 0)):
        with contextlib.suppress(ValueError, OSError):  # a lower hard limit is in force already
            resource.setrlimit(limit, (value, value))
    confine_writes([*folders, os.devnull])
    os.execv(program[0], program)  # noqa: S606  # no shell is the point


if __name__ == "__main__":
    main(sys.argv[1:])
