"""A session over its connection: what comes between two runs costs it nothing."""

import asyncio
import gc
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sandbox.adapters import runner
from sandbox.adapters.runner import SocketRunner
from sandbox.cells import CellSession
from sandbox.errors import RunnerDown
from sandbox.limits import NO_LIMITS
from sandbox_support.fake_runner import FakeRunner, err, out
from sandbox_support.serving import until
from servicekit.deadline import Deadline

SET = Path("/packages/set")


async def _opened(runner: FakeRunner) -> CellSession:
    session = await SocketRunner(runner.socket, connect_seconds=1.0).open(
        package_path=None, limits=NO_LIMITS, deadline=Deadline.after(10)
    )
    assert session is not None
    return session


async def _answers(session: CellSession) -> None:
    outcome = await session.run("6*7", timeout_seconds=5, limits=NO_LIMITS)
    assert (outcome.result, outcome.stdout) == ("42", "")


async def test_packages_come_to_a_session_whose_threads_print(fake_runner: FakeRunner) -> None:
    fake_runner.late_output = (out("tick"), err("tock"))
    session = await _opened(fake_runner)
    await session.use_packages(SET)
    assert fake_runner.sessions[0].package_path == str(SET)
    await _answers(session)
    session.close()


async def test_session_whose_threads_print_is_reset(fake_runner: FakeRunner) -> None:
    fake_runner.late_output = (out("tick"), err("tock"))
    session = await _opened(fake_runner)
    await session.reset()
    await _answers(session)
    session.close()


async def test_hang_up_while_packages_come_leaves_the_session_alive(
    fake_runner: FakeRunner,
) -> None:
    fake_runner.held.add("packages")
    session = await _opened(fake_runner)
    coming = asyncio.create_task(session.use_packages(SET))
    await until(lambda: fake_runner.started == ["packages"])
    coming.cancel()
    await asyncio.sleep(0)
    assert not coming.done()
    fake_runner.release.set()
    with pytest.raises(asyncio.CancelledError):
        await coming
    await _answers(session)
    session.close()


async def test_runner_that_opens_no_session_is_told_from_one_that_is_away(
    fake_runner: FakeRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "_OPEN_SECONDS", 0.3)
    fake_runner.is_mute = True
    reached = SocketRunner(fake_runner.socket, connect_seconds=0.1)
    away = SocketRunner(fake_runner.socket.with_name("none.sock"), connect_seconds=0.1)
    for which, cause in ((reached, "opened no session in time"), (away, "at its socket")):
        with pytest.raises(RunnerDown, match=cause):
            await which.open(package_path=None, limits=NO_LIMITS, deadline=Deadline.after(10))


async def test_upload_to_a_runner_that_goes_away_tells_of_it_once(fake_runner: FakeRunner) -> None:
    untold: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: untold.append(context))
    session = await _opened(fake_runner)

    async def content() -> AsyncIterator[bytes]:
        yield b"x"
        await until(lambda: not session.is_alive)
        yield b"y"

    # The scripted runner knows no files: it hangs up on what it does not know.
    with pytest.raises(RunnerDown):
        await session.files.write("f", content())
    await asyncio.sleep(0.05)
    gc.collect()
    assert untold == []
