"""What the two programs of an installation may do, as data. No I/O.

The *resolver* (uv) reads the index: it may start the interpreter to ask for its tags, and
connect by TCP to the index's ports. The *unpacker* reads wheels: it has no network, no
program to start, and no path but one file to read and one folder to write.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from sandbox_runner.policy import (
    ALLOW,
    ArgumentTest,
    SyscallRule,
    Verdict,
    syscall_rules,
)

_AF_INET, _AF_INET6 = 2, 10
_SOCK_STREAM, _SOCK_DGRAM, _SOCKET_TYPES = 1, 2, 0xF
_EAFNOSUPPORT: Final = 97

# What uv, the interpreter that it asks for its tags, libc's resolver and TLS read.
_SYSTEM_FILES: Final = (
    "/usr",
    "/bin",
    "/lib",
    "/lib64",
    "/etc/ld.so.cache",
    "/etc/ssl",
    "/etc/pki",
    "/etc/ca-certificates",
    "/etc/resolv.conf",
    "/etc/hosts",
    "/etc/host.conf",
    "/etc/gai.conf",
    "/etc/nsswitch.conf",
    "/etc/services",
    "/etc/localtime",
    "/etc/os-release",
    "/run/systemd/resolve",
    "/dev/urandom",
    "/dev/zero",
    "/sys/fs/cgroup",
    "/proc/self/cgroup",
    "/proc/cpuinfo",
    "/proc/meminfo",
    "/proc/sys/vm/overcommit_memory",
)


@dataclass(frozen=True, slots=True)
class Confinement:
    """What a program may reach.

    Attributes
    ----------
    readable, writable
        Files, and folders with all beneath them; nothing else can be opened.
    ports
        TCP ports that may be connected to, at any address. None: no sockets at all.
    looks_up_names
        Whether it needs a name server; then it may also send UDP.
    starts_programs
        Whether it may start programs beneath what is readable.
    max_file_bytes
        Largest file that it may write.
    max_memory_bytes
        Largest address space.
    """

    readable: tuple[str, ...]
    writable: tuple[str, ...]
    max_file_bytes: int
    max_memory_bytes: int
    ports: tuple[int, ...] | None = None
    looks_up_names: bool = False
    starts_programs: bool = False


def resolver_files(
    *, interpreter: Sequence[str], program: str, extra: Sequence[str]
) -> tuple[str, ...]:
    """Return what the resolver may read.

    Parameters
    ----------
    interpreter
        Folders of the interpreter that it asks for its tags.
    program
        The resolver's own binary.
    extra
        Certificates, a netrc file, folders of wheels: what the index's settings name.
    """
    return tuple(dict.fromkeys((*_SYSTEM_FILES, *interpreter, program, *extra)))


def filter_rules(confinement: Confinement) -> Mapping[str, SyscallRule]:
    """Return the rule of each system call: the cells' own filter, and what the network needs."""
    starts = confinement.starts_programs
    rules = dict(syscall_rules(allow_subprocesses=starts, is_signal_scope_active=starts))
    if confinement.ports is not None:
        rules["socket"] = _sockets(datagrams=confinement.looks_up_names)
        rules |= {name: SyscallRule(ALLOW) for name in ("connect", "getsockopt", "setsockopt")}
        # Locks of the index's cache; nobody else holds them.
        rules["flock"] = SyscallRule(ALLOW)
    return rules


def _sockets(*, datagrams: bool) -> SyscallRule:
    """Let pass TCP over IP, plain protocol numbers only.

    Landlock's port rules see neither multipath TCP (protocol 262) nor SCTP nor raw sockets:
    so the protocol is 0 or 6 (TCP), and the type is a stream, or a datagram for the name server.
    """
    # 0 and 6 are all the numbers that have equal bits 1 and 2 and no other bit.
    other_bits = [bit for bit in range(32) if bit not in {1, 2}]
    protocols = [
        *(ArgumentTest(2, 1 << bit, 1 << bit) for bit in other_bits),
        ArgumentTest(2, 0b010, 0b110),
        ArgumentTest(2, 0b100, 0b110),
    ]
    good = {_SOCK_STREAM, _SOCK_DGRAM} if datagrams else {_SOCK_STREAM}
    kinds = [ArgumentTest(1, kind, _SOCKET_TYPES) for kind in range(16) if kind not in good]
    families = (ArgumentTest(0, _AF_INET), ArgumentTest(0, _AF_INET6))
    # "Not supported", so that libc goes on without its cache daemon and its look at routes.
    refuse = Verdict(_EAFNOSUPPORT)
    return replace(SyscallRule(ALLOW, families, otherwise=refuse), unless=(*protocols, *kinds))
