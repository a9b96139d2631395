"""What is down is looked at at once, and less and less often while it stays down."""

import asyncio

import pytest
from servicekit.errors import StackError
from servicekit.health import (
    CHECK_SECONDS,
    MAX_RECHECK_SECONDS,
    RECHECK_SECONDS,
    Dependency,
    HealthMonitor,
)


class Neighbour:
    """A dependency that is down for some looks."""

    def __init__(self, looks_down: int) -> None:
        self.looks_down = looks_down

    async def check(self) -> None:
        self.looks_down -= 1
        if self.looks_down >= 0:
            raise StackError("Down.")


async def pauses_of(monkeypatch: pytest.MonkeyPatch, looks_down: int, looks: int) -> list[float]:
    """Let a monitor look so often, without any waiting; give its pauses in seconds."""
    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == looks:
            raise asyncio.CancelledError

    neighbour = Neighbour(looks_down)
    monitor = HealthMonitor(
        service="s", version="0", dependencies=[Dependency("neighbour", neighbour.check)]
    )
    monkeypatch.setattr(asyncio, "sleep", sleep)
    with pytest.raises(asyncio.CancelledError):
        await monitor._watch()
    return pauses


async def test_what_stays_down_is_looked_at_less_often(monkeypatch):
    pauses = await pauses_of(monkeypatch, looks_down=99, looks=20)
    assert pauses[0] == RECHECK_SECONDS
    assert pauses == sorted(pauses)
    assert pauses[-1] == MAX_RECHECK_SECONDS


async def test_what_goes_down_again_is_looked_at_often_again(monkeypatch):
    assert await pauses_of(monkeypatch, looks_down=0, looks=2) == [CHECK_SECONDS] * 2
    pauses = await pauses_of(monkeypatch, looks_down=3, looks=5)
    assert pauses[3:] == [CHECK_SECONDS] * 2
