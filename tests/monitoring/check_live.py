"""What needs Prometheus itself: unit tests of the rules, and no panel empty after a real load.

Usage: python tests/monitoring/check_live.py [--tools DIRECTORY] [--seconds N]

DIRECTORY holds `prometheus` and `promtool`; without it they are looked for on the path. Starts a
stack and a Prometheus on free ports, and ends both. The exit status is 1 when something fails.
"""

import argparse
import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "support"))

from stack_support.model_standin import (  # noqa: E402  # found by the line above
    MODEL,
    Calls,
    CutsOff,
    Refuses,
    Says,
    Stalls,
    StandInModel,
    model_standin,
)
from stack_support.running_stack import (  # noqa: E402  # found by the line above
    RunningStack,
    free_ports,
    running_stack,
)
from stack_support.waiting import wait_until  # noqa: E402  # found by the line above

PROMETHEUS = ROOT / "monitoring" / "prometheus"
DASHBOARDS = sorted((ROOT / "monitoring" / "grafana" / "dashboards").glob("*.json"))
RULE_TESTS = sorted((ROOT / "tests" / "monitoring" / "rules").glob("*.yml"))
VARIABLES = {"__rate_interval": "1m", "__range": "15m", "__interval": "5s"}
PORTS = {
    "mcp-server": "mcp-server:8000",
    "middleware": "middleware:8002",
    "sandbox": "sandbox:8001",
    "code-executor": "code-executor:8002",
    "time-client": "time-client:8003",
}
# What the load below has to bring about: an upstream that never was there, a model that fails.
EXPECTED_ALERTS = {"UpstreamDown", "ModelFailing", "ErrorBudgetBurnsFast", "SandboxRefusesRuns"}
CHAT_SECONDS = 5.0


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


@dataclass(frozen=True)
class Tools:
    """Where the two programs are."""

    prometheus: str
    promtool: str

    @classmethod
    def found(cls, folder: str | None) -> "Tools":
        paths = [shutil.which(name, path=folder) for name in ("prometheus", "promtool")]
        if None in paths:
            raise SystemExit(
                "prometheus and promtool are not there. Install them, or unpack Debian's packages "
                "of these names with `dpkg-deb -x` and give their folder with --tools."
            )
        return cls(*(str(path) for path in paths))


@dataclass(frozen=True)
class Asked:
    """One panel's query with its variables filled in."""

    where: str
    expression: str
    is_instant: bool


def asked() -> list[Asked]:
    found = []
    for path in DASHBOARDS:
        board = json.loads(path.read_text(encoding="utf-8"))
        values = VARIABLES | {each["name"]: ".*" for each in board["templating"]["list"]}
        for panel in board["panels"]:
            for target in panel["targets"]:
                filled = re.sub(r"\$(\w+)", lambda m: values[m[1]], target["expr"])  # noqa: B023  # used at once
                where = f"{board['title']}: {panel['title']} [{target['legendFormat']}]"
                found.append(Asked(where, filled, target["instant"]))
    return found


# -- without a stack --------------------------------------------------------------------------


def check_rules(tools: Tools) -> int:
    failures = 0
    for arguments in (
        ("check", "config", str(PROMETHEUS / "prometheus.yml")),
        ("test", "rules", *(str(path) for path in RULE_TESTS)),
    ):
        done = subprocess.run(
            [tools.promtool, *arguments], capture_output=True, text=True, timeout=120, check=False
        )
        say(f"promtool {' '.join(arguments[:2])}: {'ok' if done.returncode == 0 else 'FAILED'}")
        if done.returncode:
            failures += 1
            say(done.stdout + done.stderr)
    return failures


# -- a Prometheus that scrapes the stack ------------------------------------------------------


def write_config(folder: Path, stack: RunningStack, own_port: int) -> Path:
    """Copy the configuration, with this machine's ports in place of the containers' names."""
    shutil.copytree(PROMETHEUS, folder, dirs_exist_ok=True)
    path = folder / "prometheus.yml"
    text = path.read_text(encoding="utf-8")
    for service, target in PORTS.items():
        assert target in text, target
        text = text.replace(target, f"127.0.0.1:{stack.ports[service]}")
    text = text.replace("localhost:9090", f"127.0.0.1:{own_port}")
    text, replaced = re.subn(
        r"    dns_sd_configs:\n      - names: \[embedded-model\]\n(?:        .*\n)+",
        # The launcher starts none beside another model.
        "    static_configs: []\n",
        text,
    )
    assert replaced == 1
    # Faster than in earnest: the check shall not take long.
    text = re.sub(r"(scrape_interval|scrape_timeout|evaluation_interval): \d+s", r"\1: 2s", text)
    path.write_text(text, encoding="utf-8")
    return path


