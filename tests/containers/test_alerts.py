"""What the stack's own Prometheus sees and says: all targets, a stopped service, a killed one."""

from collections.abc import Iterator

import httpx
import pytest
from stack_support.containers import OURS, Containers, run
from stack_support.host_process import kill
from stack_support.prometheus import TARGETS, RunningPrometheus
from stack_support.waiting import wait_until

pytestmark = [pytest.mark.stack, pytest.mark.timeout(900)]

SHOWS_WITHIN = 30.0
FIRES_WITHIN = 120.0
CLEARS_WITHIN = 60.0


@pytest.fixture
def prometheus(stack: Containers) -> Iterator[RunningPrometheus]:
    """Ask the container; the tests before may have left services that are just coming back."""
    stack.wait_healthy(*OURS, "prometheus")
    with httpx.Client(base_url=stack.url("PROMETHEUS"), timeout=10, trust_env=False) as http:
        asked = RunningPrometheus(http)
        wait_until(
            lambda: not asked.unhealthy_targets() and not down(asked),
            within=SHOWS_WITHIN + CLEARS_WITHIN,
            what="all targets are scraped and no service is said to be down",
        )
        yield asked


def down(prometheus: RunningPrometheus) -> set[str]:
    """Give the services for which `TargetDown` fires."""
    return {service for name, service in prometheus.firing() if name == "TargetDown"}


def test_all_services_are_scraped_and_all_rules_evaluated(prometheus: RunningPrometheus) -> None:
    labels = prometheus.ask("/api/v1/label/service/values", **{"match[]": "up"})

    assert {*TARGETS, "embedded-model", "prometheus"} <= set(labels)
    assert prometheus.unhealthy_rules() == []


def test_stopped_container_shows_fires_and_clears(
    stack: Containers, prometheus: RunningPrometheus
) -> None:
    identity = stack.id_of("time-client")
    run("docker", "stop", "--time", "20", identity, seconds=60)
    try:
        wait_until(
            lambda: prometheus.now('up{service="time-client"}') == [0.0],
            within=SHOWS_WITHIN,
            what="the stopped service shows as down",
        )
        wait_until(
            lambda: "time-client" in down(prometheus), within=FIRES_WITHIN, what="its alert fires"
        )
    finally:
        run("docker", "start", identity)
    wait_until(
        lambda: "time-client" not in down(prometheus), within=CLEARS_WITHIN, what="it clears"
    )


def test_killed_process_shows_as_a_restart(
    stack: Containers, prometheus: RunningPrometheus
) -> None:
    def restarts() -> float:
        query = 'sum(changes(process_start_time_seconds{service="code-executor"}[1h]))'
        return sum(prometheus.now(query))

    before = restarts()
    inspected = stack.inspect("code-executor")
    kill(int(inspected["State"]["Pid"]))
    wait_until(
        lambda: stack.inspect("code-executor")["RestartCount"] > inspected["RestartCount"],
        within=SHOWS_WITHIN,
        what="it is started again",
    )
    stack.wait_healthy("code-executor")
    wait_until(lambda: restarts() > before, within=SHOWS_WITHIN, what="the restart shows")
    assert "code-executor" not in down(prometheus)
