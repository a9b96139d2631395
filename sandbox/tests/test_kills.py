"""kill -9 of the runner's parts under the service: it survives and says what was lost."""

import asyncio
import random
import tempfile
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from sandbox_support.real_runner import RealRunner, real_runner
from sandbox_support.serving import service_settings, serving

from sandbox.app import create_app

SPIN = "print('on', flush=True)\nwhile True: pass"
_BUSY_SECONDS = 0.1
_ROUNDS = 18
_CALLERS = 3


@dataclass(frozen=True)
class Stand:
    client: httpx.AsyncClient
    runner: RealRunner

    @property
    def zygote(self) -> psutil.Process:
        return psutil.Process(self.runner.process.pid).children()[0]

    async def run(self, code: str, **body: Any) -> httpx.Response:
        return await self.client.post("/execute", json={"code": code} | body)

    async def session(self) -> str:
        session_id: str = (await self.client.post("/sessions")).json()["session_id"]
        return session_id

    async def spinning(self, session_id: str) -> "tuple[asyncio.Task[httpx.Response], Spinner]":
        """Start a cell that never ends; return it, and the process that runs it."""
        run = asyncio.create_task(self.run(SPIN, session_id=session_id, timeout_seconds=20))
        async with asyncio.timeout(15):
            # By what it uses: in a namespace of its own each worker has the same process id.
            while (spinner := _busiest(self.zygote)) is None:  # noqa: ASYNC110  # another process
                await asyncio.sleep(0.01)
        return run, spinner

    async def answers(self) -> None:
        answer = await self.run("6*7")
        assert (answer.status_code, answer.json().get("result")) == (200, "42"), answer.text


@dataclass(frozen=True)
class Spinner:
    warden: psutil.Process
    worker: psutil.Process


def _busiest(zygote: psutil.Process) -> Spinner | None:
    for warden in zygote.children():
        with suppress(psutil.NoSuchProcess):  # one that just ended is not looked for
            for below in warden.children(recursive=True):
                if below.cpu_times().user >= _BUSY_SECONDS:
                    return Spinner(warden, below)
    return None


def _is_alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.fixture
async def stand() -> AsyncIterator[Stand]:
    with tempfile.TemporaryDirectory(prefix="sb-") as name:
        folder = Path(name)
        async with real_runner(folder, packages_dir=folder / "packages", pool="2") as real:
            if not real.hello.is_safe:
                pytest.skip("this kernel can't isolate a run")
            settings = service_settings(folder, real.socket, connect_seconds=5.0)
            async with serving(create_app(settings)) as client:
                yield Stand(client, real)


async def test_killed_worker_is_an_answer_and_the_session_says_so(stand: Stand) -> None:
    session_id = await stand.session()
    run, spinner = await stand.spinning(session_id)
    spinner.worker.kill()
    answer = (await run).json()
    assert (answer["status"], answer["stdout"]) == ("killed", "on\n")
    assert answer["session_ended"]
    gone = await stand.run("6*7", session_id=session_id)
    assert (gone.status_code, gone.json()["reason"]) == (410, "killed")
    await stand.answers()


async def test_killed_warden_is_a_typed_error_and_the_session_says_so(stand: Stand) -> None:
    session_id = await stand.session()
    run, spinner = await stand.spinning(session_id)
    spinner.warden.kill()
    answer = await run
    assert answer.status_code == 502
    assert answer.json()["type"].endswith(":sandbox-runner-down")
    gone = await stand.run("6*7", session_id=session_id)
    assert (gone.status_code, gone.json()["reason"]) == (410, "runner-lost")
    await stand.answers()
    async with asyncio.timeout(10):
        while _is_alive(spinner.worker):  # noqa: ASYNC110  # another process
            await asyncio.sleep(0.01)


async def test_killed_warden_of_an_idle_session_is_said_at_its_next_call(stand: Stand) -> None:
    session_id = await stand.session()
    for warden in stand.zygote.children():
        with suppress(psutil.NoSuchProcess):
            warden.kill()
    async with asyncio.timeout(10):
        while (gone := await stand.client.get(f"/sessions/{session_id}")).status_code == 200:  # noqa: ASYNC110  # another process
            await asyncio.sleep(0.01)
    assert (gone.status_code, gone.json()["reason"]) == (410, "runner-lost")
    await stand.answers()


async def test_killed_zygote_costs_no_live_session(stand: Stand) -> None:
    session_id = await stand.session()
    await stand.run("x = 5", session_id=session_id)
    stand.zygote.kill()
    assert (await stand.run("x", session_id=session_id)).json()["result"] == "5"
    for _ in range(4):
        await stand.answers()
    reset = await stand.client.post(f"/sessions/{session_id}/reset")
    assert reset.status_code == 200
    assert (await stand.run("6*7", session_id=session_id)).json()["result"] == "42"


async def test_kills_at_any_moment_are_survived(stand: Stand) -> None:
    # The seed is fixed, the moments are not: what the machine does in between differs each time.
    chance = random.Random(7)
    for number in range(_ROUNDS):
        runs = [asyncio.create_task(stand.run("sum(range(10**5))")) for _ in range(_CALLERS)]
        await asyncio.sleep(chance.uniform(0, 0.03))
        victim = _victim(stand, ("zygote", "warden", "worker")[number % 3], chance)
        if victim is not None:
            with suppress(psutil.NoSuchProcess):  # its run may have ended just now
                victim.kill()
        for answer in await asyncio.gather(*runs):
            assert answer.status_code in {200, 429, 502}, answer.text
            if answer.status_code == 200:
                assert answer.json()["status"] in {"ok", "killed", "crashed"}
        async with asyncio.timeout(20):
            while (await stand.run("6*7")).status_code != 200:  # noqa: ASYNC110  # the runner heals itself
                await asyncio.sleep(0.05)
    text = (await stand.client.get("/metrics")).text
    assert "sandbox_slots_in_use 0.0" in text


def _victim(stand: Stand, part: str, chance: random.Random) -> psutil.Process | None:
    try:
        zygote = stand.zygote
        if part == "zygote":
            return zygote
        wardens = zygote.children()
        found = wardens if part == "warden" else [w for each in wardens for w in each.children()]
        return chance.choice(found) if found else None
    except (psutil.NoSuchProcess, IndexError):
        return None  # it has just ended, or is not back yet
