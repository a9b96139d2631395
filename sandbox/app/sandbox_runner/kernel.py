"""The few kernel calls that the standard library lacks, with errors raised as `OSError`."""

import ctypes
import os
import signal
import struct
from typing import Final

_libc: Final = ctypes.CDLL(None, use_errno=True)
# Keeps the interpreter's lock over a call: a child that is forked in it has it then.
_held_libc: Final = ctypes.PyDLL(None, use_errno=True)
_held_libc.syscall.restype = ctypes.c_long
_libc.syscall.restype = ctypes.c_long
_libc.prctl.argtypes = [ctypes.c_int, *[ctypes.c_ulong] * 4]
_libc.mount.argtypes = [
    ctypes.c_char_p,
    ctypes.c_char_p,
    ctypes.c_char_p,
    ctypes.c_ulong,
    ctypes.c_char_p,
]

PR_SET_PDEATHSIG: Final = 1
PR_SET_DUMPABLE: Final = 4
PR_SET_SECCOMP: Final = 22
PR_SET_CHILD_SUBREAPER: Final = 36
PR_SET_NO_NEW_PRIVS: Final = 38
SECCOMP_MODE_FILTER: Final = 2

CAP_SYS_ADMIN: Final = 1 << 21

CLONE_NEWNS: Final = 0x00020000
CLONE_NEWUTS: Final = 0x04000000
CLONE_NEWIPC: Final = 0x08000000
CLONE_NEWUSER: Final = 0x10000000
CLONE_NEWPID: Final = 0x20000000
CLONE_NEWNET: Final = 0x40000000

MS_RDONLY: Final = 1
MS_NOSUID: Final = 2
MS_NODEV: Final = 4
MS_NOEXEC: Final = 8
MS_REMOUNT: Final = 32
MS_BIND: Final = 4096
MS_REC: Final = 16384
MS_PRIVATE: Final = 1 << 18
MNT_DETACH: Final = 2

MOUNT_ATTR_RDONLY: Final = 1
MOUNT_ATTR_NOSUID: Final = 2
MOUNT_ATTR_NODEV: Final = 4
_MOUNT_SETATTR: Final = 442
_AT_FDCWD: Final = -100
_AT_RECURSIVE: Final = 0x8000
_CAPABILITY_VERSION_3: Final = 0x20080522
_ANSWER_BYTES: Final = 4096


def tell(path: str, text: str) -> None:
    """Write to a file of the kernel's, in one call."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)


def ask(path: str) -> bytes:
    """Return what a file of the kernel's says, if that is no more than a page."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(descriptor, _ANSWER_BYTES)
    finally:
        os.close(descriptor)


def syscall(number: int, *arguments: int | bytes | None) -> int:
    """Call the kernel directly; buffers are passed by address.

    Raises
    ------
    OSError
        The kernel's refusal.
    """
    packed = [ctypes.c_long(a) if isinstance(a, int) else ctypes.c_char_p(a) for a in arguments]
    result = int(_libc.syscall(ctypes.c_long(number), *packed))
    if result < 0:
        raise _last_error(f"system call {number}")
    return result


def prctl(option: int, argument: int = 0, second: int = 0) -> None:
    """Set one attribute of this process."""
    if _libc.prctl(option, argument, second, 0, 0) < 0:
        raise _last_error(f"prctl {option}")


def die_with_parent(signal_number: int, parent_pid: int) -> None:
    """Have the kernel send a signal to this process when its parent ends."""
    prctl(PR_SET_PDEATHSIG, signal_number)
    # The parent may have ended before the call above.
    if os.getppid() != parent_pid:
        os.kill(os.getpid(), signal_number)


def clone(number: int, flags: int) -> int:
    """Fork by the system call itself; see `bare_fork`, which knows its number.

    Raises
    ------
    OSError
        The kernel's refusal.
    """
    # All architectures that we know take the flags first, and zeros for whatever else is wanted.
    arguments = map(ctypes.c_long, (number, flags | signal.SIGCHLD, 0, 0, 0, 0))
    pid = int(_held_libc.syscall(*arguments))
    if pid < 0:
        raise _last_error("clone")
    return pid


def unshare(flags: int) -> None:
    """Leave the namespaces that `flags` name for new ones."""
    if _libc.unshare(ctypes.c_int(flags)) < 0:
        raise _last_error("unshare")


def mount(
    source: str | None, target: str, kind: str | None, flags: int, options: str | None = None
) -> None:
    """Attach a file system, or change how one is attached."""
    words = [None if word is None else os.fsencode(word) for word in (source, target, kind)]
    if _libc.mount(*words, flags, None if options is None else options.encode()) < 0:
        raise _last_error(f"mount on {target}")


def unmount(target: str) -> None:
    """Detach the file system at `target`, in use or not."""
    if _libc.umount2(os.fsencode(target), MNT_DETACH) < 0:
        raise _last_error(f"umount {target}")


def restrict_mount(target: str, attributes: int, *, is_recursive: bool) -> None:
    """Add MOUNT_ATTR_ flags to a mount, and to all beneath it; flags that it has stay."""
    flags = _AT_RECURSIVE if is_recursive else 0
    wanted = struct.pack("QQQQ", attributes, 0, 0, 0)
    syscall(_MOUNT_SETATTR, _AT_FDCWD, os.fsencode(target), flags, wanted, len(wanted))


def pivot_root_here() -> None:
    """Make the current folder, a mount of its own, the root; the former root goes away."""
    if _libc.pivot_root(b".", b".") < 0:
        raise _last_error("pivot_root")
    # Both roots now lie at the same place, the former one on top.
    unmount(".")


def set_capabilities(permitted: int, *, effective: int) -> None:
    """Keep the capabilities whose bits are set, none above 31; of them some are in effect.

    What is given up is so for good: with no-new-privileges no program brings it back.
    """
    head = struct.pack("Ii", _CAPABILITY_VERSION_3, 0)
    if _libc.capset(head, struct.pack("IIIIII", effective, permitted, 0, 0, 0, 0)) < 0:
        raise _last_error("capset")


def drop_capabilities() -> None:
    """Give up every capability."""
    set_capabilities(0, effective=0)


def _last_error(what: str) -> OSError:
    number = ctypes.get_errno()
    return OSError(number, f"{what}: {os.strerror(number)}")
