"""The resolver: uv as a child process that sees no more than it needs.

It gets an environment of its own (the index, proxy and certificates, nothing else), reads
the interpreter and its certificates, writes its own cache, connects by TCP to the index's
ports, and dies with the call. It never reads a configuration file and builds nothing, so
no code of a package runs. What it finds is fetched by hash (download.py) and unpacked by a
program that has no network (unpack.py).
"""

import asyncio
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import uv
from servicekit.errors import StackError
from servicekit.hangup import ended
from servicekit.logs import get_logger

from sandbox.adapters.cache_growth import CacheGrowth
from sandbox.adapters.child_process import Finished, run_child
from sandbox.adapters.confine import installer_protection, to_words
from sandbox.adapters.package_index import PackageIndex, installer_environment
from sandbox.errors import InstallFailed, SandboxOff
from sandbox.packages.confinement import Confinement, resolver_files
from sandbox.packages.lock import LockedPackage, LockError, NoWheelFits, parse_lock, wheel_tags
from sandbox.packages.refusal import refusal
from sandbox.packages.requirement import Wish
from sandbox.packages.resolver_words import (
    explain_failure,
    is_about_age,
    is_undated,
    yanked_pins,
)

log = get_logger()

_REQUIREMENTS: Final = "requirements.txt"
_CONSTRAINTS: Final = "constraints.txt"
# Text of a closure with all its files: the largest known ones are some 100 KiB.
_MAX_TEXT_BYTES: Final = 4 << 20
_WATCH_SECONDS: Final = 0.2
# uv maps stacks for its threads and arenas; what it really holds is some 100 MiB.
_MAX_MEMORY_BYTES: Final = 16 << 30


@dataclass(frozen=True, slots=True)
class UvOptions:
    """How the resolver is run.

    Attributes
    ----------
    index
        Where packages come from.
    min_age_days
        Releases younger than this are not seen; 0 for all.
    may_be_yanked
        Whether releases that their authors withdrew are taken when exactly they are asked for.
    timeout_seconds
        Time limit of one run.
    max_cache_bytes
        Bound on its cache of what the index says.
    cache
        The cache's folder.
    """

    index: PackageIndex
    min_age_days: float
    may_be_yanked: bool
    timeout_seconds: float
    max_cache_bytes: int
    cache: Path


