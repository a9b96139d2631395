"""The queue: bounded, fair among callers, and without leaks."""

import asyncio

import pytest
from sandbox.admission import Admission
from sandbox.waiting import WaitingRoom
from servicekit.deadline import Deadline
from servicekit.errors import DeadlineExceeded, TooBusy

LONG = Deadline.after(3600)


def _room(most_calls: int) -> WaitingRoom:
    return WaitingRoom(most_calls=most_calls, most_bytes=1 << 20)


async def _settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


class _House:
    """An admission whose guests leave when told."""

    def __init__(self, *, slots: int, queue_limit: int = 100) -> None:
        self.admission = Admission(slots=slots, room=_room(queue_limit))
        self.order: list[str] = []
        self._doors: dict[str, asyncio.Event] = {}

    def come(self, name: str, client: str, deadline: Deadline = LONG) -> asyncio.Task[None]:
        self._doors[name] = asyncio.Event()
        return asyncio.create_task(self._stay(name, client, deadline))

    def leave(self, name: str) -> None:
        self._doors[name].set()

    async def _stay(self, name: str, client: str, deadline: Deadline) -> None:
        async with self.admission.slot(client, deadline):
            self.order.append(name)
            await self._doors[name].wait()


async def test_callers_take_turns_whatever_the_length_of_their_lines() -> None:
    house = _House(slots=1)
    guests = [house.come(name, name[0]) for name in ("a1", "a2", "a3", "a4", "b1", "b2", "c1")]
    await _settle()
    for name in ("a1", "a2", "b1", "c1", "a3", "b2", "a4"):
        house.leave(name)
        await _settle()
    await asyncio.gather(*guests)
    assert house.order == ["a1", "a2", "b1", "c1", "a3", "b2", "a4"]


async def test_one_over_the_queue_limit_is_refused() -> None:
    house = _House(slots=1, queue_limit=2)
    guests = [house.come(name, "a") for name in ("1", "2", "3")]
    await _settle()
    with pytest.raises(TooBusy) as refused:
        async with house.admission.slot("a", LONG):
            pass
    assert refused.value.retry_after_seconds is not None
    for name in ("1", "2", "3"):
        house.leave(name)
    await asyncio.gather(*guests)
    assert (house.admission.in_use, house.admission.waiting) == (0, 0)


async def test_deadline_in_the_queue_frees_the_place_in_it() -> None:
    house = _House(slots=1)
    first = house.come("1", "a")
    await _settle()
    with pytest.raises(DeadlineExceeded):
        await house.come("2", "a", Deadline.after(0.01))
    assert house.admission.waiting == 0
    house.leave("1")
    await first
    assert house.admission.in_use == 0


async def test_guest_cancelled_in_the_moment_of_its_turn_passes_it_on() -> None:
    house = _House(slots=1)
    first, second, third = (house.come(name, name) for name in ("1", "2", "3"))
    await _settle()
    house.leave("1")
    await first  # the slot is the second's now, and it did not run yet
    second.cancel()
    await asyncio.gather(second, return_exceptions=True)
    await _settle()
    assert house.order[-1] == "3"
    house.leave("3")
    await third
    assert (house.admission.in_use, house.admission.waiting) == (0, 0)


async def test_slots_are_never_exceeded() -> None:
    house = _House(slots=3)
    guests = [house.come(str(number), str(number % 4)) for number in range(30)]
    await _settle()
    while house.admission.in_use:
        assert house.admission.in_use <= 3
        for name in list(house.order):
            house.leave(name)
        await _settle()
    await asyncio.gather(*guests)
    assert len(house.order) == 30
