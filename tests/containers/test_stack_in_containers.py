"""The stack in containers, through its published ports: built, started, attacked, healed, ended."""

import json
import os
import secrets
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
SERVICES = ("time-client", "sandbox", "code-executor", "mcp-server", "middleware", "embedded-model")
CONTAINERS = (*SERVICES, "sandbox-runner")
QUESTION = "what is 2**100, and what time is it in Tokyo?"

pytestmark = [pytest.mark.stack, pytest.mark.timeout(900)]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def eventually(check: Callable[[], bool], *, seconds: float, what: str) -> None:
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        if check():
            return
        time.sleep(0.5)
    raise AssertionError(f"not within {seconds} s: {what}")


def run(*command: str, cwd: Path, env: dict[str, str], seconds: float = 60) -> str:
    done = subprocess.run(
        command, cwd=cwd, env=env, capture_output=True, text=True, timeout=seconds, check=False
    )
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout[-3000:]}{done.stderr[-3000:]}"
    return done.stdout


@dataclass(frozen=True)
class Containers:
    """A stack of its own project, ports and folder; it shares the engine and the images alone."""

    folder: Path
    env: dict[str, str]

    def compose(self, *arguments: str, seconds: float = 120) -> str:
        is_v2 = os.environ.get("STACK_COMPOSE") == "v2"
        command = ("docker", "compose") if is_v2 else ("docker-compose",)
        return run(*command, *arguments, cwd=self.folder, env=self.env, seconds=seconds)

    def id_of(self, service: str) -> str:
        return self.compose("ps", "-q", service).strip()

    def inspect(self, service: str) -> dict[str, Any]:
        found = json.loads(run("docker", "inspect", self.id_of(service), cwd=ROOT, env=self.env))
        return dict(found[0])

    def is_healthy(self, service: str) -> bool:
        return bool(self.inspect(service)["State"].get("Health", {}).get("Status") == "healthy")

    def inside(self, service: str, code: str) -> str:
        """Run Python in a container, as its own user."""
        return self.compose("exec", "-T", service, "python3", "-I", "-c", code)

    def chat(self, text: str) -> dict[str, Any]:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.env['MIDDLEWARE_PORT']}/chat",
            data=json.dumps({"messages": [{"role": "user", "content": text}]}).encode(),
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=90) as answer:
            return dict(json.load(answer))

    def answers(self, text: str, expected: str) -> bool:
        try:
            return expected in self.chat(text)["response"]
        except (OSError, urllib.error.HTTPError):
            return False


@pytest.fixture(scope="module")
def containers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Containers]:
    folder = tmp_path_factory.mktemp("containers") / "stack"
    run("git", "clone", "--quiet", str(ROOT), str(folder), cwd=ROOT, env=dict(os.environ))
    env = {
        **os.environ,
        "COMPOSE_PROJECT_NAME": f"stack-test-{secrets.token_hex(4)}",
        "COMPOSE_PROFILES": "embedded",
        "MCP_SERVER_PORT": str(free_port()),
        "MIDDLEWARE_PORT": str(free_port()),
    }
    stack = Containers(folder, env)
    try:
        stack.compose("build", *CONTAINERS, seconds=800)
        stack.compose("up", "-d", "volume-init", *CONTAINERS, seconds=200)
        for service in CONTAINERS:
            eventually(lambda: stack.is_healthy(service), seconds=90, what=f"{service} is healthy")  # noqa: B023  # used at once
        yield stack
    finally:
        # pytest shows it where a test failed.
        print(stack.compose("logs", "--no-color", "--tail", "20")[-8000:])  # noqa: T201  # as said
        stack.compose("down", "--volumes", "--timeout", "20", seconds=120)
        shutil.rmtree(folder, ignore_errors=True)


def test_a_chat_uses_tools_through_the_containers(containers: Containers) -> None:
    answer = containers.chat(QUESTION)

    assert "1267650600228229401496703205376" in answer["response"].replace(",", "")
    assert {call["name"] for call in answer["tool_calls"]} == {
        "execute_code",
        "get_timezone_time",
    }
    assert not any(call["is_error"] for call in answer["tool_calls"])


def test_the_service_calls_itself_by_the_port_of_the_product(containers: Containers) -> None:
    code = "import socket; socket.create_connection(('code-executor', 8002), 3); print('open')"

    assert containers.inside("mcp-server", code).strip() == "open"


def test_only_two_services_are_published_and_only_on_loopback(containers: Containers) -> None:
    published = {
        service: [
            (binding["HostIp"], port)
            for port, bindings in containers.inspect(service)["NetworkSettings"]["Ports"].items()
            for binding in bindings or ()
        ]
        for service in CONTAINERS
    }

    assert {name: where for name, where in published.items() if where} == {
        "mcp-server": [("127.0.0.1", "8000/tcp")],
        "middleware": [("127.0.0.1", "8002/tcp")],
    }


@pytest.mark.parametrize("service", CONTAINERS)
def test_a_container_holds_no_privilege(containers: Containers, service: str) -> None:
    status = containers.inside(service, "print(open('/proc/self/status').read())")
    fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)

    assert int(fields["CapEff"], 16) == int(fields["CapBnd"], 16) == 0
    assert fields["NoNewPrivs"] == "1"
    assert "0" not in fields["Uid"].split()
    assert "0" not in fields["Gid"].split()
    host = containers.inspect(service)["HostConfig"]
    assert host["ReadonlyRootfs"]
    assert host["Init"]
    assert host["Memory"] > 0
    assert host["PidsLimit"] > 0


def test_the_runner_sees_no_network_and_no_setting_of_others(containers: Containers) -> None:
    seen = containers.inside(
        "sandbox-runner",
        "import os, json; print(json.dumps([os.listdir('/sys/class/net'), sorted(os.environ)]))",
    )
    interfaces, names = json.loads(seen)

    assert interfaces == ["lo"]
    assert not [name for name in names if name.startswith(("LLM_", "OPENAI_", "MIDDLEWARE_"))]


def test_the_sandbox_confines_fully_inside_its_container(containers: Containers) -> None:
    answer = containers.chat(
        "run this: ```python\nimport socket\ntry:\n    socket.socket()\n    print('open')\n"
        "except PermissionError:\n    print('refused')\n```"
    )

    assert "refused" in json.dumps(answer["tool_calls"])


@pytest.mark.parametrize("service", CONTAINERS)
def test_the_stack_heals_when_a_main_process_is_killed(
    containers: Containers, service: str
) -> None:
    before = containers.inspect(service)

    # From the host: what `docker kill` ends is not restarted.
    os.kill(int(before["State"]["Pid"]), 9)

    eventually(
        lambda: (
            containers.inspect(service)["RestartCount"] > before["RestartCount"]
            and containers.is_healthy(service)
        ),
        seconds=60,
        what=f"{service} is back",
    )
    eventually(
        lambda: containers.answers(QUESTION, "1267650600228229401496703205376"),
        seconds=60,
        what="a chat is answered again",
    )
