"""What the stack's Prometheus sees and sends on: all targets, a stopped service, a killed one."""

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from stack_support.chats import chats
from stack_support.containers import OURS, Containers, run
from stack_support.figures import note
from stack_support.host_process import kill
from stack_support.prometheus import TARGETS, RunningPrometheus
from stack_support.terminal import assert_shell_opens
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
    """A container in the stack's network to which the Alertmanager sends.

    `stack` is what a shell with the profiles of Grafana and the Alertmanager sees.
    """

    name: str
    stack: Containers

    def alerts(self) -> set[tuple[str, str, str]]:
        """Give the status, name and service of each alert that has arrived."""
        said = run("docker", "exec", self.name, "python3", "-I", "-c", _RECEIVED)
        sent: list[dict[str, Any]] = json.loads(said)
        return {
            (alert["status"], alert["labels"]["alertname"], alert["labels"].get("service", ""))
            for notification in sent
            for alert in notification["alerts"]
        }


@pytest.fixture(scope="module")
def receiver(stack: Containers, grafana_image: str) -> Iterator[Receiver]:
    """Grafana, and alerts that are sent on, as somebody sets it up: a profile and a receiver."""
    name = f"{stack.project}-receiver"
    path = stack.folder / "monitoring" / "alertmanager" / "alertmanager.yml"
    as_it_is = path.read_text(encoding="utf-8")
    webhook = f"- name: page-only\n    webhook_configs: [{{url: 'http://{name}:8000/'}}]"
    text = as_it_is.replace("- name: page-only", webhook)
    # What is over is told with the group's next message, in a minute.
    path.write_text(text.replace("group_interval: 1m", "group_interval: 5s"), encoding="utf-8")
    watching = stack.with_settings(
        COMPOSE_PROFILES="alerting,embedded", GRAFANA_IMAGE=grafana_image
    )
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
        watching.compose("up", "-d", "alertmanager", "grafana")
        watching.wait_healthy("alertmanager", "grafana")
        yield Receiver(name, watching)
    finally:
        watching.compose("rm", "--stop", "--force", "alertmanager", "grafana")
        run("docker", "rm", "--force", "--volumes", name)
        path.write_text(as_it_is, encoding="utf-8")
        # It would miss them for a day.
        stack.compose("restart", "prometheus")
        stack.wait_healthy("prometheus")


def await_alerts(prometheus: RunningPrometheus, *wanted: tuple[str, str], begun: float) -> None:
    """Wait until each of the alerts fires, and note when it did; `begun` is when the stop was."""
    for alert in wanted:
        wait_until(
            lambda: alert in prometheus.firing(),  # noqa: B023  # used at once
            within=FIRES_WITHIN - (time.monotonic() - begun),
            what=f"{alert} fires",
        )
        note(f"{alert} fires after {time.monotonic() - begun:.0f} s or less")


def test_all_services_are_scraped_and_all_rules_evaluated(
    prometheus: RunningPrometheus, receiver: Receiver
) -> None:
    expected = {*TARGETS, "embedded-model", "grafana", "alertmanager"}
    wait_until(lambda: prometheus.shown(1) >= expected, within=SHOWS_WITHIN, what="all are scraped")
    assert prometheus.unhealthy_targets() == []
    assert prometheus.unhealthy_rules() == []


def test_a_shell_opens_in_the_alertmanagers_container(receiver: Receiver) -> None:
    assert_shell_opens(receiver.stack, "alertmanager")


def test_stopped_and_hung_containers_show_fire_are_told_and_clear(
    stack: Containers, prometheus: RunningPrometheus, receiver: Receiver
) -> None:
    stopped = [stack.id_of("time-client"), stack.id_of("grafana")]
    # It hangs: its name stays, and whoever asks it waits. So does the middleware's own check.
    hung = stack.id_of("embedded-model")
    away = {"time-client", "grafana", "embedded-model"}
    begun = time.monotonic()
    run("docker", "pause", hung)
    run("docker", "stop", "--time", "20", *stopped, seconds=60)
    try:
        wait_until(
            lambda: prometheus.shown(0) == away, within=SHOWS_WITHIN, what="they show as down"
        )
        alerts = sorted(("TargetDown", service) for service in away)
        note(f"shown as down after {time.monotonic() - begun:.0f} s")
        await_alerts(prometheus, *alerts, ("DependencyDown", "middleware"), begun=begun)
        wait_until(
            lambda: {("firing", *alert) for alert in alerts} <= receiver.alerts(),
            within=ARRIVES_WITHIN,
            what="their alerts arrive at the receiver",
        )
    finally:
        run("docker", "start", *stopped)
        run("docker", "unpause", hung)
    wait_until(lambda: not down(prometheus), within=CLEARS_WITHIN, what="they clear")
    wait_until(
        lambda: {("resolved", *alert) for alert in alerts} <= receiver.alerts(),
        within=ARRIVES_WITHIN,
        what="the receiver is told that it is over",
    )


