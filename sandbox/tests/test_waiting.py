"""All who wait, for a slot or for a session: bounded together, in number and bytes, and fair."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import httpx
from prometheus_client import REGISTRY
from sandbox_support.fake_runner import FakeRunner, Reply
from sandbox_support.serving import service_settings, serving, until

from sandbox.app import create_app

HELD = "held"
LARGE = "#" + "x" * 399_999


def _value(name: str) -> float:
    return REGISTRY.get_sample_value(f"sandbox_{name}") or 0.0


class _Callers:
    """Callers who ask one after the other, once the one before waits or is answered."""

    def __init__(self, client: httpx.AsyncClient, runner: FakeRunner) -> None:
        self.client = client
        self.answers: list[asyncio.Task[httpx.Response]] = []
        self._runner = runner
        runner.held.add(HELD)
        runner.on_run = lambda _, __: Reply()

    async def session(self) -> str:
        return str((await self.client.post("/sessions")).json()["session_id"])

    async def ask(self, code: str, session_id: str | None = None, *, caller: str = "one") -> None:
        order = {"code": code} if session_id is None else {"code": code, "session_id": session_id}
        before = self._events()
        sent = self.client.post("/execute", json=order, headers={"x-client-id": caller})
        self.answers.append(asyncio.create_task(sent))
        await until(lambda: self._events() > before)

    def _events(self) -> float:
        """Count who waits, who was let in, and who was sent away."""
        sent_away = sum(task.done() and task.result().status_code == 429 for task in self.answers)
        waiting = _value("queue_length") + _value("session_queue_length")
        return waiting + len(self._runner.started) + 2 * sent_away

    async def statuses(self) -> Sequence[int]:
        """Let all go on; return how each was answered, in the order in which they asked."""
        self._runner.release.set()
        return [answer.status_code for answer in await asyncio.gather(*self.answers)]


async def test_calls_that_wait_hold_a_bounded_amount_of_code(
    tmp_path: Path, fake_runner: FakeRunner
) -> None:
    settings = service_settings(tmp_path, fake_runner.socket, queue_max_bytes=1 << 20)
    async with serving(create_app(settings)) as client:
        callers = _Callers(client, fake_runner)
        session_id = await callers.session()
        await callers.ask(HELD, session_id)
        for _ in range(4):
            await callers.ask(LARGE, session_id)
        await callers.ask("small", session_id)
        assert await callers.statuses() == [200, 200, 200, 429, 429, 200]


async def test_who_holds_most_makes_room_for_who_holds_less(
    tmp_path: Path, fake_runner: FakeRunner
) -> None:
    settings = service_settings(tmp_path, fake_runner.socket, queue_max_bytes=1 << 20)
    async with serving(create_app(settings)) as client:
        callers = _Callers(client, fake_runner)
        session_id = await callers.session()
        await callers.ask(HELD, session_id)
        for _ in range(2):
            await callers.ask(LARGE, session_id, caller="many")
        await callers.ask(LARGE, session_id)
        assert await callers.statuses() == [200, 200, 429, 200]


async def test_calls_for_slots_and_sessions_are_bounded_together(
    tmp_path: Path, fake_runner: FakeRunner
) -> None:
    settings = service_settings(tmp_path, fake_runner.socket, slots=2, queue_limit=2)
    async with serving(create_app(settings)) as client:
        callers = _Callers(client, fake_runner)
        first, second = await callers.session(), await callers.session()
        for session_id in (first, second):
            await callers.ask(HELD, session_id)
        for session_id in (first, None, second):
            await callers.ask("next", session_id)
        assert await callers.statuses() == [200, 200, 200, 200, 429]


async def test_callers_of_one_session_take_turns(tmp_path: Path, fake_runner: FakeRunner) -> None:
    async with serving(create_app(service_settings(tmp_path, fake_runner.socket))) as client:
        callers = _Callers(client, fake_runner)
        session_id = await callers.session()
        await callers.ask(HELD, session_id)
        for caller, code in (("many", "m0"), ("many", "m1"), ("many", "m2"), ("one", "o0")):
            await callers.ask(code, session_id, caller=caller)
        assert set(await callers.statuses()) == {200}
    assert fake_runner.started == [HELD, "m0", "o0", "m1", "m2"]


async def test_wait_for_a_session_counts_as_a_wait(tmp_path: Path, fake_runner: FakeRunner) -> None:
    async with serving(create_app(service_settings(tmp_path, fake_runner.socket))) as client:
        callers = _Callers(client, fake_runner)
        session_id = await callers.session()
        before = _value("wait_seconds_sum")
        await callers.ask(HELD, session_id)
        await callers.ask("next", session_id)
        await asyncio.sleep(0.2)
        await callers.statuses()
    assert _value("wait_seconds_sum") - before >= 0.2
