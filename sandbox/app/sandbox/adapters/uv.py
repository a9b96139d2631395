"""The installer: uv as a child process that sees no more than it needs.

It gets an environment of its own (the index, proxy and certificates, nothing else),
a process group of its own that dies with the call, limits on time, file size and what it
unpacks, write access to its target and cache alone, and never a configuration file. It
builds nothing, so no code of a package runs.
"""

import asyncio
import contextlib
import os
import re
import shutil
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import uv
from servicekit.errors import StackError
from servicekit.logs import get_logger

from sandbox.adapters.cache_growth import CacheGrowth
from sandbox.errors import IndexUnavailable, InstallFailed, PackageUnknown
from sandbox.packages.lock import LockedPackage, LockError, parse_lock
from sandbox.packages.refusal import refusal
from sandbox.packages.requirement import Wish

log = get_logger()

# Text of a closure with all its hashes: the largest known ones are some 100 KiB.
_MAX_TEXT_BYTES: Final = 4 << 20
_KILL_GRACE_SECONDS: Final = 2.0
_WATCH_SECONDS: Final = 0.2

# Ours, then uv's name of each: what the world's pip and uv settings say about the index.
_PASSED_ON: Final = (
    ("UV_INDEX", "UV_INDEX"),
    ("UV_EXTRA_INDEX_URL", "UV_EXTRA_INDEX_URL"),
    ("PIP_EXTRA_INDEX_URL", "UV_EXTRA_INDEX_URL"),
    ("UV_FIND_LINKS", "UV_FIND_LINKS"),
    ("PIP_FIND_LINKS", "UV_FIND_LINKS"),
    ("UV_INSECURE_HOST", "UV_INSECURE_HOST"),
    ("PIP_TRUSTED_HOST", "UV_INSECURE_HOST"),
    ("SSL_CERT_FILE", "SSL_CERT_FILE"),
    ("PIP_CERT", "SSL_CERT_FILE"),
    ("SSL_CERT_DIR", "SSL_CERT_DIR"),
    ("HTTPS_PROXY", "HTTPS_PROXY"),
    ("https_proxy", "HTTPS_PROXY"),
    ("HTTP_PROXY", "HTTP_PROXY"),
    ("http_proxy", "HTTP_PROXY"),
    ("ALL_PROXY", "ALL_PROXY"),
    ("all_proxy", "ALL_PROXY"),
    ("NO_PROXY", "NO_PROXY"),
    ("no_proxy", "NO_PROXY"),
    ("UV_SYSTEM_CERTS", "UV_SYSTEM_CERTS"),
    ("UV_NATIVE_TLS", "UV_NATIVE_TLS"),
    ("UV_KEYRING_PROVIDER", "UV_KEYRING_PROVIDER"),
    ("UV_HTTP_TIMEOUT", "UV_HTTP_TIMEOUT"),
    ("NETRC", "NETRC"),
    ("UV_OFFLINE", "UV_OFFLINE"),
)
_INDEX_NAMES: Final = ("UV_DEFAULT_INDEX", "UV_INDEX_URL", "PIP_INDEX_URL")
# These hold the credentials of an index: UV_INDEX_<NAME>_USERNAME, _PASSWORD.
_INDEX_CREDENTIAL: Final = re.compile(r"UV_INDEX_\w+_(?:USERNAME|PASSWORD)")

_UNREACHABLE: Final = (
    "failed to fetch",
    "error sending request",
    "request failed after",
    "dns error",
    "connection refused",
    "connection reset",
    "operation timed out",
    "tls handshake",
    "invalid peer certificate",
    "http status server error",
    "could not connect",
    "network connectivity is disabled",
)
_UNDATED: Final = "missing an upload date"
_CUT_SIGNS: Final = ("exclude-newer", _UNDATED)
# Rule, uv's words for it, and ours; the first that fits is taken.
_REFUSALS: Final = (
    ("hash", ("hash mismatch",), "A downloaded file is not what its hash says."),
    (
        "no-wheel",
        ("no usable wheels", "building from source is disabled"),
        (
            "It, or something that it needs, exists only as source code; installing that would run "
            "code of its authors. Ask for a package that ships wheels."
        ),
    ),
    (
        "yanked",
        ("was yanked",),
        "The release was withdrawn by its authors. Ask for another version.",
    ),
    (
        "size",
        ("file too large",),
        "One of its files is larger than a whole package set may be.",
    ),
    (
        "incompatible",
        ("no matching", "requires-python", "python version", "compatible tag"),
        "It has no release for this interpreter and machine.",
    ),
    (
        "conflict",
        ("unsatisfiable", "no solution"),
        (
            "What it needs does not agree with what is installed already. {cause} Try another "
            "version, or a session of its own."
        ),
    ),
)
_UNPRINTABLE: Final = re.compile(r"(?:https?|file)://\S+|\x1b\[[0-9;]*m")


@dataclass(frozen=True, slots=True)
class UvOptions:
    """How the installer is run.

    Attributes
    ----------
    index_url
        The package index; None leaves it to the environment.
    min_age_days
        Releases younger than this are not seen; 0 for all.
    timeout_seconds
        Time limit of one run.
    max_file_bytes
        Largest file that it may write.
    cache
        Its cache of downloads.
    """

    index_url: str | None
    min_age_days: float
    timeout_seconds: float
    max_file_bytes: int
    cache: Path