def test_alertmanager_that_stops_is_told_of_by_prometheus(
    stack: Containers, prometheus: RunningPrometheus, receiver: Receiver
) -> None:
    identity, begun = stack.id_of("alertmanager"), time.monotonic()
    run("docker", "stop", "--time", "20", identity, seconds=60)
    try:
        await_alerts(prometheus, ("TargetDown", "alertmanager"), begun=begun)
    finally:
        run("docker", "start", identity)
    wait_until(lambda: not down(prometheus), within=CLEARS_WITHIN, what="it clears")


def test_killed_process_shows_as_a_restart(
    stack: Containers, prometheus: RunningPrometheus, receiver: Receiver
) -> None:
    killed = ("code-executor", "grafana", "sandbox-runner")

    def restarts(service: str) -> float:
        starts = f'process_start_time_seconds{{service="{service}"}}'
        if service == "sandbox-runner":  # without a network it has no metrics of its own
            starts = "sandbox_runner_start_time_seconds"
        return sum(prometheus.now(f"sum(changes({starts}[1h]))"))

    before = {service: restarts(service) for service in killed}
    inspected = {service: stack.inspect(service) for service in killed}
    for service in killed:
        kill(int(inspected[service]["State"]["Pid"]))
    for service in killed:
        count = inspected[service]["RestartCount"]
        wait_until(
            lambda: stack.inspect(service)["RestartCount"] > count,  # noqa: B023  # used at once
            within=SHOWS_WITHIN,
            what=f"{service} is started again",
        )
    stack.wait_healthy(*killed)
    wait_until(
        lambda: all(restarts(service) > before[service] for service in killed),
        within=SHOWS_WITHIN,
        what="the restarts show",
    )
    assert not down(prometheus)


def test_no_chat_minds_what_is_done_to_those_who_watch(receiver: Receiver) -> None:
    watchers = ("prometheus", "grafana", "alertmanager")
    stack = receiver.stack
    before = {name: stack.inspect(name) for name in watchers}
    identities = [state["Id"] for state in before.values()]

    with chats(stack) as chatter:
        for state in before.values():
            kill(int(state["State"]["Pid"]))
        for name, state in before.items():
            count = state["RestartCount"]
            wait_until(
                lambda: stack.inspect(name)["RestartCount"] > count,  # noqa: B023  # used at once
                within=SHOWS_WITHIN,
                what=f"{name} is started again",
            )
        stack.wait_healthy(*watchers)
        run("docker", "restart", *identities, seconds=90)
        stack.wait_healthy(*watchers)
        run("docker", "stop", "--time", "20", *identities, seconds=90)
        codes = {name: stack.inspect(name)["State"]["ExitCode"] for name in watchers}
        run("docker", "start", *identities)
        stack.wait_healthy(*watchers)

    assert set(codes.values()) <= {0, 143}, codes
    assert {status for status, _ in chatter.endings} == {200}
    for name in watchers:
        assert stack.inspect(name)["Id"] == before[name]["Id"]


def test_killed_prometheus_comes_back_with_what_it_had_and_misses_nothing_that_is_gone(
    stack: Containers, prometheus: RunningPrometheus, receiver: Receiver
) -> None:
    def samples() -> float:
        return sum(prometheus.now('count_over_time(up{service="middleware"}[1h])'))

    # From now on somebody does without it. A Prometheus that starts anew does not miss it.
    receiver.stack.compose("rm", "--stop", "--force", "grafana")
    wait_until(
        lambda: "grafana" in prometheus.shown(0), within=SHOWS_WITHIN, what="Grafana shows as down"
    )
    before, inspected = samples(), stack.inspect("prometheus")
    kill(int(inspected["State"]["Pid"]))
    wait_until(
        lambda: stack.inspect("prometheus")["RestartCount"] > inspected["RestartCount"],
        within=SHOWS_WITHIN,
        what="it is started again",
    )
    stack.wait_healthy("prometheus")

    assert samples() >= before > 0
    wait_until(
        # It has to have asked itself when it started, which takes up to a round of scrapes.
        lambda: "grafana" not in prometheus.shown(0),
        within=2 * SHOWS_WITHIN,
        what="Grafana is missed no more",
    )
