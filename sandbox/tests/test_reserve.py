"""Sessions opened ahead: who gets one, and when they are given up."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from sandbox.cells import CellSession
from sandbox.errors import RunnerDown
from sandbox.limits import NO_LIMITS
from sandbox.reserve import Reserve
from sandbox_support.fake_runner import FakeRunner
from sandbox_support.serving import service_settings, serving
from servicekit.deadline import Deadline
from servicekit.wire.execution import ResourceLimits

from sandbox import reserve as reserve_module
from sandbox.app import create_app

_BOUNDS = ResourceLimits(memory_bytes=512 << 20, processes=64)


@dataclass
class Session:
    """A session as far as a reserve knows one."""

    path: Path | None
    is_alive: bool = True

    def close(self) -> None:
        self.is_alive = False


@dataclass
class Runner:
    """Opens sessions while there are places."""

    places: int = 10
    is_down: bool = False
    opened: list[Session] = field(default_factory=list)

    async def hello(self) -> Any:
        return SimpleNamespace(slots=self.places)  # as much of an answer as is used here

    longest_seconds: float | None = None

    async def bounds(self, deadline: Deadline) -> ResourceLimits:  # noqa: ARG002  # the port's
        return _BOUNDS

    async def open(
        self,
        *,
        package_path: Path | None,
        limits: ResourceLimits,  # noqa: ARG002  # the port's
        deadline: Deadline,  # noqa: ARG002  # as above
    ) -> CellSession | None:
        if self.is_down:
            raise RunnerDown("down")
        if sum(session.is_alive for session in self.opened) >= self.places:
            return None
        self.opened.append(Session(package_path))
        return self.opened[-1]  # type: ignore[return-value]  # as much of one as is used here


@asynccontextmanager
async def kept(
    runner: Runner, size: int = 1, path: Callable[[], Path | None] = lambda: None
) -> AsyncIterator[Reserve]:
    reserve = Reserve(runner, size=size, package_path=path)
    task = asyncio.create_task(reserve.keep())
    try:
        yield reserve
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110  # another task's doing
            await asyncio.sleep(0.005)


async def open_at(
    reserve: Reserve, path: Path | None = None, limits: ResourceLimits = NO_LIMITS
) -> Any:
    return await reserve.open(package_path=path, limits=limits, deadline=Deadline.after(5))


async def test_session_that_was_opened_ahead_is_handed_out_once_and_replaced() -> None:
    runner = Runner()
    async with kept(runner) as reserve:
        await until(lambda: len(runner.opened) == 1)
        first = await open_at(reserve)
        assert first is runner.opened[0]
        assert await open_at(reserve) is not first
        await until(lambda: len(runner.opened) == 3)


async def test_limits_that_are_the_runners_own_are_as_good_as_none() -> None:
    runner = Runner()
    async with kept(runner) as reserve:
        await until(lambda: len(runner.opened) == 1)
        bounds = await reserve.bounds(Deadline.after(5))
        assert await open_at(reserve, limits=bounds) is runner.opened[0]


async def test_other_limits_get_a_session_of_their_own_and_leave_the_spare() -> None:
    runner = Runner()
    async with kept(runner) as reserve:
        await until(lambda: len(runner.opened) == 1)
        assert await open_at(reserve, limits=ResourceLimits(processes=8)) is runner.opened[1]
        assert await open_at(reserve) is runner.opened[0]


async def test_spare_with_former_packages_is_ended_and_never_handed_out() -> None:
    runner, wanted = Runner(), Path("/sets/new")
    path: list[Path | None] = [None]
    async with kept(runner, path=lambda: path[0]) as reserve:
        await until(lambda: len(runner.opened) == 1)
        path[0] = wanted
        session = await open_at(reserve, wanted)
        assert session.path == wanted
        assert not runner.opened[0].is_alive
        await until(lambda: len(runner.opened) == 3)
        assert runner.opened[2].path == wanted


async def test_spare_that_died_is_not_handed_out() -> None:
    runner = Runner()
    async with kept(runner) as reserve:
        await until(lambda: len(runner.opened) == 1)
        runner.opened[0].is_alive = False
        assert (await open_at(reserve)).is_alive


async def test_spare_gives_its_place_to_who_needs_one() -> None:
    runner = Runner(places=1)
    async with kept(runner) as reserve:
        await until(lambda: len(runner.opened) == 1)
        lower = ResourceLimits(processes=8)
        assert await open_at(reserve, limits=lower) is None
        assert (await open_at(reserve, limits=lower)).is_alive


async def test_runner_that_is_down_is_asked_again_when_somebody_has_found_it() -> None:
    runner = Runner(is_down=True)
    async with kept(runner) as reserve:
        with pytest.raises(RunnerDown):
            await open_at(reserve)
        runner.is_down = False
        assert await open_at(reserve) is not None
        await until(lambda: len(runner.opened) == 2)


async def test_spare_that_is_lost_is_replaced_before_anybody_asks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(reserve_module, "_LOOK_SECONDS", 0.02)
    runner, path = Runner(), [Path("/sets/old")]
    async with kept(runner, path=lambda: path[0]):
        await until(lambda: len(runner.opened) == 1)
        runner.opened[0].is_alive = False
        await until(lambda: len(runner.opened) == 2)
        path[0] = Path("/sets/new")
        await until(lambda: len(runner.opened) == 3)
        assert not runner.opened[1].is_alive
        assert runner.opened[2].path == path[0]


async def test_reserve_goes_on_after_what_nobody_foresaw(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reserve_module, "_LOOK_SECONDS", 0.02)
    monkeypatch.setattr(reserve_module, "_FULL_REST_SECONDS", 0.02)
    troubles = [RuntimeError("a defect")]

    def path() -> Path | None:
        if troubles:
            raise troubles.pop()
        return None

    runner = Runner()
    async with kept(runner, path=path):
        await until(lambda: len(runner.opened) == 1)


@pytest.mark.parametrize(("places", "spares"), [(1, 1), (8, 1), (16, 2), (80, 3)])
async def test_spares_take_an_eighth_of_the_places_at_most(places: int, spares: int) -> None:
    runner = Runner(places=places)
    async with kept(runner, size=3) as reserve:
        await reserve.hello()
        await until(lambda: len(runner.opened) == spares)
        await asyncio.sleep(0.05)
        assert len(runner.opened) == spares


async def test_no_spare_is_kept_where_none_is_wanted() -> None:
    runner = Runner()
    async with kept(runner, size=0) as reserve:
        await open_at(reserve)
        await asyncio.sleep(0.05)
        assert len(runner.opened) == 1


async def test_service_runs_in_the_spare_and_ends_it_with_itself(
    tmp_path: Path, fake_runner: FakeRunner
) -> None:
    settings = service_settings(tmp_path, fake_runner.socket, spare_sessions=1)
    async with serving(create_app(settings)) as client:
        await until(lambda: len(fake_runner.sessions) == 1)
        answer = await client.post("/execute", json={"code": "6*7"})
        assert (answer.status_code, answer.json()["result"]) == (200, "42")
        assert len(fake_runner.sessions[0].runs) == 1
        await until(lambda: len(fake_runner.sessions) == 2)
        metrics = (await _text(client, "/metrics")).splitlines()
        assert any(
            line.startswith('sandbox_spare_sessions_total{outcome="hit"}') for line in metrics
        )
        assert any(line.startswith('sandbox_pool_claims_total{outcome="hit"}') for line in metrics)
    await until(lambda: not any(session.is_open for session in fake_runner.sessions))


async def _text(client: httpx.AsyncClient, path: str) -> str:
    return (await client.get(path)).text
