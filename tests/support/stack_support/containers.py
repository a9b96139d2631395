"""The stack in containers, of a project, a folder, ports and images of its own."""

import http.client
import json
import os
import secrets
import shutil
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from stack_support.running_stack import clean_environment, free_ports
from stack_support.waiting import wait_until

ROOT = Path(__file__).resolve().parents[3]
OURS = (
    "sandbox-runner",
    "sandbox",
    "code-executor",
    "time-client",
    "mcp-server",
    "middleware",
    "embedded-model",
)
PUBLISHED = ("MCP_SERVER", "MIDDLEWARE", "OLLAMA", "PROMETHEUS", "GRAFANA")
COMPOSE_COMMANDS = {True: ("docker", "compose"), False: ("docker-compose",)}
# Of the developer's shell, these must not steer a stack under test.
_FOREIGN_PREFIXES = (
    *("ALERTMANAGER_", "COMPOSE_", "GRAFANA_", "OLLAMA_", "PROMETHEUS_"),
    *("STACK_TAG", "STACK_REVISION", "BIND_ADDRESS"),
)
_UNPRIVILEGED_ID = 23477


def uses_compose_v2() -> bool:
    """Tell which generation of Compose this run is to use (STACK_COMPOSE=v2)."""
    return os.environ.get("STACK_COMPOSE") == "v2"


def run(
    *command: str,
    cwd: Path = ROOT,
    env: Mapping[str, str] | None = None,
    seconds: float = 60,
    prefix: tuple[str, ...] = (),
) -> str:
    """Run a command that has to succeed; give what it wrote to standard output."""
    done = subprocess.run(
        [*prefix, *command],
        cwd=cwd,
        env=dict(env) if env is not None else None,
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout[-3000:]}{done.stderr[-3000:]}"
    return done.stdout


@dataclass(frozen=True)
class Person:
    """Who types the commands: root, or an ordinary user who may reach the engine's socket."""

    prefix: tuple[str, ...] = ()
    home: Path | None = None

    @classmethod
    def ordinary(cls, home: Path) -> "Person":
        """Make a user with a home of its own; without root that is whoever runs the tests."""
        if os.geteuid() != 0:
            return cls()
        settings = home / ".docker"
        settings.mkdir(parents=True)
        # Docker writes into its folder, so that of the tests is not enough; its plugins are.
        if theirs := os.environ.get("DOCKER_CONFIG"):
            (settings / "cli-plugins").symlink_to(Path(theirs) / "cli-plugins")
        for folder in (home, settings):
            os.chown(folder, _UNPRIVILEGED_ID, _UNPRIVILEGED_ID)
        docker_group = Path("/var/run/docker.sock").stat().st_gid
        ids = (f"--reuid={_UNPRIVILEGED_ID}", f"--regid={_UNPRIVILEGED_ID}")
        return cls(("setpriv", *ids, f"--groups={docker_group}"), home)


