"""Wear the sandbox down and see that nothing grows: memory, descriptors, processes, disk.

    python tests/soak/run.py [--cells 100000] [--sessions 10000] [--callers 4]

The real service over the real runner, through HTTP alone. First many cells in a few sessions that
live on, then many sessions that do a little of everything and end: by request, by a crash, by a
time limit, by a caller that hangs up. What every part uses is measured on the way; between the
first third of a phase and its last third nothing may grow by more than `ALLOWANCES`.
Exit status: 0 when all calls were answered as they should and nothing grew, else 1.
"""

import argparse
import http.client
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sandbox_runner import client
from sandbox_runner.launch import RunnerProcess

ROOT = Path(__file__).resolve().parents[2]
SAMPLES = 30
CALL_SECONDS = 60.0
START_SECONDS = 60.0
SETTLE_SECONDS = 30.0
RESTING_LOOKS = 20
POOL = 4
MIB = 1 << 20

# What may be more in the last third of a phase than in the first, by the kind of measure. The
# service remembers the ends of 10,000 sessions and of 10,000 runs, about 300 bytes each, so that
# their next call is told the reason; all else is what an allocator keeps.
ALLOWANCES = {"MiB": 8.0, "descriptors": 3.0, "processes": 0.0, "threads": 2.0, "slots": 0.0}


class SoakFailed(Exception):
    """Something was not as it should be; the text says what."""


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


