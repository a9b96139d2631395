"""The service over its runner, with folders of their own, and what each part of them uses."""

import http.client
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sandbox_runner import client
from sandbox_runner.launch import RunnerProcess

from soak_support.caller import Caller, SoakFailed

START_SECONDS = 60.0
MIB = 1 << 20


@dataclass(frozen=True)
class House:
    """The running service and its runner."""

    port: int
    service: int
    runner: RunnerProcess

    def left(self) -> tuple[int, int]:
        """Return the number of the runner's processes, and of the slots on disk."""
        houses = [each for each in entries(self.runner.slots_dir) if each.name.startswith("house-")]
        slots = [slot for house in houses for slot in entries(house) if slot.is_dir()]
        return len(descendants(self.runner.pid)), len(slots)

    def use(self) -> dict[str, float]:
        """Return what everything uses now: a number by part and kind of measure."""
        zygote = next(iter(children(self.runner.pid)), 0)
        below = descendants(self.runner.pid)
        use = {
            "processes of the runner": float(len(below)),
            "slots on disk": float(self.left()[1]),
            "MiB of all sessions": sum(memory(pid) for pid in below if pid != zygote),
        }
        parts = {"service": self.service, "listener": self.runner.pid, "zygote": zygote}
        for name, pid in parts.items():
            use[f"MiB of the {name}"] = memory(pid)
            use[f"descriptors of the {name}"] = float(len(entries(Path(f"/proc/{pid}/fd"))))
            use[f"threads of the {name}"] = float(len(entries(Path(f"/proc/{pid}/task"))))
        return use


@contextmanager
def house(python: str, *, limits: Mapping[str, str], **settings: str) -> Iterator[House]:
    """Start a runner, with limits by name, and a service; end both."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = int(free.getsockname()[1])
    with (
        tempfile.TemporaryDirectory(prefix="soak-") as folder,
        RunnerProcess(Path(folder), python=python, settings=limits) as runner,
    ):
        if not client.hello(runner.socket, START_SECONDS).is_safe:
            raise SoakFailed("this kernel cannot confine a session")
        environment = os.environ | {
            "SANDBOX_PORT": str(port),
            "SANDBOX_RUNNER_SOCKET": runner.socket,
            "SANDBOX_PACKAGES_DIR": str(runner.packages_dir),
            "SANDBOX_LOG_LEVEL": "error",
            **{f"SANDBOX_{name.upper()}": value for name, value in settings.items()},
        }
        command = [sys.executable, "-P", "-m", "sandbox"]
        service = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
        try:
            wait_for(lambda: is_ready(port), START_SECONDS, "the service did not start")
            yield House(port, service.pid, runner)
        finally:
            service.send_signal(signal.SIGTERM)
            try:
                service.wait(20)
            except subprocess.TimeoutExpired:
                service.kill()
                service.wait(20)


def is_ready(port: int) -> bool:
    try:
        return Caller(port).call("GET", "/ready")[0] == http.HTTPStatus.OK
    except OSError:
        return False


def wait_for(condition: Callable[[], bool], seconds: float, complaint: str) -> None:
    limit = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > limit:
            raise SoakFailed(complaint)
        time.sleep(0.05)


def memory(pid: int) -> float:
    """Return what a process holds alone and its share of the rest (PSS), in MiB."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii")
    except OSError:
        return 0.0  # it has just ended
    line = next((line for line in text.splitlines() if line.startswith("Pss:")), "Pss: 0 kB")
    return int(line.split()[1]) * 1024 / MIB


def entries(folder: Path) -> list[Path]:
    """List a folder; one that has just gone has nothing in it."""
    try:
        return list(folder.iterdir())
    except OSError:
        return []


def children(pid: int) -> list[int]:
    found: list[int] = []
    for thread in entries(Path(f"/proc/{pid}/task")):
        try:
            found += map(int, (thread / "children").read_text(encoding="ascii").split())
        except OSError:
            continue  # the thread has just ended
    return found


def descendants(pid: int) -> list[int]:
    found = children(pid)
    for child in list(found):
        found += descendants(child)
    return found
