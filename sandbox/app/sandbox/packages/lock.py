"""The resolver's answer: each package of the closure, with the one wheel that fits and its hash.

The resolver writes a `pylock.toml` (PEP 751): for each package its wheels with address,
size and SHA-256. Of these the one is taken that the cell interpreter prefers.
"""

import hashlib
import re
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from packaging.tags import Tag, compatible_tags, cpython_tags
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename
from packaging.version import InvalidVersion, Version

_HASH: Final = re.compile(r"[0-9a-f]{64}")
_SCHEMES: Final = frozenset({"https", "http", "file"})


@dataclass(frozen=True, slots=True)
class LockedPackage:
    """One package of a closure and the file that is installed for it.

    Attributes
    ----------
    filename, url, sha256
        The wheel's name, address, and SHA-256 in hexadecimal.
    size
        The wheel's length in bytes as the index says it; None when it does not.
    """

    name: str
    version: str
    filename: str
    url: str
    sha256: str
    size: int | None = None

    def line(self) -> str:
        """Return the package as one line that names exactly one file."""
        return f"{self.name}=={self.version} --hash=sha256:{self.sha256}"


class LockError(ValueError):
    """The resolver wrote something that is no wheel of the index with a hash."""


class NoWheelFits(LockError):
    """A package has wheels, but none for this interpreter and machine; the text is its name."""


def wheel_tags(python: str) -> tuple[Tag, ...]:
    """Return the tags of wheels that a CPython of this version can use here, the best first."""
    version = Version(python).release[:2]
    interpreter = f"cp{version[0]}{version[1]}"
    return (*cpython_tags(version), *compatible_tags(version, interpreter))


def parse_lock(text: str, tags: Sequence[Tag]) -> tuple[LockedPackage, ...]:
    """Read the resolver's `pylock.toml`.

    Parameters
    ----------
    tags
        What the cell interpreter can use, the best first.

    Raises
    ------
    LockError
        A package does not come as a hashed wheel of the index: a URL, a path, a repository.
    NoWheelFits
        A package has no wheel with any of the tags.
    """
    rank = {tag: place for place, tag in enumerate(tags)}
    try:
        packages = tomllib.loads(text).get("packages", [])
        return tuple(_parse_package(package, rank) for package in packages)
    except LockError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise LockError("the lock can't be read") from error


def _parse_package(package: dict[str, Any], rank: dict[Tag, int]) -> LockedPackage:
    name, version = str(canonicalize_name(package["name"])), str(Version(package["version"]))
    if any(key in package for key in ("vcs", "directory", "archive")):
        raise LockError(f"{name} comes from outside of the index")
    found = [_parse_wheel(wheel, name, version) for wheel in package.get("wheels", ())]
    fitting = [(place, wheel) for wheel in found if (place := _place(wheel, rank)) is not None]
    if not fitting:
        raise NoWheelFits(name)
    return min(fitting, key=lambda item: item[0])[1]


def _parse_wheel(wheel: dict[str, Any], name: str, version: str) -> LockedPackage:
    url, digest, size = wheel["url"], wheel["hashes"].get("sha256"), wheel.get("size")
    address = urlsplit(url)
    filename = unquote(address.path.rpartition("/")[2])
    if address.scheme not in _SCHEMES or digest is None or not _HASH.fullmatch(digest):
        raise LockError(f"{name} has a file without SHA-256, or one that is not on the index")
    if not (size is None or (isinstance(size, int) and size >= 0)):
        raise LockError(f"{name} has a file of no size")
    try:
        of_name, of_version, _, _ = parse_wheel_filename(filename)
    except (InvalidWheelFilename, InvalidVersion) as error:
        raise LockError(f"{name} has a file that is not named like a wheel") from error
    if (of_name, of_version) != (name, Version(version)):
        raise LockError(f"{name} has a file of another package or version")
    return LockedPackage(name, version, filename, url, digest, size)


def _place(wheel: LockedPackage, rank: dict[Tag, int]) -> int | None:
    places = [rank[tag] for tag in parse_wheel_filename(wheel.filename)[3] if tag in rank]
    return min(places, default=None)


def set_id(packages: Iterable[LockedPackage], *, python: str) -> str:
    """Return the content address of a package set: SHA-256 of its locked lines.

    Parameters
    ----------
    python
        Version of the cell interpreter: another one gets other wheels of the same packages.
    """
    lines = sorted(package.line() for package in packages)
    return hashlib.sha256("\n".join((f"python {python}", *lines)).encode("ascii")).hexdigest()
