"""The supervisor over scripted programs: no process, no socket, no waiting for nothing."""

import asyncio
import io
import signal
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from launcher.backoff import Backoff
from launcher.console import Console
from launcher.process import Child
from launcher.readiness import NotReady, Readiness, Ready, Silent
from launcher.supervisor import EX_CONFIG, Patience, StartFailure, Supervisor
from launcher.units import HttpProbe, Probe, Unit

FAST = Patience(
    start_seconds=5,
    stop_seconds=1,
    not_ready_seconds=0.05,
    backoff=Backoff(first_seconds=0.001, longest_seconds=0.002),
)


@dataclass
class Script:
    """What each start of a program does: the exit status it dies with at once, or None to live."""

    deaths: list[int | None] = field(default_factory=list)
    output: bytes = b""
    ignores_sigterm: bool = False
    readiness: Readiness = field(default_factory=Ready)


class ScriptedChild:
    def __init__(self, world: "World", name: str, number: int, death: int | None) -> None:
        self.pid = number
        self._world, self._name = world, name
        self._ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        if death is not None:
            self.end(death)

    def end(self, code: int) -> None:
        if not self._ended.done():
            self._world.events.append(f"{self._name} ended")
            self._world.alive.pop(self._name, None)
            self._ended.set_result(code)

    async def lines(self) -> AsyncGenerator[bytes, None]:
        for line in self._world.script(self._name).output.splitlines():
            yield line

    async def wait(self) -> int:
        return await self._ended

    def release(self) -> None:
        self._world.events.append(f"{self._name} released")

    def terminate(self) -> None:
        self._world.events.append(f"{self._name} asked")
        if not self._world.script(self._name).ignores_sigterm:
            self.end(-signal.SIGTERM)

    def kill(self) -> None:
        self.end(-signal.SIGKILL)


class World:
    """Spawner and prober in one."""

    def __init__(self, **scripts: Script) -> None:
        self.scripts = scripts
        self.events: list[str] = []
        self.alive: dict[str, ScriptedChild] = {}
        self.starts = 0
        self._moved = asyncio.Condition()

    async def until(self, is_so: Callable[[], bool]) -> None:
        """Wait until a start or a probe made it so."""
        async with self._moved:
            await self._moved.wait_for(is_so)

    async def _move(self) -> None:
        async with self._moved:
            self._moved.notify_all()

    def script(self, name: str) -> Script:
        return self.scripts.setdefault(name, Script())

    def lifecycle(self) -> list[str]:
        hidden = ("probed", "released")
        return [event for event in self.events if not event.endswith(hidden)]

    async def spawn(self, unit: Unit) -> Child:
        self.starts += 1
        self.events.append(f"{unit.name} started")
        deaths = self.script(unit.name).deaths
        death = deaths.pop(0) if deaths else None
        child = ScriptedChild(self, unit.name, self.starts, death)
        if death is None:
            self.alive[unit.name] = child
        await self._move()
        return child

    async def check(self, probe: Probe) -> Readiness:
        assert isinstance(probe, HttpProbe)
        self.events.append(f"{probe.url} probed")
        await self._move()
        return self.script(probe.url).readiness if probe.url in self.alive else Silent()


def unit(name: str, *needs: str, is_optional: bool = False) -> Unit:
    return Unit(name, ("x",), {}, HttpProbe(name), needs=needs, is_optional=is_optional)


CHAIN = (unit("c", "b"), unit("b", "a"), unit("a"))


async def run(
    world: World,
    tmp_path: Path,
    *units: Unit,
    patience: Patience = FAST,
    then: Callable[[asyncio.Event], None] = asyncio.Event.set,
    is_verbose: bool = False,
) -> tuple[StartFailure | None, str]:
    stream, stop = io.StringIO(), asyncio.Event()
    supervisor = Supervisor(
        units,
        spawner=world,
        prober=world,
        console=Console(stream),
        log_dir=tmp_path,
        patience=patience,
        is_verbose=is_verbose,
    )

    async def on_running() -> None:
        world.events.append("running")
        then(stop)

    async with asyncio.timeout(20):
        failure = await supervisor.run(stop, on_running=on_running)
    assert not world.alive
    return failure, stream.getvalue()


async def test_units_start_when_their_needs_are_ready_and_end_in_reverse(tmp_path: Path) -> None:
    world = World()
    failure, _ = await run(world, tmp_path, *CHAIN)
    assert failure is None
    assert world.lifecycle() == [
        *("a started", "b started", "c started", "running"),
        *("c asked", "c ended", "b asked", "b ended", "a asked", "a ended"),
    ]


async def test_unit_with_a_gate_prepares_at_once_and_is_released_in_order(tmp_path: Path) -> None:
    world = World()
    gated = [replace(each, has_gate=bool(each.needs)) for each in CHAIN]
    failure, _ = await run(world, tmp_path, *gated)
    assert failure is None
    assert set(world.events[:3]) == {"a started", "b started", "c started"}
    order = [event for event in world.events if event.endswith(("probed", "released"))]
    assert order[:6] == [
        *("a released", "a probed", "b released", "b probed", "c released", "c probed")
    ]


