"""What a wheel's own directory says, judged before anything is unpacked.

A wheel is an archive of its author's choice. Its directory (the list at the end of a zip
file) names every file with its size; from that alone follows whether the wheel is let in
and where each file goes. `adapters/unpack.py` then writes exactly that plan.
"""

import base64
import binascii
import csv
import re
import stat
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final

from packaging.version import InvalidVersion, Version

from sandbox.packages.refusal import refusal
from sandbox.packages.tree import (
    TreeLimits,
    check_count,
    check_place,
    check_total,
    is_left_out,
    is_of_system,
)

WHEEL_RULES: Final = frozenset(
    {"archive", "file-count", "file-name", "links", "other-package", "outside", "pth", "record",
     "sitecustomize", "size", "traversal"}
)  # fmt: skip
"""The rules by which a wheel may be refused."""

_ENCRYPTED: Final = 0x1
_STORED, _DEFLATED = 0, 8
# A path's part has 255 bytes on every common file system; the whole has 4096 with our folder.
_MAX_PART_BYTES: Final = 255
_MAX_PATH_BYTES: Final = 2048
_HASHES: Final = frozenset({"sha256", "sha384", "sha512"})
_UNSIGNED: Final = ("RECORD", "RECORD.jws", "RECORD.p7s")
# As packaging.utils.canonicalize_name, which imports more than all of the unpacker.
_SEPARATORS: Final = re.compile(r"[-_.]+")
_DATA: Final = re.compile(r"[^/]+\.data")
# Scripts and headers are no modules: nothing in a session would find them.
_LEFT_OUT_KEYS: Final = frozenset({"scripts", "headers"})
_ROOT_KEYS: Final = frozenset({"purelib", "platlib", "data"})
_MODULE: Final = re.compile(r"((?:.+/)?[A-Za-z_]\w*)(?:\.pyc?|(?:\.[\w-]+)?\.so)", re.ASCII)


@dataclass(frozen=True, slots=True)
class Member:
    """One entry of a wheel's directory.

    Attributes
    ----------
    path
        As the archive says it, unchecked.
    mode
        Unix type and permissions, 0 when the archive says none.
    size
        Unpacked length in bytes, as the archive says it.
    flags, method
        The zip format's own flags, and how the entry is packed.
    """

    path: str
    mode: int
    size: int
    flags: int = 0
    method: int = _DEFLATED


@dataclass(frozen=True, slots=True)
class Plan:
    """Where each file goes: pairs of the archive's path and the path beneath the target."""

    files: tuple[tuple[str, str], ...]
    dist_info: str
    size_bytes: int

    def modules(self) -> tuple[str, ...]:
        """Return the top-level modules that the wheel defines; shared namespaces are none."""
        found = (module_of(path) for _, path in self.files)
        return tuple(dict.fromkeys(each for each in found if each and "/" not in each))


def module_of(path: str) -> str | None:
    """Return the module that Python finds in a file, its parts divided by `/`; None for no module.

    A library or a compiled file may stand for a module as well as its source, and a folder for a
    file of its name.
    """
    if (match := _MODULE.fullmatch(path)) is None:
        return None
    folder, _, name = match[1].rpartition("/")
    return folder if name == "__init__" and folder else match[1]


def plan_wheel(
    members: Sequence[Member], limits: TreeLimits, *, package: str, is_trusted: bool
) -> Plan:
    """Judge a wheel's directory and say what is unpacked where.

    Parameters
    ----------
    package
        The package's normalized name.
    is_trusted
        Whether the package is well known: then its `.pth` files, and those for `etc/` and the
        like, are left out instead of refused. A set is on the path and no site folder, so
        they have no effect anyway.

    Raises
    ------
    PackageRefused
        It holds what no session may see, or it is not a wheel.
    """
    check_count(len(members), limits, package)
    check_total(total := sum(member.size for member in members), limits, package)
    for member in members:
        _check_member(member, package)
    files = [member.path for member in members if not member.path.endswith("/")]
    _check_no_clash(files, package)
    dist_info = _dist_info(files, package)
    placed = [(path, _destination(path, package)) for path in files]
    kept = []
    for path, destination in placed:
        if destination is None or is_left_out(destination):
            continue
        if is_trusted and _is_without_effect(destination):
            continue
        check_place(destination, package)
        kept.append((path, destination))
    _check_no_clash([destination for _, destination in kept], package)
    return Plan(tuple(kept), dist_info, total)


def _is_without_effect(destination: str) -> bool:
    """Whether a file does nothing in a set, and is common in honest packages all the same."""
    is_start_file = destination.endswith(".pth") and "/" not in destination
    return is_start_file or is_of_system(destination)


