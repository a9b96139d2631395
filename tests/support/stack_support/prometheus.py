"""A real Prometheus with the product's own configuration, on free ports."""

import json
import math
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from stack_support.debian_programs import Programs
from stack_support.running_stack import RunningStack, free_ports
from stack_support.waiting import wait_until

ROOT = Path(__file__).resolve().parents[3]
CONFIGURATION = ROOT / "monitoring" / "prometheus"
# How the containers are named in the configuration, by service.
TARGETS = {
    "mcp-server": "mcp-server:8000",
    "middleware": "middleware:8002",
    "sandbox": "sandbox:8001",
    "code-executor": "code-executor:8002",
    "time-client": "time-client:8003",
}
_START_SECONDS = 30.0
_OVERVIEW = ROOT / "monitoring" / "grafana" / "dashboards" / "mcp-overview.json"
_GRAFANA = ROOT / "tests" / "support" / "grafana" / "serve.py"


@dataclass
class GrafanaStandIn:
    """What Prometheus sees of Grafana: its metrics, and a name that goes when its container stops.

    A file that Prometheus reads takes the place of Docker's DNS.
    """

    found: Path
    port: int
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, with its name."""
        self.process = subprocess.Popen([sys.executable, "-I", _GRAFANA, str(self.port)])
        self._resolves_to([{"targets": [f"127.0.0.1:{self.port}"]}])

    def stop(self) -> None:
        """Stop it; its name goes too."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(timeout=5)
            self.process = None
        self._resolves_to([])

    def _resolves_to(self, groups: list[dict[str, list[str]]]) -> None:
        written = self.found.with_suffix(".new")
        written.write_text(json.dumps(groups), encoding="utf-8")
        written.replace(self.found)


@contextmanager
def grafana_standin(folder: Path) -> Iterator[GrafanaStandIn]:
    """Run a stand-in for Grafana; what `running_prometheus` is given as `grafana`."""
    (port,) = free_ports(1)
    grafana = GrafanaStandIn(folder / "grafana.json", port)
    grafana.start()
    try:
        yield grafana
    finally:
        grafana.stop()


@dataclass(frozen=True)
class RunningPrometheus:
    """A Prometheus that scrapes a stack."""

    http: httpx.Client

    def ask(self, path: str, **parameters: str | float) -> Any:
        """Give the data of an answer of its API; raise `ValueError` with its error."""
        document = self.http.get(path, params=parameters).json()
        if document["status"] != "success":
            raise ValueError(document["error"])
        return document["data"]

    def now(self, query: str) -> list[float]:
        """Give a query's values of now; NaN is no value."""
        result = self.ask("/api/v1/query", query=query)["result"]
        return _numbers(series["value"] for series in result)

    def last_minute(self, query: str) -> list[float]:
        """Give a query's values over the last minute; NaN is no value."""
        now = time.time()
        result = self.ask("/api/v1/query_range", query=query, start=now - 60, end=now, step=5)
        return _numbers(sample for series in result["result"] for sample in series["values"])

    def shown(self, state: float) -> set[str]:
        """Give the services that Overview's panel *Services* shows as up (1) or down (0)."""
        result = self.ask("/api/v1/query", query=_services_panel())["result"]
        return {each["metric"]["service"] for each in result if float(each["value"][1]) == state}

    def firing(self) -> set[tuple[str, str]]:
        """Give the alerts that fire, each with the service that it concerns."""
        result = self.ask("/api/v1/query", query='ALERTS{alertstate="firing"}')["result"]
        labels = [each["metric"] for each in result]
        return {(each["alertname"], each.get("service", "")) for each in labels}

    def unhealthy_targets(self) -> list[str]:
        """Give the targets that it can't scrape, with the reason."""
        found = self.ask("/api/v1/targets")["activeTargets"]
        return [
            f"{each['labels']['service']}: {each['health']} {each['lastError']}"
            for each in found
            if each["health"] != "up"
        ]

    def unhealthy_rules(self) -> list[str]:
        """Give the rules that it can't evaluate, with the reason."""
        groups = self.ask("/api/v1/rules")["groups"]
        return [
            f"{rule['name']}: {rule['health']} {rule.get('lastError')}"
            for group in groups
            for rule in group["rules"]
            if rule["health"] != "ok"
        ]


