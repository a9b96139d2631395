"""Sessions that nobody uses any more: which end at once, which later, and when."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from sandbox.cells import CellOutcome
from sandbox.farewells import Farewells
from sandbox.stored_files import ChangedFiles
from sandbox_support.fake_runner import FakeRunner
from sandbox_support.serving import service_settings, serving

from sandbox import farewells as farewells_module
from sandbox.app import create_app

_LIGHT = CellOutcome(
    status="ok",
    signal=None,
    stdout="",
    stderr="",
    result=None,
    error=None,
    duration_ms=1.0,
    peak_memory_bytes=90 << 20,
    kill_ms=None,
    stdout_dropped_bytes=0,
    stderr_dropped_bytes=0,
    is_session_ended=False,
    files=ChangedFiles(),
    is_light=True,
)


@dataclass
class Session:
    is_closed: bool = False

    def close(self) -> None:
        self.is_closed = True


@asynccontextmanager
async def kept(farewells: Farewells) -> AsyncIterator[None]:
    task = asyncio.create_task(farewells.keep())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def take(farewells: Farewells, outcome: CellOutcome | None = _LIGHT) -> Session:
    session = Session()
    farewells.take(session, outcome)  # type: ignore[arg-type]  # as much of one as is used here
    return session


async def until_closed(session: Session) -> None:
    async with asyncio.timeout(5):
        while not session.is_closed:  # noqa: ASYNC110  # another task's doing
            await asyncio.sleep(0.002)


async def test_session_ends_in_the_next_quiet_moment() -> None:
    farewells = Farewells()
    async with kept(farewells):
        first = take(farewells)
        assert not first.is_closed
        await until_closed(first)
        await until_closed(take(farewells))


async def test_none_ends_while_others_keep_coming(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(farewells_module, "_QUIET_SECONDS", 0.3)
    farewells = Farewells()
    async with kept(farewells):
        sessions = []
        for _ in range(8):
            sessions.append(take(farewells))
            await asyncio.sleep(0.05)
        assert not any(session.is_closed for session in sessions)
        for session in sessions:
            await until_closed(session)


@pytest.mark.parametrize("outcome", [None, replace(_LIGHT, is_light=False)])
async def test_session_that_leaves_something_behind_ends_at_once(
    outcome: CellOutcome | None,
) -> None:
    farewells = Farewells()
    light = take(farewells)
    assert take(farewells, outcome).is_closed
    assert not light.is_closed


async def test_end_that_fails_leaves_the_others_theirs() -> None:
    class Broken(Session):
        def close(self) -> None:
            raise RuntimeError("broken")

    farewells = Farewells()
    async with kept(farewells):
        farewells.take(Broken(), _LIGHT)  # type: ignore[arg-type]  # as in `take`
        await until_closed(take(farewells))


async def test_number_is_bounded_and_the_oldest_ends_first() -> None:
    farewells = Farewells()
    sessions = [take(farewells) for _ in range(70)]
    assert [session.is_closed for session in sessions] == [True] * 6 + [False] * 64


async def test_places_that_are_needed_are_free_at_once() -> None:
    farewells = Farewells()
    sessions = [take(farewells) for _ in range(5)]
    farewells.hurry(2)
    assert [session.is_closed for session in sessions] == [True] * 2 + [False] * 3
    farewells.hurry()
    assert all(session.is_closed for session in sessions)


async def test_runner_without_a_place_gets_one_from_those_who_leave(
    fake_runner: FakeRunner, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(farewells_module, "_QUIET_SECONDS", 60.0)
    fake_runner.slots = 3
    settings = service_settings(tmp_path, fake_runner.socket, spare_sessions=0)
    async with serving(create_app(settings)) as client:
        for _ in range(12):
            answer = await client.post("/execute", json={"code": "6*7"})
            assert answer.json()["result"] == "42"
