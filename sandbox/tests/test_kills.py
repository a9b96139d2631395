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


@dataclass(frozen=True)
class Stand:
    client: httpx.AsyncClient
    runner: RealRunner

    @property
    def zygote(self) -> psutil.Process:
        """Return the zygote; wardens whose zygote was killed are the listener's children too."""
        found = psutil.Process(self.runner.process.pid).children()
        return next(each for each in found if _has_grandchildren(each))

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


def _has_grandchildren(process: psutil.Process) -> bool:
    try:
        return any(child.children() for child in process.children())
    except psutil.NoSuchProcess:
        return False


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


class Resident:
    """A session that lives through the kills, and is told the truth if it does not."""

    def __init__(self, stand: Stand) -> None:
        self._stand = stand
        self._id = ""
        self._value = ""
        self.losses = 0

    async def settle(self, value: str) -> None:
        """Live on, or in a new session if the last was lost, with another value."""
        while not self._id or (await self._call("post", "/execute", f"x = {value}")) is None:
            created = await self._stand.client.post("/sessions")
            if _is_other_than(created, 201):
                await asyncio.sleep(0.05)
                continue
            self._id = created.json()["session_id"]
        self._value = value

    async def do(self, what: str) -> None:
        """Use the session while something is killed."""
        here = f"/sessions/{self._id}"
        match what:
            case "run":
                said = await self._call("post", "/execute", "x")
                assert said is None or said["result"] == self._value
            case "file":
                await self._call("put", f"{here}/files/f", self._value)
            case "list":
                await self._call("get", f"{here}/files")
            case "look":
                await self._call("get", here)
            case _:
                said = await self._call("post", f"{here}/reset")
                self._value = "None" if said is not None else self._value

    async def _call(self, method: str, path: str, content: str = "") -> Any:
        """Return an answer; None if the session was lost, which it says."""
        body: dict[str, Any] = {}
        if path == "/execute":
            code = content if content != "x" else "globals().get('x')"
            body = {"json": {"code": code, "session_id": self._id}}
        elif method == "put":
            body = {"content": content.encode()}
        answer = await self._stand.client.request(method, path, **body)
        if answer.is_success:
            said = answer.json()
            if path != "/execute" or not said["session_ended"]:
                return said
            assert said["status"] in {"killed", "crashed"}, said
        elif answer.status_code == 410:
            assert answer.json()["reason"] in {"runner-lost", "killed", "crashed"}, answer.text
        else:
            assert _is_other_than(answer, 200), answer.text
        self._id = ""
        self.losses += 1
        return None


def _is_other_than(answer: httpx.Response, wanted: int) -> bool:
    """Say whether an answer is an honest failure; any other that is not wanted fails the test."""
    if answer.status_code == wanted:
        return False
    if answer.status_code == 429:
        assert float(answer.headers["retry-after"]) > 0
        return True
    assert answer.status_code == 502, answer.text
    assert answer.json()["type"].endswith(":sandbox-runner-down")
    assert answer.json()["detail"]
    return True


async def _run_once(stand: Stand) -> None:
    answer = await stand.run("sum(range(10**5))")
    if not _is_other_than(answer, 200) and answer.json()["status"] != "ok":
        assert answer.json()["status"] in {"killed", "crashed"}
        assert answer.json()["session_ended"]


async def _follow(stand: Stand) -> None:
    body = {"code": "for n in range(300): print(n)"}
    headers = {"accept": "text/event-stream"}
    answer = await stand.client.post("/execute", json=body, headers=headers)
    if not _is_other_than(answer, 200):
        last = answer.text.strip().rsplit("\n\n", 1)[-1]
        assert last.startswith(("event: result", "event: error")), last


async def test_kills_at_any_moment_are_survived_and_told_of(stand: Stand) -> None:
    # The seed is fixed, the moments are not: what the machine does in between differs each time.
    chance = random.Random(7)
    resident = Resident(stand)
    killed = {"zygote": 0, "warden": 0, "worker": 0}
    for number in range(_ROUNDS):
        await resident.settle(str(number))
        what = ("run", "file", "list", "look", "reset")[number % 5]
        calls = (resident.do(what), _run_once(stand), _run_once(stand), _follow(stand))
        runs = [asyncio.create_task(call) for call in calls]
        await asyncio.sleep(chance.uniform(0, 0.03))
        part = ("zygote", "warden", "worker")[number % 3]
        victim = _victim(stand, part, chance)
        if victim is not None:
            with suppress(psutil.NoSuchProcess):  # its run may have ended just now
                victim.kill()
                killed[part] += 1
        await asyncio.gather(*runs)
        async with asyncio.timeout(20):
            while (await stand.run("6*7")).status_code != 200:  # noqa: ASYNC110  # the runner heals itself
                await asyncio.sleep(0.05)
    assert "sandbox_slots_in_use 0.0" in (await stand.client.get("/metrics")).text
    log = stand.runner.log.read_text()  # a small file
    assert log.count('"zygote.lost"') >= killed["zygote"] >= _ROUNDS // 6
    assert log.count('"warden.killed"') > 0


def _victim(stand: Stand, part: str, chance: random.Random) -> psutil.Process | None:
    try:
        zygote = stand.zygote
        if part == "zygote":
            return zygote
        wardens = zygote.children()
        found = wardens if part == "warden" else [w for each in wardens for w in each.children()]
        return chance.choice(found) if found else None
    except (psutil.NoSuchProcess, StopIteration):
        return None  # it has just ended, or is not back yet
