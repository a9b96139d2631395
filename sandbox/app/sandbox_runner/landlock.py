"""Landlock: what paths and ports a process, and all that it starts, may still reach."""

import os
import stat
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sandbox_runner import kernel
from sandbox_runner.policy import PathRule

# The three calls have the same numbers on every architecture.
_CREATE_RULESET: Final = 444
_ADD_RULE: Final = 445
_RESTRICT_SELF: Final = 446
_QUERY_VERSION: Final = 1
_RULE_PATH_BENEATH: Final = 1
_RULE_TCP_PORT: Final = 2

_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR, _REMOVE_DIR, _REMOVE_FILE = (1 << i for i in range(6))
_MAKE_DIR, _MAKE_REG, _MAKE_SYM = 1 << 7, 1 << 8, 1 << 12
_REFER, _TRUNCATE, _IOCTL_DEV = 1 << 13, 1 << 14, 1 << 15
_ALL_FILE_RIGHTS: Final = (1 << 16) - 1
_READ: Final = _EXECUTE | _READ_FILE | _READ_DIR
_WRITE: Final = (
    (_READ & ~_EXECUTE)
    | _WRITE_FILE
    | _REMOVE_DIR
    | _REMOVE_FILE
    | _MAKE_DIR
    | _MAKE_REG
    | _MAKE_SYM
    | _REFER
    | _TRUNCATE
)
_FILE_ONLY: Final = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL_DEV
_TCP_CONNECT: Final = 2
_TCP_BIND_AND_CONNECT: Final = 3
_ABSTRACT_SOCKETS_AND_SIGNALS: Final = 3

ABI_TRUNCATE: Final = 3
ABI_TCP: Final = 4
ABI_IOCTL: Final = 5
ABI_SCOPES: Final = 6


def abi_version(cap: int | None = None) -> int:
    """Return the kernel's Landlock version, 0 without Landlock, never more than `cap`."""
    try:
        found = kernel.syscall(_CREATE_RULESET, None, 0, _QUERY_VERSION)
    except OSError:
        return 0
    return found if cap is None else min(found, cap)


@dataclass(frozen=True, slots=True)
class OpenRule:
    """A rule whose path is open already.

    Attributes
    ----------
    path
        A descriptor.
    rights
        What is allowed there.
    """

    path: int
    rights: int


class OpenRules:
    """Rules that many rulesets share, with their paths held open.

    A rule is about a file and not about its name: what stands under a name by now, after an upgrade
    has replaced it, or what is there at last, is opened anew.
    """

    def __init__(self, rules: Sequence[PathRule]) -> None:
        self._rules = rules
        self._held: dict[PathRule, tuple[tuple[int, int], OpenRule]] = {}

    def current(self) -> tuple[OpenRule, ...]:
        """Return the rules as they are now; those whose paths do not exist are left out."""
        for rule in self._rules:
            self._renew(rule)
        return tuple(opened for _, opened in self._held.values())

    def close(self) -> None:
        """Let go of all descriptors."""
        for _, opened in self._held.values():
            os.close(opened.path)
        self._held.clear()

    def _renew(self, rule: PathRule) -> None:
        try:
            status = os.stat(rule.path)  # noqa: PTH116  # for each rule of each session
            now = (status.st_dev, status.st_ino)
        except OSError:
            now = None
        held = self._held.get(rule)
        if held is not None and held[0] == now:
            return
        if held is not None:
            os.close(held[1].path)
            del self._held[rule]
        if now is not None and (opened := _open_rule(rule)) is not None:
            self._held[rule] = (now, opened)


def create_ruleset(rules: Sequence[PathRule], abi: int, opened: Sequence[OpenRule] = ()) -> int:
    """Return a descriptor of a ruleset: the rules are allowed, every other path and port is not.

    Paths that do not exist are left out; so are rights that the version does not know.
    """
    handled = _ALL_FILE_RIGHTS
    if abi < ABI_IOCTL:
        handled &= ~_IOCTL_DEV
    if abi < ABI_TRUNCATE:
        handled &= ~_TRUNCATE
    if abi < 2:  # noqa: PLR2004  # the version that brought REFER
        handled &= ~_REFER
    ruleset = _create(
        handled,
        _TCP_BIND_AND_CONNECT if abi >= ABI_TCP else 0,
        _ABSTRACT_SOCKETS_AND_SIGNALS if abi >= ABI_SCOPES else 0,
        abi,
    )
    try:
        for each in opened:
            _add(ruleset, each.path, each.rights & handled)
        for rule in rules:
            if (fresh := _open_rule(rule)) is not None:
                try:
                    _add(ruleset, fresh.path, fresh.rights & handled)
                finally:
                    os.close(fresh.path)
    except OSError:
        os.close(ruleset)
        raise
    return ruleset


def allow_connect(ruleset: int, port: int) -> None:
    """Let who is under this ruleset connect to a TCP port, at any address (ABI 4 and above)."""
    rule = struct.pack("=QQ", _TCP_CONNECT, port)
    kernel.syscall(_ADD_RULE, ruleset, _RULE_TCP_PORT, rule, 0)


def create_signal_scope() -> int:
    """Return a ruleset that keeps signals inside: `kill(-1)` reaches only this domain."""
    ruleset = _create(_REFER, 0, _ABSTRACT_SOCKETS_AND_SIGNALS, ABI_SCOPES)
    # Every domain refuses to move files between folders until a rule allows it, also a domain that
    # says nothing of files: without this a cell could not rename from folder to folder.
    root = os.open("/", os.O_PATH | os.O_CLOEXEC)
    try:
        _add(ruleset, root, _REFER)
    finally:
        os.close(root)
    return ruleset


def restrict_self(ruleset: int) -> None:
    """Put this process, for good, into the domain of a ruleset, and close its descriptor."""
    kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
    try:
        kernel.syscall(_RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)


def _create(files: int, ports: int, scopes: int, abi: int) -> int:
    attributes = struct.pack("QQQ", files, ports, scopes)
    size = 24 if abi >= ABI_SCOPES else 16 if abi >= ABI_TCP else 8
    return kernel.syscall(_CREATE_RULESET, attributes, size, 0)


def _open_rule(rule: PathRule) -> OpenRule | None:
    try:
        path = os.open(rule.path, os.O_PATH | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return None
    rights = _WRITE if rule.is_writable else _READ
    if rule.is_users:
        rights &= ~(_EXECUTE | _MAKE_SYM)
    if not stat.S_ISDIR(os.fstat(path).st_mode):
        rights &= _FILE_ONLY
    return OpenRule(path, rights)


def _add(ruleset: int, path: int, rights: int) -> None:
    attributes = struct.pack("=Qi", rights, path)
    kernel.syscall(_ADD_RULE, ruleset, _RULE_PATH_BENEATH, attributes, 0)
