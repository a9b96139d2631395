"""A stack of real processes, started as a user starts it."""

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil

from stack_support.processes import by_service, family, living, marked
from stack_support.waiting import wait_until

ROOT = Path(__file__).resolve().parents[3]
SERVICES = (
    "mcp-server",
    "sandbox",
    "middleware",
    "time-client",
    "code-executor",
    "embedded-model",
)
START_SECONDS = 90.0
STOP_SECONDS = 30.0
# A test's code that never ends shall not hold the test for the default of half a minute.
CELL_SECONDS = 4.0

# The surroundings of the person who runs the tests must not choose a model or a port.
_FOREIGN_PREFIXES = (
    *("LLM_", "OPENAI_", "LAUNCHER_", "VERBOSE", "ASK_QUESTION"),
    *(f"{name.upper().replace('-', '_')}_" for name in SERVICES),
)


def free_ports(count: int) -> list[int]:
    """Give ports that are free now, all different."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


def clean_environment(**changes: str) -> dict[str, str]:
    """Give this process's environment without what would steer a stack, and with `changes`."""
    plain = {k: v for k, v in os.environ.items() if not k.startswith(_FOREIGN_PREFIXES)}
    # Empty, not absent: a developer's .env must not choose the model of a test.
    return plain | {"LLM_BASE_URL": "", "OPENAI_BASE_URL": ""} | changes


def client(seconds: float = 70.0) -> httpx.Client:
    """Give a client that reads no proxy from the surroundings."""
    return httpx.Client(timeout=seconds, trust_env=False)


def user(text: str) -> dict[str, str]:
    """Give a message of the user."""
    return {"role": "user", "content": text}


@dataclass
class RunningStack:
    """A started stack: its addresses, logs and processes."""

    process: subprocess.Popen[bytes]
    run_dir: Path
    ports: Mapping[str, int]
    environment: Mapping[str, str]
    mark: str
    http: httpx.Client = field(default_factory=client)
    # Kept from the start: afterwards the process that knew it may be gone.
    known_socket: Path | None = None

    # -- talk to it -------------------------------------------------------------------------

    def url(self, service: str) -> str:
        """Give a service's address."""
        return f"http://127.0.0.1:{self.ports[service]}"

    def post_chat(
        self, *messages: str | dict[str, Any], headers: Mapping[str, str] | None = None, **body: Any
    ) -> httpx.Response:
        """Send one chat; a text stands for a message of the user."""
        turns = [user(each) if isinstance(each, str) else each for each in messages]
        return self.http.post(
            f"{self.url('middleware')}/chat", json={"messages": turns, **body}, headers=headers
        )

    def chat(self, *messages: str | dict[str, Any]) -> dict[str, Any]:
        """Send one chat that has to be answered; give the answer."""
        response = self.post_chat(*messages)
        assert response.status_code == 200, response.text
        answer: dict[str, Any] = response.json()
        return answer

    def execute(
        self, name: str, headers: Mapping[str, str] | None = None, **parameters: Any
    ) -> httpx.Response:
        """Call one tool through the middleware."""
        return self.http.post(
            f"{self.url('middleware')}/execute",
            json={"name": name, "parameters": parameters},
            headers=headers,
        )

    def is_ready(self, service: str = "middleware") -> bool:
        """Ask a service whether it can do its work now."""
        try:
            return self.http.get(f"{self.url(service)}/ready", timeout=3).status_code == 200
        except httpx.TransportError:
            return False

    def wait_ready(self, *services: str, within: float = 15.0) -> None:
        """Wait until these services (all, without a name) can do their work."""
        wanted = services or tuple(self.ports)
        wait_until(
            lambda: all(self.is_ready(each) for each in wanted),
            within=within,
            what=f"ready: {', '.join(wanted)}",
        )

    def metric(self, service: str, name: str, **labels: str) -> float:
        """Sum a metric's samples that have these labels."""
        text = self.http.get(f"{self.url(service)}/metrics").text
        wanted = [f'{key}="{value}"' for key, value in labels.items()]
        total = 0.0
        for line in text.splitlines():
            head, _, value = line.rpartition(" ")
            if head.partition("{")[0] == name and all(each in head for each in wanted):
                total += float(value)
        return total

    # -- look at it -------------------------------------------------------------------------

    def pid(self, service: str) -> int | None:
        """Give the process number of a service (or `sandbox-runner`) now."""
        found = dict(by_service(self.process.pid, self.ports))
        return found[service].pid if service in found else None

    def service_processes(self) -> dict[str, psutil.Process]:
        """Give the services' main processes by name."""
        return dict(by_service(self.process.pid, self.ports))

    def processes(self) -> list[psutil.Process]:
        """Give the supervisor and everything below it."""
        return family(self.process.pid)

    def socket_path(self) -> Path:
        """Give the runner's socket, from the environment of the service that uses it."""
        if self.known_socket is not None:
            return self.known_socket
        pid = self.pid("sandbox")
        assert pid is not None
        return Path(psutil.Process(pid).environ()["SANDBOX_RUNNER_SOCKET"])

    def output(self) -> str:
        """Give what the launcher printed so far."""
        return (self.run_dir / "launcher.out").read_text(encoding="utf-8", errors="replace")

    def log(self, service: str) -> list[dict[str, Any]]:
        """Give a service's log lines that are JSON."""
        path = self.run_dir / "logs" / f"{service}.log"
        lines = []
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                event = json.loads(line)
            except ValueError:
                continue
            if isinstance(event, dict):
                lines.append(event)
        return lines

    # -- end it -----------------------------------------------------------------------------

    def marks(self) -> list[str]:
        """Give texts that stand in the environment of each of its processes."""
        try:
            # The runner's children know nothing but a folder beside its socket.
            return [self.mark, str(self.socket_path().parent)]
        except (AssertionError, psutil.Error, KeyError):
            return [self.mark]

    def stop(self) -> int:
        """End it as Ctrl-C does; give the exit status."""
        self.http.close()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=STOP_SECONDS)

    def end_and_check(self) -> None:
        """End it, and make sure that nothing of it is left."""
        everybody, marks, sockets = self.processes(), self.marks(), self.socket_path().parent
        status = self.stop()
        left = [*living(everybody), *living(marked(marks))]
        assert status == 0, f"the launcher ended with {status}:\n{self.output()}"
        assert not left, f"left behind: {left}"
        assert not sockets.exists(), f"left behind: {sockets}"
        assert not (self.run_dir / "stack.json").exists()

    def end_by_force(self) -> None:
        """End what is left after a failure; only processes of this stack."""
        self.http.close()
        rest = [*self.processes(), *marked(self.marks())]
        for process in rest:
            try:
                process.kill()
            except psutil.NoSuchProcess:
                continue
        if self.process.poll() is None:
            self.process.wait(timeout=STOP_SECONDS)


