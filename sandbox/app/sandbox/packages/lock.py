"""The resolver's answer: each package of the closure, pinned by version and hashes."""

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from packaging.utils import canonicalize_name

_PIN: Final = re.compile(r"([A-Za-z0-9._-]+)==([A-Za-z0-9.!+_-]+)")
_HASH: Final = re.compile(r"--hash=sha256:([0-9a-f]{64})")


@dataclass(frozen=True, slots=True)
class LockedPackage:
    """One package of a closure; `hashes` are SHA-256 of the files that may be installed."""

    name: str
    version: str
    hashes: tuple[str, ...]

    def line(self) -> str:
        """Return the requirement as the installer reads it."""
        return " ".join(
            (f"{self.name}=={self.version}", *(f"--hash=sha256:{item}" for item in self.hashes))
        )


class LockError(ValueError):
    """The resolver wrote something that is no pinned package of the index."""


def parse_lock(text: str) -> tuple[LockedPackage, ...]:
    """Read the resolver's requirements text.

    Raises
    ------
    LockError
        A line is not `name==version` with at least one hash: a URL, a path or an option.
    """
    lines = text.replace("\\\n", " ").splitlines()
    return tuple(
        _parse_line(line.strip())
        for line in lines
        if line.strip() and not line.strip().startswith("#")
    )


def _parse_line(line: str) -> LockedPackage:
    pin, *rest = line.split()
    match = _PIN.fullmatch(pin)
    hashes = [_HASH.fullmatch(item) for item in rest]
    if match is None or not hashes or not all(hashes):
        raise LockError("a line of the lock is not a pinned package with hashes")
    return LockedPackage(
        name=str(canonicalize_name(match[1])),
        version=match[2],
        hashes=tuple(sorted(item[1] for item in hashes if item is not None)),
    )


def set_id(packages: Iterable[LockedPackage], *, python: str) -> str:
    """Return the content address of a package set: SHA-256 of its locked lines.

    Parameters
    ----------
    python
        Version of the cell interpreter: another one gets other wheels of the same packages.
    """
    lines = sorted(package.line() for package in packages)
    return hashlib.sha256("\n".join((f"python {python}", *lines)).encode("ascii")).hexdigest()
