"""Whose time was too short, when the runner's socket gives no session."""

import asyncio
from pathlib import Path

import pytest
from sandbox.adapters.runner import SocketRunner
from sandbox.errors import RunnerDown
from servicekit.deadline import Deadline
from servicekit.errors import DeadlineExceeded
from servicekit.wire.execution import ResourceLimits


async def test_callers_time_that_ends_while_opening_is_no_fault_of_the_runner(tmp_path: Path):
    release = asyncio.Event()

    async def busy(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await release.wait()
        writer.close()

    socket = tmp_path / "runner.sock"
    server = await asyncio.start_unix_server(busy, socket)
    try:
        with pytest.raises(DeadlineExceeded):
            await SocketRunner(socket, connect_seconds=5).open(
                package_path=None, limits=ResourceLimits(), deadline=Deadline.after(0.05)
            )
    finally:
        release.set()
        server.close()


async def test_runner_that_is_away_is_down_however_short_the_time(tmp_path: Path):
    runner = SocketRunner(tmp_path / "nobody.sock", connect_seconds=5)
    with pytest.raises(RunnerDown):
        await runner.open(package_path=None, limits=ResourceLimits(), deadline=Deadline.after(0.05))
