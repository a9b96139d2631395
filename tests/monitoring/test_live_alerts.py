"""A service that stops is seen, told of, and forgiven, within the times that were promised."""

import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from stack_support.debian_programs import Programs
from stack_support.figures import note
from stack_support.prometheus import (
    RunningPrometheus,
    running_prometheus,
)
from stack_support.running_stack import RunningStack, running_stack
from stack_support.waiting import wait_until

pytestmark = [pytest.mark.stack, pytest.mark.timeout(300)]

SHOWS_WITHIN = 30.0
FIRES_WITHIN = 120.0
CLEARS_WITHIN = 60.0
DOWN = ("TargetDown", "time-client")


@dataclass(frozen=True)
class Watched:
    """A stack with what watches it."""

    stack: RunningStack
    prometheus: RunningPrometheus

    def pid(self, service: str) -> int:
        pid = self.stack.pid(service)
        assert pid is not None, service
        return pid


@pytest.fixture(scope="module")
def watched(programs: Programs, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    folder = tmp_path_factory.mktemp("alerts")
    with (
        running_stack(folder / "stack") as stack,
        running_prometheus(programs, folder, stack) as prometheus,
    ):
        wait_until(
            lambda: prometheus.now('count(up{job="mcp-stack"} == 1)') == [5.0],
            within=SHOWS_WITHIN,
            what="all services are scraped",
        )
        yield Watched(stack, prometheus)


def test_stopped_service_shows_fires_and_clears_and_a_killed_one_is_a_restart(
    watched: Watched,
) -> None:
    prometheus = watched.prometheus
    assert prometheus.firing() == set()

    def restarts() -> list[float]:
        return prometheus.now(
            'sum(changes(process_start_time_seconds{service="code-executor"}[1h]))'
        )

    assert restarts() == [0.0]
    os.kill(watched.pid("code-executor"), signal.SIGKILL)
    # Frozen, not ended: the launcher would start it anew within a second.
    stopped = watched.pid("time-client")
    os.kill(stopped, signal.SIGSTOP)
    begun = time.monotonic()
    try:
        wait_until(
            lambda: prometheus.now('up{service="time-client"}') == [0.0],
            within=SHOWS_WITHIN,
            what="the stopped service shows as down",
        )
        note(f"shown as down after {time.monotonic() - begun:.0f} s")
        wait_until(
            lambda: restarts() == [1.0], within=SHOWS_WITHIN, what="the killed service shows"
        )
        wait_until(lambda: DOWN in prometheus.firing(), within=FIRES_WITHIN, what="its alert fires")
        note(f"its alert fires after {time.monotonic() - begun:.0f} s")
    finally:
        os.kill(stopped, signal.SIGCONT)
    begun = time.monotonic()
    wait_until(
        lambda: DOWN not in prometheus.firing(), within=CLEARS_WITHIN, what="its alert clears"
    )
    note(f"cleared after {time.monotonic() - begun:.0f} s")
    # A restart of the stack's own making is no reason to call anybody.
    assert ("TargetDown", "code-executor") not in prometheus.firing()
