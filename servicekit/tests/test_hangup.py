"""Work that nobody waits for is cancelled, and cleans up first."""

import asyncio
import gc
from typing import Any

import anyio
import pytest
from servicekit.errors import UpstreamUnavailable
from servicekit.hangup import ClientHungUp, ended_by_hangup, until_hangup
from structlog.testing import capture_logs


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


async def short(seconds: float) -> int:
    await asyncio.sleep(seconds)
    return 42


@pytest.mark.parametrize("seconds", [0.0, 0.02])
async def test_short_work_answers_in_the_callers_own_task(seconds: float) -> None:
    task = asyncio.current_task()

    async def answer() -> int:
        assert asyncio.current_task() is task
        return await short(seconds)

    assert await ended_by_hangup(Caller(), answer()) == 42
    await asyncio.sleep(0.02)  # whatever still looked for the client would be seen now
    assert asyncio.all_tasks() == {task}


async def test_hangup_ends_short_work_and_the_task_goes_on() -> None:
    caller, work = Caller(), Work()
    asyncio.get_running_loop().call_later(0.02, caller.leaves.set)
    with pytest.raises(ClientHungUp):
        await ended_by_hangup(caller, work.run())
    assert work.has_cleaned_up
    assert await short(0.01) == 42


async def test_cancellation_from_elsewhere_is_no_hangup() -> None:
    work = Work()
    task = asyncio.create_task(ended_by_hangup(Caller(), work.run()))
    await work.has_begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert work.has_cleaned_up


async def test_cancellation_beside_a_hangup_is_passed_on() -> None:
    caller, work = Caller(), Work()
    task = asyncio.create_task(ended_by_hangup(caller, work.run()))
    await asyncio.sleep(0.02)
    caller.leaves.set()
    while not task.cancelling():  # noqa: ASYNC110  # it must be met in this very moment
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_hangup_in_the_moment_of_the_answer_hurts_nobody() -> None:
    caller = Caller()

    async def answer() -> int:
        await asyncio.sleep(0.02)
        caller.leaves.set()
        await asyncio.sleep(0)  # the client is seen to have gone as the answer is given
        return 42

    assert await ended_by_hangup(caller, answer()) == 42
    assert await short(0.01) == 42


@pytest.mark.parametrize(
    ("error", "events"),
    [(UpstreamUnavailable("gone"), []), (KeyError("bug"), ["abandoned_work.failed"])],
)
async def test_work_that_fails_after_the_hangup_is_told_of_only_where_it_should_not(
    error: Exception, events: list[str]
) -> None:
    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            raise error

    untold: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: untold.append(context))
    caller = Caller()
    caller.leaves.set()
    with capture_logs() as logs, pytest.raises(ClientHungUp):
        await until_hangup(caller, work())
    gc.collect()
    assert [line["event"] for line in logs] == events
    assert untold == []
