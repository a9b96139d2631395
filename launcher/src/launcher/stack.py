"""The composition root: settings in, a running stack out."""

import asyncio
import contextlib
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

from launcher.console import Console
from launcher.process import ProcessSpawner
from launcher.readiness import SocketProber
from launcher.settings import LauncherSettings
from launcher.supervisor import Patience, StartFailure, Supervisor
from launcher.terminal_watch import on_terminal_closed
from launcher.units import stack_units

_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# sun_path is 104 bytes on macOS, 108 on Linux; the socket's own name needs some.
_MAX_SOCKET_DIR_BYTES = 80
_PREFIX = "mcp-stack-"
_OWNER = "supervisor.pid"
_STDERR = 2


async def run_stack(
    settings: LauncherSettings,
    console: Console,
    *,
    on_running: Callable[[asyncio.Event], Awaitable[None]],
) -> StartFailure | None:
    """Start the stack, call `on_running(stop)` once it is ready, end it when `stop` is set.

    SIGINT, SIGTERM and SIGHUP set `stop`; a second one ends everything by force.
    """
    stop = asyncio.Event()
    with _private_socket_dir() as socket_dir:
        units = stack_units(
            settings,
            python=sys.executable,
            cell_python=cell_python(settings),
            socket_dir=socket_dir,
        )
        async with ProcessSpawner(cwd=settings.root, socket_dir=socket_dir) as spawner:
            supervisor = Supervisor(
                units,
                spawner=spawner,
                prober=SocketProber(),
                console=console,
                log_dir=settings.run_dir / "logs",
                patience=Patience(
                    start_seconds=settings.start_timeout_seconds,
                    stop_seconds=settings.stop_timeout_seconds,
                ),
                is_verbose=settings.is_verbose,
            )
            with _stop_on_signals(stop, supervisor, console):
                return await supervisor.run(stop, on_running=lambda: on_running(stop))


def cell_python(settings: LauncherSettings) -> str:
    """Choose the interpreter for users' code: never one that sees our packages."""
    chosen = settings.environment.get("LAUNCHER_CELL_PYTHON", "").strip()
    if chosen:
        return chosen
    cells = settings.root / ".cells" / "bin" / "python"
    if cells.exists():
        return str(cells)
    return str(getattr(sys, "_base_executable", sys.executable))


@contextlib.contextmanager
def _private_socket_dir() -> Iterator[Path]:
    candidates = [os.environ.get("XDG_RUNTIME_DIR"), tempfile.gettempdir(), "/tmp"]  # noqa: S108  # mkdtemp makes a private folder in it
    base = next(
        each
        for each in candidates
        if each and Path(each).is_dir() and os.access(each, os.W_OK) and _is_short(each)
    )
    _remove_abandoned(Path(base))
    path = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=base))
    (path / _OWNER).write_text(str(os.getpid()), encoding="ascii")
    # The runner gives up root; its new user must pass through, and may see nothing on the way.
    path.chmod(0o711)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def _remove_abandoned(base: Path) -> None:
    """Clear what stacks left behind whose whole process group was killed, the watch included."""
    for folder in base.glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError, ValueError):
            owner = int((folder / _OWNER).read_text(encoding="ascii"))
            if folder.stat().st_uid == os.getuid() and not _is_alive(owner):
                shutil.rmtree(folder, ignore_errors=True)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _is_short(folder: str) -> bool:
    return len(os.fsencode(folder)) <= _MAX_SOCKET_DIR_BYTES - len(f"/{_PREFIX}12345678")


@contextlib.contextmanager
def _stop_on_signals(
    stop: asyncio.Event, supervisor: Supervisor, console: Console
) -> Iterator[None]:
    loop = asyncio.get_running_loop()

    def on_signal(name: str) -> None:
        if stop.is_set():
            console.event("launcher", f"{name} again: ends by force", "warning")
            supervisor.kill_all()
        else:
            console.event("launcher", f"{name}: ends the stack; once more to force it")
            stop.set()

    def on_closed() -> None:
        loop.call_soon_threadsafe(stop.set)

    for number in _STOP_SIGNALS:
        loop.add_signal_handler(number, on_signal, number.name)
    try:
        with on_terminal_closed(_STDERR, on_closed):
            yield
    finally:
        for number in _STOP_SIGNALS:
            loop.remove_signal_handler(number)