@dataclass(frozen=True)
class Containers:
    """A stack of its own project, ports and folder; it shares the engine alone."""

    folder: Path
    env: Mapping[str, str]
    person: Person = Person()

    @property
    def project(self) -> str:
        """Give the name of the Compose project."""
        return self.env["COMPOSE_PROJECT_NAME"]

    def run(self, *command: str, seconds: float = 120) -> str:
        """Run a command in the stack's folder, as its person."""
        return run(
            *command, cwd=self.folder, env=self.env, seconds=seconds, prefix=self.person.prefix
        )

    def compose(self, *arguments: str, seconds: float = 120) -> str:
        """Run Compose of the generation under test."""
        return self.run(*COMPOSE_COMMANDS[uses_compose_v2()], *arguments, seconds=seconds)

    def with_settings(self, **changes: str) -> "Containers":
        """Give the same stack as a shell with other variables sees it."""
        return replace(self, env={**self.env, **changes})

    def fails(self, *command: str, seconds: float = 120) -> str:
        """Run a command that has to fail; give all that it said."""
        done = subprocess.run(
            [*self.person.prefix, *command],
            cwd=self.folder,
            env=dict(self.env),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=seconds,
            check=False,
        )
        assert done.returncode != 0, done.stdout
        return done.stdout

    # -- look at it -------------------------------------------------------------------------

    def id_of(self, service: str) -> str:
        """Give the container of a service, whether it runs or not."""
        wanted = (
            f"label=com.docker.compose.project={self.project}",
            f"label=com.docker.compose.service={service}",
            "label=com.docker.compose.oneoff=False",
        )
        filters = [word for each in wanted for word in ("--filter", each)]
        return run("docker", "ps", "--all", "--quiet", "--no-trunc", *filters).strip()

    def inspect(self, service: str) -> dict[str, Any]:
        """Give what the engine knows of a service's container."""
        return dict(json.loads(run("docker", "inspect", self.id_of(service)))[0])

    def is_healthy(self, service: str) -> bool:
        """Tell whether the service's health check succeeded at last."""
        identity = self.id_of(service)
        if not identity:
            return False
        state = dict(json.loads(run("docker", "inspect", identity))[0]["State"])
        return bool(state["Running"] and state.get("Health", {}).get("Status") == "healthy")

    def wait_healthy(self, *services: str, within: float = 180) -> None:
        """Wait until each of the services is healthy."""
        for service in services or OURS:
            what = f"{service} is healthy"
            wait_until(lambda: self.is_healthy(service), within=within, what=what, every=0.3)  # noqa: B023  # used at once

    def address_of(self, service: str) -> str:
        """Give a container's address in the stack's network."""
        networks = self.inspect(service)["NetworkSettings"]["Networks"]
        return str(next(iter(networks.values()))["IPAddress"])

    def inside(self, service: str, code: str) -> str:
        """Run Python in a container, as its own user."""
        return self.compose("exec", "-T", service, "python3", "-I", "-c", code)

    # -- talk to it -------------------------------------------------------------------------

    def url(self, service: str) -> str:
        """Give the published address of `MCP_SERVER`, `MIDDLEWARE`, `PROMETHEUS` …"""
        return f"http://127.0.0.1:{self.env[f'{service}_PORT']}"

    def post(self, url: str, body: Mapping[str, Any], seconds: float = 90) -> tuple[int, Any]:
        """Post JSON; give the status and the JSON of the answer, an error's too."""
        request = urllib.request.Request(
            url,
            data=json.dumps(body).encode(),
            headers={
                "Content-Type": "application/json",
                "Accept": "application/json, text/event-stream",
            },
        )
        try:
            with _OPENER.open(request, timeout=seconds) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error)

    def chat(self, text: str) -> dict[str, Any]:
        """Have a chat that must be answered."""
        body = {"messages": [{"role": "user", "content": text}]}
        status, answer = self.post(f"{self.url('MIDDLEWARE')}/chat", body)
        assert status == 200, answer
        return dict(answer)

    def answers(self, text: str, expected: str) -> bool:
        """Tell whether a chat is answered with a text now."""
        body = {"messages": [{"role": "user", "content": text}]}
        try:
            status, answer = self.post(f"{self.url('MIDDLEWARE')}/chat", body)
        except (OSError, http.client.HTTPException):
            return False
        return status == 200 and expected in answer["response"].replace(",", "")

    def execute(self, code: str) -> dict[str, Any]:
        """Run code in the sandbox through the chat API's tools."""
        body = {"name": "execute_code", "parameters": {"code": code}}
        status, answer = self.post(f"{self.url('MIDDLEWARE')}/execute", body)
        assert status == 200, answer
        return dict(answer)