def _services_panel() -> str:
    board = json.loads(_OVERVIEW.read_text(encoding="utf-8"))
    (panel,) = [each for each in board["panels"] if each["title"] == "Services"]
    return str(panel["targets"][0]["expr"])


def _numbers(samples: Iterable[Any]) -> list[float]:
    values = [float(value) for _, value in samples]
    return [value for value in values if not math.isnan(value)]


@contextmanager
def running_prometheus(
    programs: Programs,
    folder: Path,
    stack: RunningStack,
    *,
    grafana: GrafanaStandIn | None = None,
    seconds_between_scrapes: int | None = None,
) -> Iterator[RunningPrometheus]:
    """Run a Prometheus with the product's configuration and this machine's ports.

    Parameters
    ----------
    grafana
        Watched as the one in Compose's network is; none if None.
    seconds_between_scrapes
        Also between evaluations; the configuration's own if None.
    """
    (port,) = free_ports(1)
    text = _configuration(stack, port, grafana, seconds_between_scrapes)
    shutil.copytree(CONFIGURATION, folder / "config", dirs_exist_ok=True)
    config = folder / "config" / "prometheus.yml"
    config.write_text(text, encoding="utf-8")
    command = [
        programs.prometheus,
        f"--config.file={config}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--log.level=warn",
    ]
    with _running(command, folder / "prometheus.log", port) as http:
        yield RunningPrometheus(http)


def _configuration(
    stack: RunningStack, own_port: int, grafana: GrafanaStandIn | None, seconds: int | None
) -> str:
    text = (CONFIGURATION / "prometheus.yml").read_text(encoding="utf-8")
    addresses = {TARGETS[name]: f"127.0.0.1:{stack.ports[name]}" for name in TARGETS}
    for named, real in {**addresses, "localhost:9090": f"127.0.0.1:{own_port}"}.items():
        text = _replaced(re.escape(named), real, text)
    # Names that only Compose's network knows. The launcher starts no embedded model beside
    # another one.
    text = _without_discovery(text, "embedded-model")
    # Where alerts go, and a target.
    text = _without_discovery(text, "alertmanager", times=2)
    if grafana is None:
        text = _without_discovery(text, "grafana")
    else:
        files = f"file_sd_configs: [{{files: [{grafana.found}], refresh_interval: 1s}}]"
        text = _without_discovery(text, "grafana", instead=files)
        text = _replaced("grafana:3000", f"127.0.0.1:{grafana.port}", text, times=2)
    if seconds is not None:
        pattern = r"(scrape_interval|scrape_timeout|evaluation_interval): \d+s"
        text = re.sub(pattern, rf"\g<1>: {seconds}s", text)
    return text


def _without_discovery(
    text: str, name: str, *, instead: str = "static_configs: []", times: int = 1
) -> str:
    pattern = rf'^( +)(- )?dns_sd_configs:\n +- names: \["{name}\."\]\n(?:\1  +[a-z_]+: .*\n)+'
    return _replaced(pattern, rf"\g<1>\g<2>{instead}\n", text, times=times)


def _replaced(pattern: str, instead: str, text: str, *, times: int = 1) -> str:
    text, count = re.subn(pattern, instead, text, flags=re.MULTILINE)
    assert count == times, f"{count} times in prometheus.yml: {pattern}"
    return text


@contextmanager
def _running(command: list[str], log_path: Path, port: int) -> Iterator[httpx.Client]:
    with log_path.open("wb") as log:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
        )
    http = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=10, trust_env=False)

    def is_ready() -> bool:
        assert process.poll() is None, log_path.read_text(encoding="utf-8")
        try:
            return http.get("/-/ready").status_code == 200
        except httpx.TransportError:
            return False

    try:
        wait_until(is_ready, within=_START_SECONDS, what=f"{Path(command[0]).name} is ready")
        yield http
    finally:
        http.close()
        process.terminate()
        try:
            process.wait(timeout=15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(timeout=5)