def launcher_command(*arguments: str) -> list[str]:
    """Give the command line of the launcher."""
    return [sys.executable, "-P", "-m", "launcher", *arguments]


def stack_environment(run_dir: Path, ports: Mapping[str, int], **changes: str) -> dict[str, str]:
    """Give the environment of a stack on its own ports and in its own folder."""
    own = {
        "LAUNCHER_ROOT": str(ROOT),
        "LAUNCHER_RUN_DIR": str(run_dir),
        "SANDBOX_PACKAGES_DIR": str(run_dir / "packages"),
        "SANDBOX_DEFAULT_TIMEOUT_SECONDS": str(CELL_SECONDS),
        "NO_COLOR": "1",
    }
    own |= {f"{name.upper().replace('-', '_')}_PORT": str(port) for name, port in ports.items()}
    return clean_environment(**(own | changes))


def start_stack(run_dir: Path, **changes: str) -> RunningStack:
    """Start a stack and wait until a chat with tools works."""
    ports = dict(zip(SERVICES, free_ports(len(SERVICES)), strict=True))
    run_dir.mkdir(parents=True, exist_ok=True)
    mark = f"stack-test-{secrets.token_hex(8)}"
    environment = stack_environment(run_dir, ports, STACK_TEST_MARK=mark, **changes)
    with (run_dir / "launcher.out").open("wb") as output:
        process = subprocess.Popen(
            launcher_command("up"),
            env=environment,
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    stack = RunningStack(process, run_dir, ports, environment, mark)
    try:
        wait_until(lambda: _has_started(stack), within=START_SECONDS, what="the stack's start")
        stack.wait_ready("middleware")
        stack.known_socket = stack.socket_path()
    except BaseException as error:
        stack.end_by_force()
        error.add_note(f"the launcher said:\n{stack.output()}")
        raise
    return stack


def _has_started(stack: RunningStack) -> bool:
    status = stack.process.poll()
    assert status is None, f"the launcher ended with {status}"
    try:
        state = json.loads((stack.run_dir / "stack.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return bool(state["phase"] == "running")


@contextmanager
def running_stack(run_dir: Path, **changes: str) -> Iterator[RunningStack]:
    """Keep a stack for the block; afterwards nothing of it may be left."""
    stack = start_stack(run_dir, **changes)
    try:
        yield stack
    except BaseException:
        stack.end_by_force()
        raise
    finally:
        try:
            if stack.process.poll() is None:
                stack.end_and_check()
        finally:
            stack.end_by_force()


@dataclass
class RunningService:
    """One service of its own beside a stack."""

    process: subprocess.Popen[bytes]
    url: str
    log_path: Path
    http: httpx.Client

    def log(self) -> str:
        """Give what it logged so far."""
        return self.log_path.read_text(encoding="utf-8", errors="replace")


@contextmanager
def running_service(
    module: str, prefix: str, log_path: Path, *, is_ready: bool = True, **environment: str
) -> Iterator[RunningService]:
    """Run `python -m module` on a free port; wait for `/ready`, or just for `/health`."""
    port = free_ports(1)[0]
    variables = clean_environment(**{f"{prefix}PORT": str(port), f"{prefix}LOG_FORMAT": "json"})
    command: Sequence[str] = [sys.executable, "-P", "-m", module]
    with log_path.open("wb") as output:
        process = subprocess.Popen(
            command,
            env=variables | environment,
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    service = RunningService(process, f"http://127.0.0.1:{port}", log_path, client())

    def answers() -> bool:
        assert process.poll() is None, service.log()
        try:
            path = "/ready" if is_ready else "/health"
            status = service.http.get(service.url + path, timeout=5).status_code
        except httpx.TransportError:
            return False
        return status == 200 or not is_ready

    try:
        wait_until(answers, within=30, what=f"{module} answers")
        yield service
    finally:
        service.http.close()
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(timeout=STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(timeout=5)
            raise


def seconds_of(started_at: float) -> float:
    """Give the seconds since a `time.monotonic()` value."""
    return time.monotonic() - started_at