async def test_unit_that_dies_is_started_again_and_reported(tmp_path: Path) -> None:
    world = World()
    tasks: list[asyncio.Task[None]] = []

    def kill(stop: asyncio.Event) -> None:
        world.alive["b"].kill()
        tasks.append(asyncio.create_task(until_back(stop)))

    async def until_back(stop: asyncio.Event) -> None:
        begun = world.events.index("b ended")
        await world.until(lambda: "b probed" in world.events[begun:])
        stop.set()

    failure, said = await run(world, tmp_path, *CHAIN, then=kill)
    assert failure is None
    assert world.events.count("b started") == 2
    assert world.events.count("a started") == 1
    assert "was killed by SIGKILL; starts again in 0.0 s" in said
    assert "ready again" in said


async def test_program_that_never_starts_ends_the_start_with_its_last_lines(tmp_path: Path) -> None:
    world = World(b=Script(deaths=[1] * 9, output=b"no such file: x"))
    failure, _ = await run(world, tmp_path, *CHAIN)
    assert failure is not None
    assert failure.exit_status == 1
    assert "no such file: x" in failure.sentence
    assert world.events.count("b started") == 3
    assert "c started" not in world.events


async def test_one_early_death_is_forgiven(tmp_path: Path) -> None:
    world = World(b=Script(deaths=[1, None]))
    failure, said = await run(world, tmp_path, *CHAIN)
    assert failure is None
    assert "ended with status 1" in said


async def test_wrong_settings_are_not_tried_twice(tmp_path: Path) -> None:
    world = World(a=Script(deaths=[EX_CONFIG], output=b"A_PORT is wrong"))
    failure, _ = await run(world, tmp_path, *CHAIN)
    assert failure is not None
    assert failure.exit_status == EX_CONFIG
    assert "A_PORT is wrong" in failure.sentence
    assert world.starts == 1


async def test_rest_runs_without_an_optional_unit(tmp_path: Path) -> None:
    world = World(a=Script(deaths=[1] * 500, output=b"no Landlock"))
    failure, said = await run(world, tmp_path, unit("b", "a"), unit("a", is_optional=True))
    assert failure is None
    assert "no Landlock" in said
    assert "the rest runs" in said


async def test_unit_that_waits_for_the_outside_world_holds_nobody_up(tmp_path: Path) -> None:
    world = World(a=Script(readiness=NotReady("llm: no answer")))
    failure, said = await run(world, tmp_path, unit("b", "a"), unit("a"))
    assert failure is None
    assert "answers, but is not ready: llm: no answer" in said


async def test_note_of_a_ready_unit_is_shown(tmp_path: Path) -> None:
    world = World(a=Script(readiness=Ready("the sandbox is off: landlock is unavailable")))
    _, said = await run(world, tmp_path, unit("a"))
    assert "the sandbox is off" in said


async def test_silent_unit_ends_the_start_in_time(tmp_path: Path) -> None:
    world = World(b=Script(readiness=Silent()))
    patience = Patience(start_seconds=0.2, stop_seconds=1)
    failure, _ = await run(world, tmp_path, *CHAIN, patience=patience)
    assert failure is not None
    assert "b was not ready within 0.2 s" in failure.sentence


async def test_unit_that_ignores_the_request_to_end_is_killed(tmp_path: Path) -> None:
    world = World(b=Script(ignores_sigterm=True))
    patience = Patience(start_seconds=5, stop_seconds=0.1)
    failure, said = await run(world, tmp_path, *CHAIN, patience=patience)
    assert failure is None
    assert "ends by force" in said


async def test_stop_during_the_start_ends_it(tmp_path: Path) -> None:
    world = World(a=Script(readiness=Silent()))
    stop = asyncio.Event()
    supervisor = Supervisor(
        CHAIN,
        spawner=world,
        prober=world,
        console=Console(io.StringIO()),
        log_dir=tmp_path,
        patience=FAST,
    )

    async def never() -> None:
        pytest.fail("it was not running")

    async with asyncio.timeout(5), asyncio.TaskGroup() as tasks:
        running = tasks.create_task(supervisor.run(stop, on_running=never))
        await world.until(lambda: "a" in world.alive)
        stop.set()
        assert await running is None
    assert world.lifecycle() == ["a started", "a asked", "a ended"]


async def test_logs_are_kept_and_only_trouble_is_shown(tmp_path: Path) -> None:
    lines = b'{"event": "quiet.thing", "level": "info"}\n{"event": "e", "level": "warning"}\n'
    world = World(a=Script(output=lines))
    _, quiet = await run(world, tmp_path, unit("a"))
    _, verbose = await run(world, tmp_path, unit("a"), is_verbose=True)
    assert b"quiet.thing" in (tmp_path / "a.log").read_bytes()
    assert "quiet.thing" not in quiet
    assert "quiet.thing" in verbose


async def test_failure_while_running_ends_everything(tmp_path: Path) -> None:
    def fail(_: asyncio.Event) -> None:
        raise RuntimeError("boom")

    world = World()
    with pytest.raises(ExceptionGroup):
        await run(world, tmp_path, *CHAIN, then=fail)
    assert not world.alive