def _check_member(member: Member, package: str) -> None:
    path, kind = member.path, stat.S_IFMT(member.mode)
    if not path.isprintable() or not path:
        raise refusal("file-name", package, "Its archive holds a file name that can't be printed.")
    parts = path.removesuffix("/").split("/")
    if "\\" in path or ":" in parts[0] or not all(part not in {"", ".", ".."} for part in parts):
        raise refusal(
            "traversal", package, "Its archive holds a path that leads out of the package."
        )
    encoded = [len(part.encode("utf-8", "surrogatepass")) for part in parts]
    if max(encoded) > _MAX_PART_BYTES or sum(encoded) + len(parts) > _MAX_PATH_BYTES:
        raise refusal("file-name", package, "Its archive holds a file name that is too long.")
    if kind not in {0, stat.S_IFREG, stat.S_IFDIR}:
        raise refusal("links", package, "Its archive holds a link or a special file.")
    if member.mode & (stat.S_ISUID | stat.S_ISGID):
        raise refusal("links", package, "Its archive holds a set-uid file.")
    if member.flags & _ENCRYPTED or member.method not in {_STORED, _DEFLATED}:
        raise refusal("archive", package, "Its archive is encrypted or packed in an unusual way.")


def _check_no_clash(paths: Iterable[str], package: str) -> None:
    """Refuse two files of one path, and a file where another one needs a folder."""
    seen: set[str] = set()
    for path in paths:
        if path in seen:
            raise refusal("archive", package, "Its archive holds two files of one path.")
        seen.add(path)
    folders = {str(parent) for path in seen for parent in PurePosixPath(path).parents}
    if seen & folders:
        raise refusal("archive", package, "Its archive holds a file and a folder of one path.")


def _dist_info(files: Sequence[str], package: str) -> str:
    tops = {path.split("/")[0] for path in files}
    found = [top for top in tops if top.endswith(".dist-info")]
    if len(found) != 1 or not {f"{found[0]}/{name}" for name in ("METADATA", "RECORD")} <= set(
        files
    ):
        raise refusal(
            "archive", package, "Its archive is no wheel: it does not have one description of it."
        )
    return found[0]


def _destination(path: str, package: str) -> str | None:
    top, _, rest = path.partition("/")
    if not _DATA.fullmatch(top):
        return path
    key, _, inner = rest.partition("/")
    if key in _LEFT_OUT_KEYS:
        return None
    if key not in _ROOT_KEYS or not inner:
        raise refusal("archive", package, f"Its archive holds data of no known kind: {key[:20]}.")
    return inner


def check_description(text: str, *, package: str, version: str) -> None:
    """Refuse a wheel whose METADATA is about another package or version than was asked for."""
    names, versions = _headers(text, "name"), _headers(text, "version")
    try:
        is_same = (
            [_SEPARATORS.sub("-", name).lower() for name in names] == [package]
            and [Version(each) for each in versions] == [Version(version)]
        )  # fmt: skip
    except InvalidVersion:
        is_same = False
    if not is_same:
        raise refusal(
            "other-package", package, "The file on the index describes itself as another package."
        )


def _headers(text: str, name: str) -> list[str]:
    head = re.split(r"\r?\n\r?\n", text, maxsplit=1)[0]
    pairs = (line.partition(":") for line in head.splitlines())
    return [value.strip() for key, _, value in pairs if key.lower() == name]


def read_record(
    lines: Iterable[str], files: Iterable[str], *, package: str, dist_info: str
) -> Mapping[str, tuple[str, bytes]]:
    """Return the hash of each file by path, as the wheel's RECORD says it.

    Raises
    ------
    PackageRefused
        The RECORD names files that are not there, or is silent about some that are.
    """
    unsigned = {f"{dist_info}/{name}" for name in _UNSIGNED}
    hashes: dict[str, tuple[str, bytes]] = {}
    named: set[str] = set()
    try:
        for row in csv.reader(lines, strict=True):
            if not row:
                continue
            named.add(row[0])
            if row[0] not in unsigned:
                hashes[row[0]] = _parse_hash(row[1])
    except (csv.Error, ValueError, IndexError, binascii.Error):
        raise _lying(package, "can't be read") from None
    there = set(files) - unsigned
    if there - named:
        raise _lying(package, "does not name all of its files")
    if named - there - unsigned:
        raise _lying(package, "names files that it does not hold")
    return hashes


def _parse_hash(text: str) -> tuple[str, bytes]:
    algorithm, _, digest = text.partition("=")
    if algorithm not in _HASHES:
        raise ValueError("no hash, or a weak one")
    return algorithm, base64.urlsafe_b64decode(digest + "=" * (-len(digest) % 4))


def check_content(path: str, found: bytes, expected: bytes, *, package: str) -> None:
    """Refuse a file that is not what the RECORD says."""
    if found != expected:
        raise _lying(package, f"says something else than what {path[:80]} holds")


def _lying(package: str, what: str) -> Exception:
    return refusal("record", package, f"The archive's own list of its files {what}.")
