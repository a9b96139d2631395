"""The set-up: `.venv` for the stack, `.cells` for users' code, from locked packages.

Run by path with any Python (`python3 launcher/src/launcher/setup_env.py runtime`): it needs
the standard library only, and its syntax stays old enough to tell an old Python what is missing.

A stamp in each environment says what it was made from. A start with nothing to do takes a fraction
of a second, a set-up that was cut off goes on, a changed lock is installed.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

# Run by path, as the first thing on a new machine: the package is not installed yet.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from launcher.index_settings import IndexSettings, from_pip, pip_values

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

MINIMUM = (3, 11)
NEWER = ("python3.13", "python3.12", "python3.11")
PACKAGES = (
    "servicekit",
    "launcher",
    "mcp-server",
    "middleware",
    "sandbox",
    "code-executor",
    "time-client",
    "embedded-model",
)
KINDS = ("runtime", "dev")
LOCKS = ("runtime", "dev", "cells", "bootstrap")
STAMP = "set-up.json"
_TAIL_LINES = 15
_PIP_INSTALL = (
    *("--quiet", "--no-input", "--disable-pip-version-check", "--progress-bar", "off"),
    *("--no-deps", "--only-binary", ":all:", "--require-hashes"),
)
_SYNC = ("--quiet", "--require-hashes", "--compile-bytecode")
_EDITABLE = ("--no-deps", "--no-build-isolation", "--offline")


class SetupError(Exception):
    """The set-up cannot go on; the text says what to do."""


def main(argv: Sequence[str]) -> int:
    """Make the environments fit the locks; give the exit status."""
    root = Path(__file__).resolve().parents[3]
    command = argv[1] if len(argv) > 1 else "runtime"
    try:
        _require_python(argv)
        if command == "lock":
            Setup(root).lock()
        elif command in KINDS:
            Setup(root).install(command)
        else:
            raise SetupError(f"{command} is no kind of set-up; use runtime, dev or lock.")
    except SetupError as error:
        sys.stderr.write(f"set-up: {error}\n")
        return 1
    except OSError as error:
        place = error.filename or "a file"
        sys.stderr.write(
            f"set-up: {place}: {error.strerror}. Is it another user's, or the disk full?\n"
        )
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("\nset-up: interrupted; the next start goes on from here.\n")
        return 130
    return 0


def _require_python(argv: Sequence[str]) -> None:
    """Go on with a newer Python where this one is too old."""
    here = tuple(sys.version_info[:2])
    if here < MINIMUM:
        for name in NEWER:
            found = shutil.which(name)
            if found and _runs(found):
                os.execv(found, [found, *argv])  # noqa: S606  # no shell on purpose
        raise SetupError(
            f"Python 3.11 or newer is needed; {sys.executable} is {here[0]}.{here[1]}. "
            "Install one (Debian, Ubuntu: apt install python3 python3-venv) "
            "or name one: make local PYTHON=python3.12"
        )
    try:
        import ensurepip  # noqa: F401, PLC0415  # only whether it is there
        import venv  # noqa: F401, PLC0415  # as above
    except ImportError:
        raise SetupError(
            f"Python's venv module is missing. Debian, Ubuntu: apt install python3-venv "
            f"(or python{here[0]}.{here[1]}-venv), then run the command again."
        ) from None


def _runs(python: str) -> bool:
    # A version manager's shim may stand for a Python that is not installed.
    done = subprocess.run([python, "-c", "0"], capture_output=True, check=False)  # noqa: S603  # found on PATH
    return done.returncode == 0


class Setup:
    """The environments of one checkout."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.requirements = root / "requirements"
        self.venv = root / ".venv"
        self.cells = root / ".cells"
        self.python = self.venv / "bin" / "python"
        self._index_settings: IndexSettings | None = None

    def install(self, kind: str) -> None:
        """Make both environments fit the locks; do nothing where they do."""
        if self._is_done(kind):
            return
        with self._alone():
            if self._is_done(kind):  # somebody else did it while we waited
                return
            began = time.monotonic()
            if kind == "runtime" and self._has_test_tools():
                kind = "dev"  # never take away what somebody works with
            self._install_stack(kind)
            if sys.platform == "linux":  # elsewhere the sandbox is off
                self._install_cells()
            _say(f"set-up  done in {time.monotonic() - began:.1f} s\n")

    def lock(self) -> None:
        """Resolve requirements/*.in into requirements/*.lock."""
        with self._alone():
            self._install_uv()
            index = self._index()
            for name in LOCKS:
                arguments = [f"{name}.in", "-o", f"{name}.lock", "--universal", "--upgrade"]
                arguments += ["--python-version", ".".join(map(str, MINIMUM)), "--generate-hashes"]
                # A lock that names no index installs from any.
                arguments += ["--no-emit-index-url", "--no-emit-find-links", "--no-header"]
                if name != "runtime":
                    arguments += ["-c", "runtime.lock"]
                self._uv(
                    f"resolves {name}.in",
                    ["pip", "compile", "--quiet", *arguments],
                    index,
                    cwd=self.requirements,
                )

    # -- what is there ----------------------------------------------------------------------

    def _is_done(self, kind: str) -> bool:
        stack = _read_stamp(self.venv)
        fits = any(
            stack == self._stack_stamp(each) for each in KINDS[KINDS.index(kind) :]
        ) and _works(self.venv)
        if sys.platform != "linux":
            return fits
        return fits and _read_stamp(self.cells) == self._cells_stamp() and _works(self.cells)

    def _stack_stamp(self, kind: str) -> dict[str, str]:
        files = [self.requirements / "bootstrap.lock", self.requirements / f"{kind}.lock"]
        files += [self.root / package / "pyproject.toml" for package in PACKAGES]
        return self._stamp(kind, files)

    def _cells_stamp(self) -> dict[str, str]:
        return self._stamp("cells", [self.requirements / "cells.lock"])

    def _stamp(self, kind: str, files: Sequence[Path]) -> dict[str, str]:
        digest = hashlib.sha256()
        for path in files:
            digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
        # The folder: editable installs hold its path.
        return {
            "kind": kind,
            "python": _version(),
            "folder": str(self.root),
            "inputs": digest.hexdigest(),
        }

    def _has_test_tools(self) -> bool:
        return any(self.venv.glob("lib/python*/site-packages/pytest/__init__.py"))

    # -- steps ------------------------------------------------------------------------------

    def _install_stack(self, kind: str) -> None:
        self._make_venv(self.venv)
        self._install_uv()
        index = self._index()
        lock = str(self.requirements / f"{kind}.lock")
        target = ["--python", str(self.python)]
        self._uv(
            f"installs {kind}.lock",
            ["pip", "sync", *_SYNC, *target, lock],
            index,
        )
        editable = [part for name in PACKAGES for part in ("-e", str(self.root / name))]
        self._uv(
            "installs the workspace's packages",
            # uv is the build backend itself: nothing is fetched.
            ["pip", "install", "--quiet", *target, *_EDITABLE, *editable],
            index,
        )
        _write_stamp(self.venv, self._stack_stamp(kind))

    def _install_cells(self) -> None:
        self._make_venv(self.cells, "--without-pip")
        python = str(self.cells / "bin" / "python")
        lock = str(self.requirements / "cells.lock")
        self._uv(
            "installs cells.lock",
            ["pip", "sync", *_SYNC, "--python", python, lock],
            self._index(),
        )
        _write_stamp(self.cells, self._cells_stamp())

    def _make_venv(self, folder: Path, *options: str) -> None:
        if _works(folder) and _venv_version(folder) == _version():
            return
        _step(
            f"creates {folder.name} (Python {_version()})",
            [sys.executable, "-m", "venv", "--clear", *options, str(folder)],
            cwd=self.root,
            environment=_clean_environment(),
            hint="Is python3-venv installed (Debian, Ubuntu: apt install python3-venv)?",
        )

    def _install_uv(self) -> None:
        lock = self.requirements / "bootstrap.lock"
        digest = hashlib.sha256(lock.read_bytes()).hexdigest()
        marker = self.venv / "uv-installed"
        with contextlib.suppress(OSError):
            if marker.read_text() == digest and (self.venv / "bin" / "uv").exists():
                return
        if not self.python.exists():
            self._make_venv(self.venv)
        _step(
            "installs uv",
            [str(self.python), "-I", "-m", "pip", "install", *_PIP_INSTALL, "-r", str(lock)],
            cwd=self.root,
            environment={**_clean_environment(), "PIP_ROOT_USER_ACTION": "ignore"},
            hint=_NETWORK_HINT,
        )
        marker.write_text(digest)

    def _index(self) -> IndexSettings:
        """Read pip's settings, which uv does not: one mirror serves both."""
        if self._index_settings is None:
            done = subprocess.run(  # noqa: S603  # our own environment's pip
                [str(self.python), "-I", "-m", "pip", "config", "list"],
                capture_output=True,
                text=True,
                check=False,
                env=_clean_environment(),
            )
            self._index_settings = from_pip(pip_values(done.stdout), _clean_environment())
        return self._index_settings

    def _uv(
        self,
        text: str,
        arguments: Sequence[str],
        index: IndexSettings,
        *,
        cwd: Path | None = None,
    ) -> None:
        is_offline = "--offline" in arguments
        extra = [] if is_offline else list(index.arguments)
        environment = {**_clean_environment(), **index.environment}
        environment.setdefault("UV_PYTHON_DOWNLOADS", "never")
        environment.setdefault("UV_NO_PROGRESS", "1")
        if not _can_write_home():
            environment.setdefault("UV_CACHE_DIR", str(self.root / ".run" / "uv-cache"))
        _step(
            text,
            [str(self.venv / "bin" / "uv"), *arguments, *extra],
            cwd=cwd or self.root,
            environment=environment,
            hint="" if is_offline else _NETWORK_HINT,
        )

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Keep a second set-up of the same folder waiting."""
        folder = self.root / ".run"
        folder.mkdir(exist_ok=True)
        with (folder / "set-up.lock").open("a") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                _say("set-up  waits for another set-up of this folder\n")
                fcntl.flock(file, fcntl.LOCK_EX)
            yield


_NETWORK_HINT = (
    "Packages come from the index that pip is set to (PIP_INDEX_URL, pip.conf; HTTPS_PROXY, "
    "PIP_CERT or SSL_CERT_FILE for your own certificates). Is it reachable?"
)


def _clean_environment() -> dict[str, str]:
    # What another environment, active in this shell, set for itself.
    hidden = {"VIRTUAL_ENV", "CONDA_PREFIX", "PYTHONHOME", "PYTHONPATH", "__PYVENV_LAUNCHER__"}
    return {name: value for name, value in os.environ.items() if name not in hidden}


def _can_write_home() -> bool:
    home = os.environ.get("XDG_CACHE_HOME") or os.environ.get("HOME") or ""
    return bool(home) and os.access(home, os.W_OK)


def _version() -> str:
    return f"{sys.version_info[0]}.{sys.version_info[1]}"


def _works(folder: Path) -> bool:
    # Follows the link: the Python that it was made from may be gone.
    return (folder / "bin" / "python").exists() and (folder / "pyvenv.cfg").exists()


def _venv_version(folder: Path) -> str:
    with contextlib.suppress(OSError):
        for line in (folder / "pyvenv.cfg").read_text(encoding="utf-8").splitlines():
            name, _, value = line.partition("=")
            if name.strip() in {"version", "version_info"}:
                return ".".join(value.strip().split(".")[:2])
    return ""


def _read_stamp(folder: Path) -> dict[str, str] | None:
    try:
        stamp = json.loads((folder / STAMP).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return stamp if isinstance(stamp, dict) else None


def _write_stamp(folder: Path, stamp: dict[str, str]) -> None:
    (folder / STAMP).write_text(json.dumps(stamp, indent=2) + "\n", encoding="utf-8")


def _say(text: str) -> None:
    # On standard error: the output of `make ask` is its answer.
    sys.stderr.write(text)
    sys.stderr.flush()


def _step(
    text: str, command: Sequence[str], *, cwd: Path, environment: dict[str, str], hint: str
) -> None:
    """Run one command quietly; show its output only when it fails."""
    _say(f"set-up  {text} …")
    began = time.monotonic()
    try:
        done = subprocess.run(  # noqa: S603  # commands of this file
            command,
            cwd=str(cwd),
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
        )
    except OSError as error:
        _say("\n")
        raise SetupError(f"{text}: {command[0]} cannot be started: {error.strerror}") from None
    _say(f" {time.monotonic() - began:.1f} s\n")
    if done.returncode != 0:
        tail = done.stdout.decode(errors="replace").strip().splitlines()[-_TAIL_LINES:]
        lines = "".join(f"\n  {line}" for line in tail)
        raise SetupError(f"{text} failed.{lines}\n{hint}".rstrip())


if __name__ == "__main__":
    sys.exit(main(sys.argv))
