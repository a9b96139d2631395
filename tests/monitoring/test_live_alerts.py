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
    GrafanaStandIn,
    RunningPrometheus,
    grafana_standin,
    running_prometheus,
)
from stack_support.running_stack import RunningStack, running_stack
from stack_support.waiting import wait_until

pytestmark = [pytest.mark.stack, pytest.mark.timeout(300)]

SHOWS_WITHIN = 30.0
FIRES_WITHIN = 120.0
CLEARS_WITHIN = 60.0
DOWN = ("TargetDown", "time-client")
# Its name goes with it, so that nothing is left to be asked.
GRAFANA_DOWN = ("TargetDown", "grafana")
# The middleware tells of its model, whether or not anybody chats.
MODEL_DOWN = ("DependencyDown", "middleware")
ALL = {DOWN, GRAFANA_DOWN, MODEL_DOWN}


@dataclass(frozen=True)
class Watched:
    """A stack with what watches it."""

    stack: RunningStack
    prometheus: RunningPrometheus
    grafana: GrafanaStandIn

    def pid(self, service: str) -> int:
        pid = self.stack.pid(service)
        assert pid is not None, service
        return pid


@pytest.fixture(scope="module")
def watched(programs: Programs, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    folder = tmp_path_factory.mktemp("alerts")
    with (
        running_stack(folder / "stack") as stack,
        grafana_standin(folder) as grafana,
        running_prometheus(programs, folder, stack, grafana=grafana) as prometheus,
    ):
        wait_until(
            lambda: prometheus.now('count(up{job="mcp-stack"} == 1)') == [6.0],
            within=SHOWS_WITHIN,
            what="all services are scraped",
        )
        yield Watched(stack, prometheus, grafana)


def test_stopped_service_shows_fires_and_clears_and_a_killed_one_is_a_restart(
    watched: Watched,
) -> None:
    prometheus = watched.prometheus
    assert prometheus.firing() == set()

    def restarts(service: str) -> list[float]:
        return prometheus.now(f'changes(process_start_time_seconds{{service="{service}"}}[1h])')

    assert restarts("code-executor") == restarts("grafana") == [0.0]
    # Of Grafana's own metrics none is kept.
    assert prometheus.now("grafana_http_request_in_flight") == []
    os.kill(watched.pid("code-executor"), signal.SIGKILL)
    # Frozen, not ended: the launcher would start them anew within a second.
    frozen = [watched.pid("time-client"), watched.pid("embedded-model")]
    for pid in frozen:
        os.kill(pid, signal.SIGSTOP)
    watched.grafana.stop()
    begun = time.monotonic()
    try:
        wait_until(
            lambda: prometheus.shown(0) >= {"time-client", "grafana"},
            within=SHOWS_WITHIN,
            what="the stopped services show as down",
        )
        note(f"shown as down after {time.monotonic() - begun:.0f} s")
        wait_until(
            lambda: restarts("code-executor") == [1.0],
            within=SHOWS_WITHIN,
            what="the killed service shows",
        )
        for alert in sorted(ALL):
            wait_until(
                lambda: alert in prometheus.firing(),  # noqa: B023  # used at once
                within=FIRES_WITHIN - (time.monotonic() - begun),
                what=f"{alert} fires",
            )
            note(f"{alert} fires after {time.monotonic() - begun:.0f} s or less")
        assert prometheus.now('up{service="grafana"}') == []
    finally:
        for pid in frozen:
            os.kill(pid, signal.SIGCONT)
        watched.grafana.start()
    begun = time.monotonic()
    wait_until(lambda: not ALL & prometheus.firing(), within=CLEARS_WITHIN, what="the alerts clear")
    note(f"cleared after {time.monotonic() - begun:.0f} s")
    assert "grafana" in prometheus.shown(1)
    assert restarts("grafana") == [1.0]
    # A restart of the stack's own making is no reason to call anybody.
    assert ("TargetDown", "code-executor") not in prometheus.firing()
