"""Callers take turns, whoever asks more: as requests over HTTP, and under any order of events."""

import asyncio
from pathlib import Path

import httpx
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import REGISTRY
from sandbox.admission import Admission
from sandbox.waiting import WaitingRoom
from sandbox_support.fake_runner import FakeRunner, Reply
from sandbox_support.serving import service_settings, serving, until
from servicekit.deadline import Deadline
from servicekit.errors import TooBusy

from sandbox.app import create_app

LONG = Deadline.after(3600)


def _room(most_calls: int) -> WaitingRoom:
    return WaitingRoom(most_calls=most_calls, most_bytes=1 << 20)


HELD = "held"


def _waiting() -> float:
    return REGISTRY.get_sample_value("sandbox_queue_length") or 0.0


async def _served(
    folder: Path, runner: FakeRunner, names: list[str | None], *, queue_limit: int = 64
) -> tuple[list[str], list[int]]:
    """Have callers ask one after the other while the one slot is taken.

    Returns the codes that were run, in order, and the statuses of the answers. A code is the
    caller's name and how many of its own came before.
    """
    runner.held.add(HELD)
    runner.on_run = lambda _, __: Reply()
    settings = service_settings(folder, runner.socket, slots=1, queue_limit=queue_limit)
    async with serving(create_app(settings)) as client:
        tasks = [asyncio.create_task(client.post("/execute", json={"code": HELD}))]
        await until(lambda: runner.started == [HELD])
        for number, name in enumerate(names):
            code = f"{name} {names[:number].count(name)}"
            headers = {} if name is None else {"x-client-id": name}
            before, ended = _waiting(), sum(task.done() for task in tasks)
            order = client.post("/execute", json={"code": code}, headers=headers)
            tasks.append(asyncio.create_task(order))
            await until(
                lambda before=before, ended=ended: (
                    _waiting() > before or sum(task.done() for task in tasks) > ended
                )
            )
        runner.release.set()
        answers: list[httpx.Response] = await asyncio.gather(*tasks)
        return runner.started[1:], [answer.status_code for answer in answers[1:]]


async def test_callers_who_name_themselves_take_turns(
    tmp_path: Path, fake_runner: FakeRunner
) -> None:
    names = ["many"] * 4 + ["one"] + ["two"] * 2
    order, statuses = await _served(tmp_path, fake_runner, [*names])
    assert order == ["many 0", "one 0", "two 0", "many 1", "two 1", "many 2", "many 3"]
    assert set(statuses) == {200}


async def test_callers_without_a_name_are_told_apart_by_their_address(
    tmp_path: Path, fake_runner: FakeRunner
) -> None:
    # All of them come from one address, so they have one line; who names itself has another.
    order, _ = await _served(tmp_path, fake_runner, [None, None, None, "one"])
    assert order == ["None 0", "one 0", "None 1", "None 2"]


async def test_caller_who_fills_the_queue_keeps_nobody_out(
    tmp_path: Path, fake_runner: FakeRunner
) -> None:
    names = ["many"] * 5 + ["one", "one", "two"]
    order, statuses = await _served(tmp_path, fake_runner, [*names], queue_limit=4)
    # Four of the many may wait; then the newest of the longest line makes room for others.
    assert statuses == [200, 429, 429, 429, 429, 200, 200, 200]
    assert order == ["many 0", "one 0", "two 0", "one 1"]


async def test_who_is_sent_away_while_it_waits_takes_no_place() -> None:
    admission = Admission(slots=1, room=_room(2))
    async with admission.slot("a", LONG):
        waiting = [asyncio.create_task(_stay(admission, "a")) for _ in range(2)]
        await asyncio.sleep(0)
        other = asyncio.create_task(_stay(admission, "b"))
        await asyncio.sleep(0)
        # In one moment it is sent away and gives up.
        waiting[1].cancel()
        await asyncio.gather(waiting[1], return_exceptions=True)
        assert (admission.in_use, admission.waiting) == (1, 2)
    await asyncio.gather(waiting[0], other)
    assert (admission.in_use, admission.waiting) == (0, 0)


async def test_who_gives_up_in_the_moment_in_which_it_is_sent_away_harms_nobody() -> None:
    admission = Admission(slots=1, room=_room(2))
    async with admission.slot("a", LONG):
        waiting = [asyncio.create_task(_stay(admission, "a")) for _ in range(2)]
        await asyncio.sleep(0)
        other = asyncio.create_task(_stay(admission, "b"))
        waiting[1].cancel()  # it learns of that only after the other has come
        await asyncio.gather(waiting[1], return_exceptions=True)
        assert (admission.in_use, admission.waiting) == (1, 2)
    await asyncio.gather(waiting[0], other)
    assert (admission.in_use, admission.waiting) == (0, 0)


async def _stay(admission: Admission, client: str) -> None:
    async with admission.slot(client, LONG):
        await asyncio.sleep(0)


class _Log:
    """What happened at one admission: who came to wait and who was let in, in order."""

    def __init__(self, slots: int, queue_limit: int) -> None:
        self.admission = Admission(slots=slots, room=_room(queue_limit))
        self.events: list[tuple[str, str]] = []
        self.inside: list[asyncio.Event] = []
        self.tasks: list[asyncio.Task[None]] = []

    async def step(self, what: str) -> None:
        if what == "leave":
            if self.inside:
                self.inside.pop(0).set()
        elif what == "cancel":
            for task in [task for task in self.tasks if not task.done()][-1:]:
                task.cancel()
        else:
            self.tasks.append(asyncio.create_task(self._visit(what)))
        for _ in range(6):
            await asyncio.sleep(0)

    async def _visit(self, client: str) -> None:
        self.events.append(("come", client))
        door = asyncio.Event()
        try:
            async with self.admission.slot(client, LONG):
                self.events.append(("in", client))
                self.inside.append(door)
                await door.wait()
        except TooBusy:
            self.events.append(("away", client))
        except asyncio.CancelledError:
            if door in self.inside:
                self.inside.remove(door)
            else:
                self.events.append(("away", client))
            raise


def _passed_over(events: list[tuple[str, str]]) -> list[str]:
    """Return who waited all the time between two turns of another and had none."""
    waiting: dict[str, int] = {}
    passed: dict[str, set[str]] = {}
    found = []
    for what, client in events:
        waiting.setdefault(client, 0)
        if what == "come":
            waiting[client] += 1
            continue
        waiting[client] -= 1
        for others in passed.values():
            # Who had a turn, or waits no more, was not passed over.
            if what == "in" or not waiting[client]:
                others.discard(client)
        if what == "in":
            found += sorted(passed.get(client, set()))
            passed[client] = {name for name, count in waiting.items() if count and name != client}
    return found


@given(
    slots=st.integers(1, 3),
    queue_limit=st.integers(0, 8),
    steps=st.lists(st.sampled_from([*"aaabbc", "leave", "leave", "cancel"]), max_size=40),
)
def test_nobody_is_passed_over_and_no_place_is_lost(
    slots: int, queue_limit: int, steps: list[str]
) -> None:
    async def play() -> None:
        log = _Log(slots, queue_limit)
        for step in steps:
            await log.step(step)
            assert log.admission.in_use == len(log.inside) <= slots
            assert log.admission.waiting <= queue_limit
            # Nobody waits while there is a place.
            assert not log.admission.waiting or log.admission.in_use == slots
        while log.inside:
            await log.step("leave")
        await asyncio.gather(*log.tasks, return_exceptions=True)
        assert (log.admission.in_use, log.admission.waiting) == (0, 0)
        assert _passed_over(log.events) == []

    asyncio.run(play())