def installer_environment(
    world: Mapping[str, str], *, index_url: str | None, cache: Path, home: Path
) -> dict[str, str]:
    """Return the installer's whole environment."""
    environment = {
        "PATH": os.defpath,
        "HOME": str(home),
        "LANG": "C.UTF-8",
        "TMPDIR": str(home),
        "UV_CACHE_DIR": str(cache),
        "UV_NO_PROGRESS": "1",
        # One more try for a lost packet; the default of three waits ten seconds for an index
        # that is down, which somebody in a chat would have to sit through.
        "UV_HTTP_RETRIES": "1",
        "UV_PYTHON_DOWNLOADS": "never",
        "NO_COLOR": "1",
    }
    for name, theirs in _PASSED_ON:
        if (value := world.get(name)) and theirs not in environment:
            # pip separates several links by spaces, uv by commas.
            is_links = name == "PIP_FIND_LINKS"
            environment[theirs] = ",".join(value.split()) if is_links else value
    environment |= {
        name: value for name, value in world.items() if _INDEX_CREDENTIAL.fullmatch(name)
    }
    index = index_url or next((world[name] for name in _INDEX_NAMES if world.get(name)), None)
    if index:
        environment["UV_DEFAULT_INDEX"] = index
    return environment


@dataclass(frozen=True, slots=True)
class _Finished:
    code: int
    stdout: str
    stderr: str


class Uv:
    """Resolves and installs with uv; see `Resolver`."""

    def __init__(self, options: UvOptions, world: Mapping[str, str]) -> None:
        self._options = options
        self._world = dict(world)
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
        """
        asked = ((wish.line(), *pins), constraints, python)
        cutoff = datetime.now(UTC) - timedelta(days=self._options.min_age_days)
        is_aged = self._options.min_age_days > 0
        finished = await self._compile(*asked, exclude_newer=cutoff if is_aged else None)
        if finished.code != 0 and any(sign in finished.stderr for sign in _CUT_SIGNS):
            # The cut took something away; whether that was the reason shows without it.
            young = await self._compile(*asked, exclude_newer=None)
            if young.code == 0:
                raise self._too_new(wish, is_undated=_UNDATED in finished.stderr)
            finished = young  # its words are about the package, not about the cut
        if finished.code != 0:
            raise explain_failure(wish, finished.stderr)
        if (yanked := yanked_pin(finished.stderr)) is not None:
            raise refusal(
                "yanked",
                wish.name,
                f"{yanked} was withdrawn by its authors. Ask for another version.",
            )
        try:
            return parse_lock(finished.stdout)
        except LockError as error:
            raise refusal(
                "source",
                wish.name,
                "It needs a package that comes from outside of the index, or without hashes.",
            ) from error

    async def install(
        self, packages: Sequence[LockedPackage], *, target: Path, python: str
    ) -> None:
        """Unpack packages into `target`, checked by hash.

        Raises
        ------
        PackageRefused, IndexUnavailable, InstallFailed
            A file is not what its hash says, the index is gone, or uv failed.
        """
        if not packages:
            return
        wish = Wish(packages[0].name)
        text = "".join(f"{package.line()}\n" for package in packages)
        async with _folder(text) as folder:
            finished = await self._watched(
                wish,
                target,
                self._run(
                    # Hard links: a set grows by one package at a time, and copying the others
                    # each time would take seconds. No session may write to either end.
                    "install", "--no-deps", "--require-hashes", "--link-mode", "hardlink",
                    "--target", str(target), "--python", sys.executable,
                    "--python-version", python, "--requirements", str(folder / "requirements.txt"),
                    home=folder,
                    target=target,
                ),
            )  # fmt: skip
        if finished.code != 0:
            raise explain_failure(wish, finished.stderr)

    async def _watched(
        self, wish: Wish, target: Path, work: Coroutine[Any, Any, _Finished]
    ) -> _Finished:
        """Run an installation, and stop it when it unpacks more than a set may hold."""
        # Twice: what is unpacked stands in the cache, and again in the target.
        max_bytes = 2 * self._options.max_file_bytes
        growth = CacheGrowth(self._options.cache, target)
        task = asyncio.ensure_future(work)
        try:
            while not (await asyncio.wait((task,), timeout=_WATCH_SECONDS))[0]:
                if await growth.exceeds(max_bytes):
                    raise refusal(
                        "size",
                        wish.name,
                        f"Unpacked, it takes more than {self._options.max_file_bytes} bytes.",
                        operator="An operator can raise SANDBOX_PACKAGES_MAX_SET_BYTES.",
                    )
            return task.result()
        except BaseException:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await growth.discard()
            raise

    async def _compile(
        self,
        lines: Sequence[str],
        constraints: Sequence[str],
        python: str,
        *,
        exclude_newer: datetime | None,
    ) -> _Finished:
        age = [] if exclude_newer is None else ["--exclude-newer", exclude_newer.isoformat()]
        async with _folder("".join(f"{line}\n" for line in lines)) as folder:
            limits = folder / "constraints.txt"
            limits.write_text("".join(f"{line}\n" for line in constraints), "ascii")
            return await self._run(
                "compile", "--generate-hashes", "--no-header", "--no-annotate",
                "--no-emit-index-url", "--no-emit-find-links", *age,
                "--python", sys.executable, "--python-version", python,
                "--constraints", str(limits), str(folder / "requirements.txt"),
                home=folder,
            )  # fmt: skip

    async def _run(
        self, command: str, *arguments: str, home: Path, target: Path | None = None
    ) -> _Finished:
        # --no-build-package would do for one; --no-build holds for the whole closure.
        argv = [str(self._binary), "pip", command, "--no-config", "--no-build", *arguments]
        writable = [home, self._options.cache, *([] if target is None else [target])]
        argv = [*_confinement(writable, self._options.max_file_bytes), *argv]
        self._options.cache.mkdir(mode=0o700, parents=True, exist_ok=True)
        environment = installer_environment(
            self._world, index_url=self._options.index_url, cache=self._options.cache, home=home
        )
        process = await asyncio.create_subprocess_exec(
            *argv,
            cwd=home,
            env=environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
        try:
            async with asyncio.timeout(self._options.timeout_seconds):
                stdout, stderr = await _read_both(process)
                code = await process.wait()
        except TimeoutError:
            raise InstallFailed(
                f"The package tool took longer than {self._options.timeout_seconds:g} seconds and "
                "was stopped; nothing was installed. Try again, or name a smaller package."
            ) from None
        finally:
            await _kill_group(process)
        if code == -signal.SIGXFSZ:
            stderr = "error: file too large"  # the kernel's word; uv had no time for one
        return _Finished(code, stdout, stderr)

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


def yanked_pin(stderr: str) -> str | None:
    """Return the first `name==version` that uv calls yanked."""
    match = re.search(r"`([^`]+)` is yanked", stderr)
    return match[1] if match else None


def _is_unreachable(stderr: str) -> bool:
    text = stderr.lower()
    return any(sign in text for sign in _UNREACHABLE)


def explain_failure(wish: Wish, stderr: str) -> StackError:
    """Turn uv's words into one of our errors; addresses in them (they may hold keys) are cut."""
    text = " ".join(_UNPRINTABLE.sub("", stderr).split())
    low = text.lower()
    if _is_unreachable(stderr):
        return IndexUnavailable(
            "The package index does not answer, so nothing was installed. Try again later; an "
            "operator can check the index, proxy and certificate settings.",
            retry_after_seconds=10.0,
        )
    if f"{wish.name} was not found" in low:
        return PackageUnknown(
            f"The index has no package {wish.name}. Check the spelling.", package=wish.name
        )
    if wish.version is not None and f"there is no version of {wish.name}==" in low:
        return PackageUnknown(
            f"{wish.name} has no version {wish.version}. Leave the version out for the newest.",
            package=wish.name,
        )
    for rule, signs, why in _REFUSALS:
        if any(sign in low for sign in signs):
            return refusal(rule, wish.name, why.format(cause=_cause(text)))
    log.warning("packages.uv_failed", package=wish.name, words=text[:500])
    return InstallFailed(f"The package tool failed: {_cause(text)}")