# ---------------------------------------------------------------- the parts under load


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
def house(python: str) -> Iterator[House]:
    """Start a runner and a service with folders of their own; end both."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = int(free.getsockname()[1])
    limits = {"slots": "32", "pool": str(POOL)}
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
            "SANDBOX_MAX_SESSIONS": "24",
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


# ---------------------------------------------------------------- measuring


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


def grown(samples: list[dict[str, float]]) -> dict[str, float]:
    """Return by how much each measure is more in the last third than in the first."""
    third = max(1, len(samples) // 3)
    return {
        name: statistics.median(sample[name] for sample in samples[-third:])
        - statistics.median(sample[name] for sample in samples[:third])
        for name in samples[0]
    }


def report(phase: str, samples: list[dict[str, float]]) -> bool:
    """Print how each measure went; say whether nothing grew."""
    is_flat = True
    for name, growth in grown(samples).items():
        values = [sample[name] for sample in samples]
        is_over = growth > next(most for kind, most in ALLOWANCES.items() if kind in name)
        is_flat = is_flat and not is_over
        say(
            f"  {name:27} first {values[0]:8.1f}   most {max(values):8.1f}   last {values[-1]:8.1f}"
            f"   grew {growth:+7.2f}{'   TOO MUCH' if is_over else ''}"
        )
    say(f"  {phase}: {'flat' if is_flat else 'NOT FLAT'}")
    return is_flat


# ---------------------------------------------------------------- callers


class Caller:
    """One keep-alive connection to the service."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=CALL_SECONDS)

    def call(self, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
        """Return status and body of the answer."""
        kind = "application/octet-stream" if "/files/" in path else "application/json"
        headers = {} if body is None else {"content-type": kind}
        self._connection.request(method, path, body, headers)
        answer = self._connection.getresponse()
        return answer.status, answer.read()

    def session(self) -> str:
        status, body = self.call("POST", "/sessions")
        if status != http.HTTPStatus.CREATED:
            raise SoakFailed(f"POST /sessions answered {status}: {body[:300]!r}")
        return str(json.loads(body)["session_id"])

    def run(
        self, session_id: str | None, code: str, expected: str = "ok", seconds: float = 20.0
    ) -> dict[str, object]:
        order: dict[str, object] = {"code": code, "timeout_seconds": seconds}
        if session_id is not None:
            order["session_id"] = session_id
        status, body = self.call("POST", "/execute", json.dumps(order).encode())
        if status != http.HTTPStatus.OK:
            raise SoakFailed(f"POST /execute answered {status}: {body[:300]!r}")
        result: dict[str, object] = json.loads(body)
        if result["status"] != expected:
            raise SoakFailed(f"{code[:60]!r} ended as {body[:300]!r}, not as {expected}")
        return result

    def hang_up_on(self, session_id: str, code: str) -> None:
        """Ask for a run and go before it ends."""
        order = json.dumps({"code": code, "session_id": session_id}).encode()
        head = (
            "POST /execute HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
            f"content-length: {len(order)}\r\n\r\n"
        )
        with socket.create_connection(("127.0.0.1", self._port), timeout=CALL_SECONDS) as raw:
            raw.sendall(head.encode() + order)

    def expect(self, status: int, method: str, path: str, body: bytes | None = None) -> bytes:
        found, content = self.call(method, path, body)
        if found != status:
            raise SoakFailed(f"{method} {path} answered {found}, not {status}: {content[:300]!r}")
        return content


# Of ten cells seven are small; the rest print, keep files, raise, use memory and threads.
CELLS: tuple[tuple[str, str], ...] = (
    *(("n = globals().get('n', 0) + 1\nn", "ok"),) * 7,
    ("print('x' * 2000)\nimport sys\nprint('y' * 500, file=sys.stderr)", "ok"),
    ("raise ValueError('as expected')", "error"),
    ("import random\nopen(f'f{random.randrange(20)}', 'w').write('z' * 1000)\nNone", "ok"),
    ("len(bytes(4 << 20))", "ok"),
    ("import threading\nt = threading.Thread(target=int)\nt.start()\nt.join()", "ok"),
    ("def f(x): return [g for g in range(x)]\nsum(f(500))", "ok"),
)


def one_cell(caller: Caller, session_id: str, number: int) -> None:
    if number % 50 == 0:
        path = f"/sessions/{session_id}/files/up"
        caller.expect(201, "PUT", path, b"u" * 20_000)
        caller.expect(200, "GET", path)
        caller.expect(204, "DELETE", path)
    code, expected = CELLS[number % len(CELLS)]
    caller.run(session_id, code, expected)


def one_session(caller: Caller, number: int) -> None:
    if number % 4 == 0:  # most callers ask for no session
        caller.run(None, "open('left', 'w').write('x' * 5000)\n6 * 7")
        return
    session_id = caller.session()
    here = f"/sessions/{session_id}"
    match number % 20:
        case 1:
            caller.run(session_id, "import os\nos.kill(os.getpid(), 11)", "crashed")
            caller.expect(410, "GET", here)
        case 2:
            caller.run(session_id, "while True: pass", "timeout", seconds=0.05)
            caller.expect(410, "GET", here)
        case 3:
            caller.hang_up_on(session_id, "while True: pass")
            caller.call("DELETE", here)
        case 5:
            code = "import os\nfor i in range(200):\n    os.mkdir('d')\n    os.chdir('d')\n"
            caller.run(session_id, code + "open('deep', 'w').close()")
            caller.expect(204, "DELETE", here)
        case _:
            caller.run(session_id, "x = list(range(1000))\nopen('f', 'w').write(str(x))")
            caller.expect(200, "GET", f"{here}/files")
            caller.expect(204, "DELETE", here)


# ---------------------------------------------------------------- phases

Step = Callable[["Caller", int, int], None]
"""Does one thing; gets a connection, which of the callers it is, and the number of the thing."""


def phase(name: str, *, total: int, house: House, callers: list[Caller], step: Step) -> bool:
    """Have the callers do all of it, and rest now and then to measure; say whether nothing grew."""
    samples: list[dict[str, float]] = []
    numbers = iter(range(total))
    lock = threading.Lock()

    def work(index: int, most: int) -> None:
        for _ in range(most):
            with lock:
                number = next(numbers, None)
            if number is None:
                return
            step(callers[index], index, number)

    at_rest = settled(house)
    started = time.monotonic()
    spent = 0.0
    share = -(-total // (SAMPLES * len(callers)))
    with ThreadPoolExecutor(len(callers)) as pool:
        for _ in range(SAMPLES):
            busy = time.monotonic()
            for each in [pool.submit(work, index, share) for index in range(len(callers))]:
                each.result()
            spent += time.monotonic() - busy
            # All that has ended must be gone: processes, slots, and what refills the pool.
            wait_for(lambda: house.left() == at_rest, SETTLE_SECONDS, f"not {at_rest} at rest")
            samples.append(house.use())
    whole = time.monotonic() - started
    say(f"{name}: {total} in {spent:.0f} s, {total / spent:.0f}/s ({whole:.0f} s with measuring)")
    return report(name, samples)


def settled(house: House) -> tuple[int, int]:
    """Return what is left at rest: once it has been the same for a second."""
    seen = [house.left()]

    def is_settled() -> bool:
        seen.append(house.left())
        return len(seen) > RESTING_LOOKS and len(set(seen[-RESTING_LOOKS:])) == 1

    wait_for(is_settled, SETTLE_SECONDS, f"the runner does not come to rest: {seen[-1]}")
    return seen[-1]


def wear_cells(house: House, total: int, callers: list[Caller]) -> bool:
    sessions = [caller.session() for caller in callers]
    try:
        return phase(
            "cells in live sessions",
            total=total,
            house=house,
            callers=callers,
            step=lambda caller, index, number: one_cell(caller, sessions[index], number),
        )
    finally:
        for caller, session_id in zip(callers, sessions, strict=True):
            caller.call("DELETE", f"/sessions/{session_id}")


def wear_sessions(house: House, total: int, callers: list[Caller]) -> bool:
    return phase(
        "sessions from begin to end",
        total=total,
        house=house,
        callers=callers,
        step=lambda caller, _, number: one_session(caller, number),
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--cells", type=int, default=100_000)
    parser.add_argument("--sessions", type=int, default=10_000)
    parser.add_argument("--callers", type=int, default=4)
    arguments = parser.parse_args()
    cells = ROOT / ".cells" / "bin" / "python"
    try:
        with house(str(cells) if cells.exists() else sys.executable) as running:
            callers = [Caller(running.port) for _ in range(arguments.callers)]
            is_flat = wear_cells(running, arguments.cells, callers)
            is_flat = wear_sessions(running, arguments.sessions, callers) and is_flat
    except SoakFailed as failure:
        say(f"soak: FAILED: {failure}")
        return 1
    say(f"soak: {'flat' if is_flat else 'FAILED: something grew'}")
    return 0 if is_flat else 1


if __name__ == "__main__":
    sys.exit(main())
