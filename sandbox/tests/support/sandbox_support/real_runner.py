"""The real runner, as a process of its own."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import sandbox_runner
from sandbox.adapters.runner import SocketRunner
from sandbox.cells import RunnerHello
from sandbox.errors import RunnerDown

MAIN = Path(sandbox_runner.__file__).parent / "__main__.py"
START_SECONDS = 20.0


@dataclass(frozen=True)
class RealRunner:
    socket: Path
    process: asyncio.subprocess.Process
    hello: RunnerHello
    log: Path


@asynccontextmanager
async def real_runner(
    folder: Path, *, packages_dir: Path, **settings: str
) -> AsyncIterator[RealRunner]:
    """Start the runner; its folder must have a short path (a socket's name has 107 bytes)."""
    socket = folder / "r.sock"
    os.makedirs(packages_dir, exist_ok=True)  # noqa: PTH103  # a blocking call is fine here
    environment = {
        "PATH": os.defpath,
        "SANDBOX_RUNNER_SOCKET": str(socket),
        "SANDBOX_RUNNER_SLOTS_DIR": str(folder / "slots"),
        "SANDBOX_PACKAGES_DIR": str(packages_dir),
    } | {
        f"SANDBOX_RUNNER_{name.upper()}": value
        for name, value in ({"pool": "4"} | settings).items()
    }
    with (folder / "runner.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-I", str(MAIN), env=environment, stderr=log
        )
    try:
        hello = await _greeting(socket, process, folder / "runner.log")
        yield RealRunner(socket, process, hello, folder / "runner.log")
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(10):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()


async def _greeting(socket: Path, process: asyncio.subprocess.Process, log: Path) -> RunnerHello:
    runner = SocketRunner(socket, connect_seconds=0.1)
    async with asyncio.timeout(START_SECONDS):
        while True:
            try:
                return await runner.hello()
            except RunnerDown:
                if process.returncode is not None:
                    raise RuntimeError(f"the runner ended; see {log}") from None
                await asyncio.sleep(0.02)
