"""What the stack's Prometheus sees and sends on: all targets, a stopped service, a killed one."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

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
# Beyond the alert itself: Prometheus looks for the Alertmanager each half minute, which then waits
# ten seconds for others of the group.
ARRIVES_WITHIN = 60.0


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


# Keeps what it is sent, and gives it back to whoever asks.
_RECEIVER = """
import http.server
class Handler(http.server.BaseHTTPRequestHandler):
    got = []
    def do_POST(self):
        self.got.append(self.rfile.read(int(self.headers['content-length'])).decode())
        self.send_response(200)
        self.end_headers()
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(('[' + ','.join(self.got) + ']').encode())
http.server.ThreadingHTTPServer(('0.0.0.0', 8000), Handler).serve_forever()
"""
_RECEIVED = """
import urllib.request
print(urllib.request.urlopen('http://127.0.0.1:8000', timeout=5).read().decode())
"""


@dataclass(frozen=True)
class Receiver:
    """A container in the stack's network to which the Alertmanager sends."""

    name: str

    def alerts(self) -> set[tuple[str, str, str]]:
        """Give the status, name and service of each alert that has arrived."""
        said = run("docker", "exec", self.name, "python3", "-I", "-c", _RECEIVED)
        sent: list[dict[str, Any]] = json.loads(said)
        return {
            (alert["status"], alert["labels"]["alertname"], alert["labels"].get("service", ""))
            for notification in sent
            for alert in notification["alerts"]
        }


@pytest.fixture
def receiver(stack: Containers) -> Iterator[Receiver]:
    """Alerts are sent on, as somebody sets it up: the profile, and a receiver in the file."""
    name = f"{stack.project}-receiver"
    path = stack.folder / "monitoring" / "alertmanager" / "alertmanager.yml"
    as_it_is = path.read_text(encoding="utf-8")
    webhook = f"- name: page-only\n    webhook_configs: [{{url: 'http://{name}:8000/'}}]"
    text = as_it_is.replace("- name: page-only", webhook)
    # What is over is told with the group's next message, in a minute.
    path.write_text(text.replace("group_interval: 1m", "group_interval: 5s"), encoding="utf-8")
    alerting = stack.with_settings(COMPOSE_PROFILES="alerting,embedded,no-grafana")
    container = (
        "docker",
        "run",
        "--detach",
        "--name",
        name,
        "--network",
        f"{stack.project}_default",
    )
    try:
        run(*container, stack.env["PYTHON_IMAGE"], "python3", "-I", "-c", _RECEIVER)
        alerting.compose("up", "-d", "alertmanager")
        alerting.wait_healthy("alertmanager")
        yield Receiver(name)
    finally:
        alerting.compose("rm", "--stop", "--force", "alertmanager")
        run("docker", "rm", "--force", "--volumes", name)
        path.write_text(as_it_is, encoding="utf-8")


def test_all_services_are_scraped_and_all_rules_evaluated(prometheus: RunningPrometheus) -> None:
    labels = prometheus.ask("/api/v1/label/service/values", **{"match[]": "up"})

    assert {*TARGETS, "embedded-model", "prometheus"} <= set(labels)
    assert prometheus.unhealthy_rules() == []


def test_stopped_container_shows_fires_is_told_and_clears(
    stack: Containers, prometheus: RunningPrometheus, receiver: Receiver
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
        wait_until(
            lambda: ("firing", "TargetDown", "time-client") in receiver.alerts(),
            within=ARRIVES_WITHIN,
            what="its alert arrives at the receiver",
        )
    finally:
        run("docker", "start", identity)
    wait_until(
        lambda: "time-client" not in down(prometheus), within=CLEARS_WITHIN, what="it clears"
    )
    wait_until(
        lambda: ("resolved", "TargetDown", "time-client") in receiver.alerts(),
        within=ARRIVES_WITHIN,
        what="the receiver is told that it is over",
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


def test_killed_prometheus_comes_back_with_what_it_had(
    stack: Containers, prometheus: RunningPrometheus
) -> None:
    def samples() -> float:
        return sum(prometheus.now('count_over_time(up{service="middleware"}[1h])'))

    before, inspected = samples(), stack.inspect("prometheus")
    kill(int(inspected["State"]["Pid"]))
    wait_until(
        lambda: stack.inspect("prometheus")["RestartCount"] > inspected["RestartCount"],
        within=SHOWS_WITHIN,
        what="it is started again",
    )
    stack.wait_healthy("prometheus")

    assert samples() >= before > 0
