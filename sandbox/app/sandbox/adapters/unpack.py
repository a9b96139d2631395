"""Unpacks one wheel, as a program of its own that can do nothing else.

    python -I -m sandbox.adapters.unpack ORDER

ORDER is JSON (see `UnpackOrder`). The program reads one file and writes beneath one folder;
it has no network, starts nothing, and no code of the wheel runs. It prints one line of JSON,
what the wheel defines, or why it is refused; then it compiles the modules.
"""

import errno
import hashlib
import io
import json
import os
import struct
import sys
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from sandbox.adapters.confine import confine
from sandbox.adapters.precompile import precompile
from sandbox.errors import PackageRefused
from sandbox.packages.confinement import Confinement
from sandbox.packages.refusal import refusal
from sandbox.packages.tree import TreeLimits
from sandbox.packages.wheel import (
    Member,
    Plan,
    check_content,
    check_description,
    plan_wheel,
    read_record,
)

_CHUNK_BYTES: Final = 1 << 20
# METADATA and RECORD are read as a whole: a hundred thousand files are some 10 MB of RECORD.
_MAX_TEXT_BYTES: Final = 32 << 20
# What zipfile raises about a damaged archive; of OSError only the seek to nowhere.
_DAMAGED: Final = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    NotImplementedError,
    OverflowError,
    RuntimeError,
    ValueError,
)


@dataclass(frozen=True, slots=True)
class UnpackOrder:
    """What to unpack, where to, and what it has to be.

    Attributes
    ----------
    parent
        The process with which this one dies.
    max_bytes, max_files
        Bounds on what is unpacked.
    is_trusted
        Whether the package is well known; see `plan_wheel`.
    is_compiled
        Whether the modules are compiled too; that is of use to the same version of Python only.
    """

    parent: int
    wheel: str
    target: str
    package: str
    version: str
    max_bytes: int
    max_files: int
    is_trusted: bool
    is_compiled: bool = True

    def to_words(self) -> list[str]:
        """Return the command that carries this order out."""
        return [sys.executable, "-I", "-m", "sandbox.adapters.unpack", json.dumps(asdict(self))]

    def confinement(self) -> Confinement:
        """Return what the program may reach."""
        return Confinement(
            # The standard library, for what it imports late: names in another encoding, errors.
            readable=(self.wheel, str(Path(os.__file__).parent)),
            writable=(self.target,),
            max_file_bytes=self.max_bytes,
            # The directory of an archive is held in memory: some 500 bytes an entry.
            max_memory_bytes=2 << 30,
        )


def main(arguments: list[str]) -> None:
    """Confine this process, unpack, and print the report."""
    order = UnpackOrder(**json.loads(arguments[0]))
    confine(order.confinement(), order.parent)
    plan = None
    try:
        plan = unpack(order)
        report: Mapping[str, Any] = {"files": len(plan.files), "modules": plan.modules()}
    except PackageRefused as error:
        report = {"refused": error.detail, **error.extensions}
    except MemoryError:
        report = {"refused": "Its archive lists too many files.", "rule": "file-count"}
    sys.stdout.write(json.dumps(report) + "\n")
    sys.stdout.flush()
    if plan is not None and order.is_compiled:
        precompile(
            Path(order.target),
            (place for _, place in plan.files),
            max_bytes=order.max_bytes - plan.size_bytes,
            max_files=(order.max_files - len(plan.files)) // 2,
        )


def unpack(order: UnpackOrder) -> Plan:
    """Write the wheel's files beneath the target.

    Raises
    ------
    PackageRefused
        A rule refuses the wheel; what was written until then is the caller's to delete.
    """
    try:
        with zipfile.ZipFile(order.wheel) as archive:
            return _unpack(archive, order)
    except (*_DAMAGED, OSError) as error:
        if isinstance(error, OSError) and error.errno != errno.EINVAL:
            raise
        raise refusal(
            "archive", order.package, "Its archive is damaged, or does not hold what it says."
        ) from error


def _unpack(archive: zipfile.ZipFile, order: UnpackOrder) -> Plan:
    members = [
        Member(item.orig_filename, item.external_attr >> 16, item.file_size, item.flag_bits,
               item.compress_type)
        for item in archive.infolist()
    ]  # fmt: skip
    plan = plan_wheel(
        members,
        TreeLimits(order.max_bytes, order.max_files),
        package=order.package,
        is_trusted=order.is_trusted,
    )
    description = _text(archive, f"{plan.dist_info}/METADATA", order)
    check_description(description, package=order.package, version=order.version)
    hashes = read_record(
        io.StringIO(_text(archive, f"{plan.dist_info}/RECORD", order), newline=""),
        (member.path for member in members if not member.path.endswith("/")),
        package=order.package,
        dist_info=plan.dist_info,
    )
    _write(archive, plan, hashes, order)
    return plan


def _text(archive: zipfile.ZipFile, path: str, order: UnpackOrder) -> str:
    if archive.getinfo(path).file_size > _MAX_TEXT_BYTES:
        raise refusal("archive", order.package, "Its archive's description is too long.")
    return archive.read(path).decode("utf-8", "replace")


def _write(
    archive: zipfile.ZipFile,
    plan: Plan,
    hashes: Mapping[str, tuple[str, bytes]],
    order: UnpackOrder,
) -> None:
    target = Path(order.target)
    made = {target}
    for path, destination in plan.files:
        place = target / destination
        if place.parent not in made:
            place.parent.mkdir(parents=True, exist_ok=True)
            made.add(place.parent)
        algorithm, expected = hashes.get(path, ("sha256", None))
        digest, size = hashlib.new(algorithm), 0
        handle = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o644)
        # Reading stops at the size that the directory says, so the plan's sum is a bound.
        with archive.open(path) as packed, os.fdopen(handle, "wb", buffering=0) as file:
            while data := packed.read(_CHUNK_BYTES):
                digest.update(data)
                size += file.write(data)
        if size != archive.getinfo(path).file_size:
            raise zipfile.BadZipFile("a file is shorter than the directory says")
        if expected is not None:
            check_content(path, digest.digest(), expected, package=order.package)


if __name__ == "__main__":
    main(sys.argv[1:])