@contextmanager
def prometheus(tools: Tools, folder: Path, stack: RunningStack) -> Iterator[httpx.Client]:
    port = free_ports(1)[0]
    config = write_config(folder / "config", stack, port)
    log_path = folder / "prometheus.log"
    with log_path.open("wb") as log:
        process = subprocess.Popen(
            [
                tools.prometheus,
                f"--config.file={config}",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address=127.0.0.1:{port}",
                "--log.level=warn",
            ],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    http = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=10, trust_env=False)

    def is_ready() -> bool:
        assert process.poll() is None, log_path.read_text(encoding="utf-8")
        try:
            return http.get("/-/ready").status_code == 200
        except httpx.TransportError:
            return False

    try:
        wait_until(is_ready, within=30, what="Prometheus is ready")
        yield http
    finally:
        http.close()
        process.terminate()
        try:
            process.wait(timeout=15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(timeout=5)
        say("".join(f"prometheus: {line}\n" for line in log_path.read_text().splitlines()[:20]))


# -- a load with everything in it -------------------------------------------------------------

_HOG = "blocks = []\nwhile True:\n    blocks.append(bytearray(32 << 20))"


def one_round(stack: RunningStack, model: StandInModel) -> None:
    """Make chats and calls that succeed, fail, are refused, take too long and are killed."""
    code = {"code": "print(6*7)"}
    for steps in (
        (Calls((("execute_code", code), ("get_current_time", {}))), Says("It is 42.")),
        (Says("Good morning."),),
        (Calls((("no_such_tool", {}),)), Calls((("execute_code", "{"),)), Says("I can't.")),
        (Refuses(500, "out of luck"),),
        (CutsOff(),),
    ):
        model.will(*steps)
        stack.post_chat("Please help me.")
    stack.execute("execute_code", code="1/0")
    stack.execute("execute_code", code="while True: pass", timeout_seconds=0.5)
    stack.execute("execute_code", code=_HOG)
    stack.execute("execute_code", code="import os\nos._exit(3)")
    stack.execute("get_timezone_time", timezone="Asia/Tokyo")
    stack.execute("get_timezone_time", timezone="Nowhere/Land")
    stack.execute("get_current_time", no_such_argument=1)
    stack.execute("install_package", package="../etc")
    stack.execute("install_package", package="no package has this name")
    stack.http.post(f"{stack.url('sandbox')}/packages", json={"package": "reqeusts"})
    stack.http.post(f"{stack.url('mcp-server')}/mcp", json={"not": "MCP"})
    session = stack.http.post(f"{stack.url('sandbox')}/sessions", json={})
    if session.is_success:
        stack.http.delete(f"{stack.url('sandbox')}/sessions/{session.json()['session_id']}")
    crowd = [threading.Thread(target=_sleeper, args=(stack,)) for _ in range(8)]
    for each in crowd:
        each.start()
    for each in crowd:
        each.join(timeout=60)


def _sleeper(stack: RunningStack) -> None:
    with httpx.Client(timeout=30, trust_env=False) as http, suppress(httpx.TransportError):
        body = {"code": "import time\ntime.sleep(0.7)"}
        http.post(f"{stack.url('sandbox')}/execute", json=body)


def slow_model(stack: RunningStack, model: StandInModel) -> None:
    model.will(Stalls(60))
    stack.post_chat("Are you there?")


def kill(stack: RunningStack, program: str) -> None:
    """Kill one program in the middle of work, and wait until the stack has healed."""
    pid = stack.pid(program)
    assert pid is not None, program
    os.kill(pid, signal.SIGKILL)
    with suppress(httpx.TransportError):
        stack.execute("execute_code", code="print(1)")
        stack.execute("get_current_time")
    stack.wait_ready(*PORTS, within=30)


def load(stack: RunningStack, model: StandInModel, prom: httpx.Client, seconds: float) -> None:
    """Keep the load up for a while, and at most a minute more until the alerts fire."""
    begun = time.monotonic()
    slow_model(stack, model)
    rounds = 0
    killed: list[str] = []
    while (went := time.monotonic() - begun) < seconds + 60:
        if went > seconds and firing(prom) >= EXPECTED_ALERTS:
            break
        one_round(stack, model)
        rounds += 1
        for program in ("time-client", "sandbox-runner"):
            if program not in killed and rounds > len(killed) + 1:
                kill(stack, program)
                killed.append(program)
                break
    say(f"load: {rounds} rounds in {time.monotonic() - begun:.0f} s, killed {', '.join(killed)}")


# -- what Prometheus knows afterwards ---------------------------------------------------------


def ask(prom: httpx.Client, path: str, **parameters: str | float) -> Any:
    document = prom.get(path, params=parameters).json()
    if document["status"] != "success":
        raise ValueError(document["error"])
    return document["data"]


def firing(prom: httpx.Client) -> set[str]:
    result = ask(prom, "/api/v1/query", query='ALERTS{alertstate="firing"}')["result"]
    return {each["metric"]["alertname"] for each in result}


def numbers(prom: httpx.Client, query: Asked) -> list[float]:
    """Give the values that a panel would draw; NaN is nothing to draw."""
    now = time.time()
    if query.is_instant:
        result = ask(prom, "/api/v1/query", query=query.expression)["result"]
    else:
        result = ask(
            prom,
            "/api/v1/query_range",
            query=query.expression,
            start=now - 60,
            end=now,
            step=5,
        )["result"]
    samples = [sample for series in result for sample in series.get("values") or [series["value"]]]
    values = [float(value) for _, value in samples]
    return [value for value in values if not math.isnan(value)]


def check_panels(prom: httpx.Client) -> int:
    failures = 0
    for query in asked():
        try:
            values = numbers(prom, query)
        except ValueError as error:
            say(f"ERROR {query.where}: {error}")
            failures += 1
            continue
        say(f"{'ok   ' if values else 'EMPTY'} {query.where}: max {max(values, default='-')}")
        failures += not values
    return failures


def check_state(prom: httpx.Client) -> int:
    failures = 0
    for target in ask(prom, "/api/v1/targets")["activeTargets"]:
        if target["health"] != "up":
            say(f"target {target['labels']['service']} is {target['health']}")
            failures += 1
    for group in ask(prom, "/api/v1/rules")["groups"]:
        for rule in group["rules"]:
            if rule["health"] != "ok":
                say(f"rule {rule['name']} is {rule['health']}: {rule.get('lastError')}")
                failures += 1
    fired = firing(prom)
    say(f"firing: {', '.join(sorted(fired))}")
    if missing := EXPECTED_ALERTS - fired:
        say(f"should fire and do not: {', '.join(sorted(missing))}")
        failures += 1
    return failures


def check_live(tools: Tools, seconds: float) -> int:
    with tempfile.TemporaryDirectory(prefix="check-live-") as name, model_standin() as model:
        folder = Path(name)
        model.will(Says("ready"))
        with (
            running_stack(
                folder / "stack",
                LLM_BASE_URL=model.base_url,
                LLM_MODEL_NAME=MODEL,
                LLM_API_KEY="key-of-the-stand-in",
                MIDDLEWARE_CHAT_TIMEOUT_SECONDS=str(CHAT_SECONDS),
                MCP_SERVER_UPSTREAMS=f"away=http://127.0.0.1:{free_ports(1)[0]}/mcp",
                SANDBOX_SLOTS="2",
                SANDBOX_QUEUE_LIMIT="2",
            ) as stack,
            prometheus(tools, folder, stack) as prom,
        ):
            load(stack, model, prom, seconds)
            return check_panels(prom) + check_state(prom)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the checks; return the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--tools", help="folder with prometheus and promtool")
    parser.add_argument("--seconds", type=float, default=75.0, help="seconds of load (75)")
    arguments = parser.parse_args(argv)
    tools = Tools.found(arguments.tools)
    failures = check_rules(tools) + check_live(tools, arguments.seconds)
    say("all is well" if not failures else f"{failures} failures")
    return int(failures > 0)


if __name__ == "__main__":
    sys.exit(main())
