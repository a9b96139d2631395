"""Work that nobody waits for is cancelled, and cleans up first."""

import asyncio

import anyio
import pytest
from servicekit.hangup import ClientHungUp, until_hangup


class Caller:
    """Stands for a request; `leaves` says when its client hangs up."""

    def __init__(self) -> None:
        self.leaves = asyncio.Event()

    async def receive(self) -> dict[str, str]:
        await self.leaves.wait()
        return {"type": "http.disconnect"}


class Work:
    """Takes for ever; its clean-up takes a few turns of the loop."""

    def __init__(self) -> None:
        self.has_begun = asyncio.Event()
        self.has_cleaned_up = False

    async def run(self) -> None:
        self.has_begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            for _ in range(5):
                await asyncio.sleep(0)
            self.has_cleaned_up = True


async def test_answer_comes_back_while_the_client_waits() -> None:
    async def answer() -> int:
        return 42

    assert await until_hangup(Caller(), answer()) == 42


async def test_work_that_is_done_soon_is_not_watched() -> None:
    class Deaf(Caller):
        async def receive(self) -> dict[str, str]:
            raise AssertionError("asked for")

    async def answer() -> int:
        await asyncio.sleep(0)
        return 42

    assert await until_hangup(Deaf(), answer()) == 42


async def test_hangup_cancels_the_work() -> None:
    caller, work = Caller(), Work()
    caller.leaves.set()
    with pytest.raises(ClientHungUp):
        await until_hangup(caller, work.run())
    assert work.has_cleaned_up


async def test_repeated_cancellation_lets_the_work_clean_up() -> None:
    work = Work()
    async with anyio.create_task_group() as group:
        group.start_soon(until_hangup, Caller(), work.run())
        await work.has_begun.wait()
        group.cancel_scope.cancel()
    assert work.has_cleaned_up