def _cause(text: str) -> str:
    cause = text.split("cause:", 1)[-1].split("hint:", 1)[0].strip()
    return cause[:300] + ("…" if len(cause) > 300 else "")  # noqa: PLR2004  # a few sentences


@asynccontextmanager
async def _folder(requirements: str) -> AsyncIterator[Path]:
    with tempfile.TemporaryDirectory(prefix="sandbox-uv-") as name:
        folder = Path(name)
        (folder / "requirements.txt").write_text(requirements, "ascii")
        yield folder


async def _read_both(process: asyncio.subprocess.Process) -> tuple[str, str]:
    if process.stdout is None or process.stderr is None:
        raise RuntimeError("the process was started without pipes")
    async with asyncio.TaskGroup() as group:
        texts = [group.create_task(_read(pipe)) for pipe in (process.stdout, process.stderr)]
    return texts[0].result(), texts[1].result()


async def _read(pipe: asyncio.StreamReader) -> str:
    kept = bytearray()
    while data := await pipe.read(65_536):
        kept += data[: _MAX_TEXT_BYTES - len(kept)]  # read on, or the writer would stop
    return kept.decode("utf-8", "replace")


async def _kill_group(process: asyncio.subprocess.Process) -> None:
    # The group, not the process: uv starts an interpreter to ask it for its tags.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_KILL_GRACE_SECONDS):
            await asyncio.shield(process.wait())


def _confinement(writable: Sequence[Path], max_file_bytes: int) -> list[str]:
    """Return the words before a command that confine it, on systems that can."""
    if sys.platform != "linux":
        return []
    launcher = [sys.executable, "-I", "-m", "sandbox.adapters.confine"]
    limits = [str(os.getpid()), str(max_file_bytes)]
    return [*launcher, *limits, *(str(path) for path in writable), "--"]