_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def environment(home: Path | None = None, **changes: str) -> dict[str, str]:
    """Give the environment of a project with a random name, ports and tag of images."""
    name = f"stack-test-{secrets.token_hex(4)}"
    ports = {
        f"{service}_PORT": str(port)
        for service, port in zip(PUBLISHED, free_ports(len(PUBLISHED)), strict=True)
    }
    plain = clean_environment()
    plain = {key: value for key, value in plain.items() if not key.startswith(_FOREIGN_PREFIXES)}
    if home is not None:
        plain |= {"HOME": str(home), "DOCKER_CONFIG": str(home / ".docker")}
    return {
        **plain,
        **ports,
        "COMPOSE_PROJECT_NAME": name,
        "COMPOSE_PROFILES": "embedded,no-grafana",
        "STACK_TAG": name,
        "PYTHON_IMAGE": os.environ.get("PYTHON_IMAGE", "offline/python:3.13"),
        "PROMETHEUS_IMAGE": os.environ.get("PROMETHEUS_IMAGE", "offline/prometheus:3.5"),
        "ALERTMANAGER_IMAGE": os.environ.get("ALERTMANAGER_IMAGE", "offline/alertmanager:0.33"),
        "HEALTH_INTERVAL": "2s",
        # For `make up` and its like, which would take the newer one where both are here.
        "COMPOSE": " ".join(COMPOSE_COMMANDS[uses_compose_v2()]),
        **changes,
    }


def clone_to(folder: Path, person: Person, env: Mapping[str, str]) -> None:
    """Make a fresh clone that belongs to the person."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    bundle = folder.parent / f"{folder.name}.bundle"
    run("git", "bundle", "create", "--quiet", str(bundle), "HEAD", env=os.environ)
    bundle.chmod(0o644)
    if person.prefix:
        os.chown(folder.parent, _UNPRIVILEGED_ID, _UNPRIVILEGED_ID)
    run(
        *("git", "clone", "--quiet", str(bundle), str(folder)),
        cwd=folder.parent,
        env=env,
        prefix=person.prefix,
    )
    bundle.unlink()


@contextmanager
def containers(
    folder: Path, *, person: Person | None = None, **changes: str
) -> Iterator[Containers]:
    """Clone the repository for a stack; whatever of it was started is removed afterwards.

    Parameters
    ----------
    folder
        A new folder, for the clone.
    person
        Who types; root where it is not said.
    changes
        Variables of the environment besides.
    """
    person = person or Person()
    env = environment(person.home, **changes)
    clone_to(folder, person, env)
    stack = Containers(folder, env, person)
    try:
        yield stack
    finally:
        remove(stack)


def remove(stack: Containers) -> None:
    """Remove the containers, networks, volumes, images and files of a stack, and nothing else."""
    everything = {**stack.env, "COMPOSE_PROFILES": "all"}
    whole = Containers(stack.folder, everything, stack.person)
    # pytest shows it where a test failed.
    print(whole.compose("logs", "--no-color", "--tail", "20")[-8000:])  # noqa: T201  # as said
    whole.compose("down", "--volumes", "--timeout", "20", seconds=180)
    names = [f"mcp-stack/{service}:{stack.env['STACK_TAG']}" for service in OURS]
    here = run("docker", "images", "--format", "{{.Repository}}:{{.Tag}}").split()
    # What another project built under the same tag has left these without a name; Compose v2
    # notes its project in them.
    ours = ("dangling=true", f"label=com.docker.compose.project={stack.project}")
    filters = [word for each in ours for word in ("--filter", each)]
    nameless = run("docker", "images", "--quiet", *filters).split()
    if built := [*(name for name in names if name in here), *nameless]:
        run("docker", "image", "rm", "--force", *built, seconds=120)
    shutil.rmtree(stack.folder, ignore_errors=True)
    if stack.folder.exists():
        # The containers' users own what they wrote, and we are not root: a container is.
        volume, image = f"{stack.folder.parent}:/room", stack.env["PYTHON_IMAGE"]
        command = ("docker", "run", "--rm", "--network", "none", "--volume", volume, image)
        run(*command, "rm", "-rf", f"/room/{stack.folder.name}")