class Uv:
    """Resolves with uv; see `Resolver`."""

    def __init__(self, options: UvOptions) -> None:
        self._options = options
        self._binary = find_uv()

    async def resolve(
        self, wish: Wish, *, pins: Sequence[str], constraints: Sequence[str], python: str
    ) -> tuple[LockedPackage, ...]:
        """Return the closure of a wish together with the pinned packages.

        Raises
        ------
        PackageUnknown, PackageRefused
            The index has no such package, or a rule of the resolution refuses it.
        IndexUnavailable, InstallFailed
            The index does not answer, or uv failed in an unknown way.
        SandboxOff
            This kernel can't confine an installation.
        """
        if installer_protection()[0] == "unavailable":
            raise SandboxOff(
                "This machine's kernel can't confine an installation, so nothing is installed. Run "
                "the sandbox on Linux with Landlock, or put the package into requirements/cells.in."
            )
        asked = ((wish.line(), *pins), constraints, python)
        cutoff = datetime.now(UTC) - timedelta(days=self._options.min_age_days)
        is_aged = self._options.min_age_days > 0
        finished = await self._compile(wish, *asked, exclude_newer=cutoff if is_aged else None)
        if finished.code != 0 and is_about_age(finished.stderr):
            # The cut took something away; whether that was the reason shows without it.
            young = await self._compile(wish, *asked, exclude_newer=None)
            if young.code == 0:
                raise self._too_new(wish, is_undated=is_undated(finished.stderr))
            finished = young  # its words are about the package, not about the cut
        if finished.code != 0:
            log.warning("packages.not_resolved", package=wish.name, status=finished.code)
            raise await self._explain(wish, finished.stderr, (*pins, *constraints), python, cutoff)
        self._check_yanked(wish, finished.stderr, pins)
        return _read_lock(wish, finished.stdout, python)

    async def _explain(
        self, wish: Wish, stderr: str, held: Sequence[str], python: str, cutoff: datetime
    ) -> StackError:
        """Return the error; a conflict with what is there names both sides."""
        error = explain_failure(wish, stderr)
        rule = error.extensions.get("rule")
        if not held or rule not in {"conflict", "no-wheel", "incompatible"}:
            return error
        # Without what is there: uv's words may be about an old release that it fell back to.
        free = await self._compile(wish, (wish.line(),), (), python, exclude_newer=cutoff)
        if free.code != 0:
            return error if rule != "conflict" else explain_failure(wish, free.stderr)
        wanted = {each.name: each.version for each in _read_lock(wish, free.stdout, python)}
        pairs = (pin.partition("==") for pin in held)
        clashes = [
            f"{name} {wanted[name]} instead of {version}"
            for name, _, version in pairs
            if wanted.get(name, version) != version
        ]
        if not clashes:
            return error
        return refusal(
            "conflict",
            wish.name,
            "What it needs does not agree with what is installed already: by itself it comes with "
            f"{', '.join(clashes[:3])}. Try another version, or a session of its own.",
        )

    def _check_yanked(self, wish: Wish, stderr: str, pins: Sequence[str]) -> None:
        if self._options.may_be_yanked:
            return
        # What was installed before its authors withdrew it does not hold up other packages.
        for pin in yanked_pins(stderr):
            if pin not in pins:
                raise refusal(
                    "yanked",
                    wish.name,
                    f"{pin} was withdrawn by its authors. Ask for another version.",
                    operator="An operator can set SANDBOX_PACKAGES_YANKED=allow.",
                )

    async def _compile(
        self,
        wish: Wish,
        lines: Sequence[str],
        constraints: Sequence[str],
        python: str,
        *,
        exclude_newer: datetime | None,
    ) -> Finished:
        age = [] if exclude_newer is None else ["--exclude-newer", exclude_newer.isoformat()]
        try:
            with _folder(lines, constraints) as folder:
                return await self._watched(wish, self._run(
                    # --no-build-package would do for one; --no-build holds for the whole closure.
                    "pip", "compile", "--no-config", "--no-build", "--format", "pylock.toml",
                    "--no-header", "--no-annotate", *age,
                    "--python", sys.executable, "--python-version", python,
                    "--constraints", str(folder / _CONSTRAINTS), str(folder / _REQUIREMENTS),
                    home=folder,
                ))  # fmt: skip
        except OSError as error:
            raise InstallFailed(
                f"The package tool could not be run ({error.strerror}), and nothing was installed; "
                "an operator can look at the disks of SANDBOX_PACKAGES_DIR and of temporary files."
            ) from error

    async def _watched(self, wish: Wish, work: Coroutine[Any, Any, Finished]) -> Finished:
        """Run a resolution, and stop it when its cache grows too large.

        From an index that can't send parts of a file uv fetches whole wheels, and unpacks them.
        """
        growth = CacheGrowth(self._options.cache)
        task = asyncio.create_task(work)
        try:
            while not (await asyncio.wait((task,), timeout=_WATCH_SECONDS))[0]:
                if await growth.exceeds(self._options.max_cache_bytes):
                    raise refusal(
                        "size",
                        wish.name,
                        f"Unpacked, it takes more than {self._options.max_cache_bytes} bytes.",
                        operator="An operator can raise SANDBOX_PACKAGES_MAX_SET_BYTES.",
                    )
            return task.result()
        except BaseException:
            task.cancel()
            await ended(task)
            raise
        finally:
            # Wheels that the resolver unpacked are of no use to anybody: see wheel_cache.py.
            await growth.discard()

    async def _run(self, *arguments: str, home: Path) -> Finished:
        cache = self._options.cache
        cache.mkdir(mode=0o700, parents=True, exist_ok=True)
        index = self._options.index
        words = [
            *to_words(self._confinement(home), os.getpid()),
            str(self._binary),
            *arguments,
        ]
        try:
            async with asyncio.timeout(self._options.timeout_seconds):
                finished = await run_child(
                    words,
                    environment=installer_environment(index.settings, cache=cache, home=home),
                    folder=home,
                    max_text_bytes=_MAX_TEXT_BYTES,
                )
        except TimeoutError:
            raise InstallFailed(
                f"The package tool took longer than {self._options.timeout_seconds:g} seconds and "
                "was stopped; nothing was installed. Try again, or name a smaller package."
            ) from None
        if finished.code == -signal.SIGXFSZ:
            # The kernel's word; uv had no time for one.
            return Finished(finished.code, "", "error: file too large")
        return finished

    def _confinement(self, home: Path) -> Confinement:
        index = self._options.index
        return Confinement(
            readable=resolver_files(
                interpreter=(sys.prefix, sys.base_prefix),
                program=str(self._binary),
                extra=index.files,
            ),
            writable=(str(home), str(self._options.cache)),
            max_file_bytes=self._options.max_cache_bytes,
            max_memory_bytes=_MAX_MEMORY_BYTES,
            ports=index.ports,
            looks_up_names=index.looks_up_names,
            starts_programs=True,
        )

    def _too_new(self, wish: Wish, *, is_undated: bool) -> StackError:
        if is_undated:
            return refusal(
                "undated",
                wish.name,
                "The index does not say when its files were published, so their age is unknown.",
                operator="An operator who trusts it can set SANDBOX_PACKAGES_MIN_AGE_DAYS=0.",
            )
        days = self._options.min_age_days
        return refusal(
            "too-new",
            wish.name,
            f"What it needs was published within the last {days:g} days; most malicious releases "
            "are found in that time. Ask for an older version.",
            operator="An operator can change SANDBOX_PACKAGES_MIN_AGE_DAYS.",
        )


def find_uv() -> Path:
    """Return the installer's binary: the one of our own environment, else one on the path."""
    try:
        return Path(uv.find_uv_bin())
    except FileNotFoundError:
        found = shutil.which("uv")
        if found is None:
            raise RuntimeError("uv is not installed; install the service's requirements") from None
        return Path(found)


def _read_lock(wish: Wish, text: str, python: str) -> tuple[LockedPackage, ...]:
    try:
        return parse_lock(text, wheel_tags(python))
    except NoWheelFits as error:
        raise refusal(
            "incompatible", wish.name, f"{error} has no wheel for this interpreter and machine."
        ) from None
    except LockError as error:
        raise refusal(
            "source", wish.name, f"What it needs is no hashed file of the index: {error}."
        ) from None


@contextmanager
def _folder(requirements: Sequence[str], constraints: Sequence[str]) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="sandbox-uv-") as name:
        folder = Path(name)
        for file, lines in ((_REQUIREMENTS, requirements), (_CONSTRAINTS, constraints)):
            (folder / file).write_text("".join(f"{line}\n" for line in lines), "ascii")
        yield folder
