"""Times of the sandbox, over its socket and over HTTP, beside a bare interpreter and a bare POST.

Run: ``python bench/sandbox.py [--runs 100] [--preload numpy] [--peers]``

``--peers`` makes a throw-away environment with a Jupyter kernel, sandlock and pydantic-monty, which
needs a package index, and measures those that start.
"""

import argparse
import http.client
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "sandbox" / "app"))

from sandbox_runner import client
from sandbox_runner.client import RunnerSession
from sandbox_runner.launch import RunnerProcess

ROOT = Path(__file__).resolve().parent.parent
CELLS = ROOT / ".cells" / "bin" / "python"
KILL_LIMIT_SECONDS = 0.1
# The pools are filled again between two measurements, and the forks for that are over.
REST_SECONDS = 0.1
THROUGHPUT_SECONDS = 3.0
START_SECONDS = 60.0
# Small ones without any dependency, each in a session of its own.
PACKAGES = (
    "six",
    "blinker",
    "toml",
    "wrapt",
    "tabulate",
    "zipp",
    "pytz",
    "attrs",
    "click",
    "pyyaml",
)
# An index, and how to trust it, is the machine's own matter.
_KEPT = ("PATH", "HOME", "PIP_INDEX_URL", "UV_INDEX_URL", "UV_DEFAULT_INDEX", "SSL_CERT_FILE")

BARE_POST = """
import sys, uvicorn
from fastapi import FastAPI
from pydantic import BaseModel
class Asked(BaseModel):
    code: str
class Answered(BaseModel):
    result: str
app = FastAPI()
@app.post("/execute")
async def execute(asked: Asked) -> Answered:
    return Answered(result=asked.code)
@app.get("/health")
async def health() -> dict[str, str]:
    return {}
uvicorn.run(app, port=int(sys.argv[1]), log_level="error", access_log=False)
"""


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--runs", type=int, default=60)
    options.add_argument("--preload", default="numpy")
    options.add_argument("--peers", action="store_true")
    chosen = options.parse_args()
    interpreter = fastest_interpreter()
    board = Board([_timed(lambda: _start(interpreter)) for _ in range(max(20, chosen.runs // 2))])
    print(f"{os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}\n")
    board.show("python3 -I -c pass", board.floor_times)
    for label, settings in (
        ("", {"namespaces": "1"}),
        (", no namespaces", {"namespaces": "0"}),
        (f", {chosen.preload} preloaded", {"namespaces": "1", "preload": chosen.preload}),
    ):
        measure_socket(board, label, settings, chosen.runs)
    measure_http(interpreter, chosen.preload, chosen.runs)
    if chosen.peers:
        measure_peers(board)


class Board:
    """Prints figures, and ratios to the two yardsticks (medians in seconds)."""

    def __init__(self, floor: list[float], post: list[float] | None = None) -> None:
        self.floor_times = floor
        self.floor = statistics.median(floor)
        self.post = statistics.median(post) if post else 0.0

    def show(self, name: str, seconds: list[float]) -> float:
        ordered = sorted(seconds)
        middle = statistics.median(ordered)
        high = ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))]
        post = f"{middle / self.post:6.2f} x a bare POST" if self.post else ""
        print(
            f"{name:46} p50 {middle * 1e3:8.2f} ms  p99 {high * 1e3:8.2f} ms  "
            f"{middle / self.floor:7.3f} x a bare interpreter {post}",
            flush=True,
        )
        return middle


# ---------------------------------------------------------------- yardsticks


def fastest_interpreter() -> str:
    """Return the interpreter here that starts first, by its own path and no shim's."""
    found = {os.path.realpath(sys.executable)}
    for name in ("python3", "python3.11", "python3.12", "python3.13"):
        candidates = [shutil.which(name), f"/usr/bin/{name}"]
        candidates += map(str, Path(sys.base_prefix).parent.glob(f"*/bin/{name}"))
        for path in candidates:
            if path and _is_program(os.path.realpath(path)):
                found.add(os.path.realpath(path))
    times = {path: [_timed(lambda path=path: _start(path)) for _ in range(5)] for path in found}
    fastest = min(times, key=lambda path: statistics.median(times[path]))
    print(f"bare interpreter: {fastest}")
    return fastest


def _is_program(path: str) -> bool:
    if not Path(path).is_file():
        return False
    with Path(path).open("rb") as file:
        return os.access(path, os.X_OK) and file.read(4) == b"\x7fELF"


def _start(interpreter: str) -> None:
    subprocess.run([interpreter, "-I", "-c", "pass"], check=True)


# ---------------------------------------------------------------- the runner's socket


def measure_socket(board: Board, label: str, settings: dict[str, str], runs: int) -> None:
    python = str(CELLS) if CELLS.exists() else sys.executable
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as folder,
        RunnerProcess(
            Path(folder), python=python, settings={"pool": "4", "slots": "40", **settings}
        ) as runner,
    ):
        said = client.hello(runner.socket, START_SECONDS)
        states = {item.name: item.state for item in said.protections}
        print(
            f"\nsocket{label}: namespaces {states['namespaces']}, "
            f"preloaded: {', '.join(said.preloaded) or 'nothing'}"
        )
        with RunnerSession(runner.socket) as session:
            session.run("1")
            live = [_timed(lambda: session.run("1 + 1")) for _ in range(runs * 5)]
        board.show("cell in a live session", live)
        fresh = [_rested(lambda: _first_cell(runner)) for _ in range(runs)]
        board.show("new session + first cell", fresh)
        late = [_rested(lambda: _late(runner)) - KILL_LIMIT_SECONDS for _ in range(20)]
        board.show("kill of a spinning cell, beyond its limit", late)
        begun = time.perf_counter()
        for _ in range(runs):
            _first_cell(runner)
        each = (time.perf_counter() - begun) / runs
        print(f"new sessions one after the other: {1 / each:.0f} a second, the pool run dry")


def _first_cell(runner: RunnerProcess) -> None:
    with RunnerSession(runner.socket) as session:
        if session.run("6 * 7").done.result != "42":
            raise RuntimeError("wrong answer")


def _late(runner: RunnerProcess) -> None:
    with RunnerSession(runner.socket) as session:
        session.run("while True: pass", KILL_LIMIT_SECONDS)


# ---------------------------------------------------------------- HTTP


class Caller:
    """One connection that is kept alive."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        self._connection.connect()

    def post(self, path: str, body: dict[str, object]) -> tuple[int, dict[str, object]]:
        payload = json.dumps(body).encode()
        self._connection.request("POST", path, payload, {"content-type": "application/json"})
        answer = self._connection.getresponse()
        text = answer.read()
        return answer.status, json.loads(text) if text else {}


def measure_http(interpreter: str, preload: str, runs: int) -> None:
    """Ask in turns with both yardsticks, so that all meet the same moments of the machine."""
    with ExitStack() as stack:
        bare_port = _free_port()
        program = [sys.executable, "-c", BARE_POST, str(bare_port)]
        stack.enter_context(_program(program, {}, bare_port))
        bare = Caller(bare_port)
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        python = str(CELLS) if CELLS.exists() else sys.executable
        settings = {"preload": preload}
        runner = stack.enter_context(RunnerProcess(folder, python=python, settings=settings))
        client.hello(runner.socket, START_SECONDS)
        port = _free_port()
        variables = {
            "SANDBOX_PORT": str(port),
            "SANDBOX_RUNNER_SOCKET": runner.socket,
            "SANDBOX_PACKAGES_DIR": str(runner.packages_dir),
            "SANDBOX_LOG_LEVEL": "error",
            "SANDBOX_MAX_SESSIONS": "40",
        }
        service = [sys.executable, "-P", "-m", "sandbox"]
        stack.enter_context(_program(service, variables, port))
        print(f"\nHTTP, keep-alive, {preload} preloaded")
        caller = Caller(port)
        live = str(caller.post("/sessions", {})[1]["session_id"])
        cell: dict[str, object] = {"code": "1 + 1", "session_id": live}
        caller.post("/execute", cell)
        new: dict[str, object] = {"code": "6 * 7"}
        posts, lives, floors, firsts = [], [], [], []
        for _ in range(runs):
            posts += [_timed(lambda: bare.post("/execute", {"code": "1"})) for _ in range(8)]
            lives += [_timed(lambda: _expect(caller, cell, "2")) for _ in range(8)]
            floors.append(_rested(lambda: _start(interpreter)))
            firsts.append(_rested(lambda: _expect(caller, new, "42")))
        board = Board(floors, posts)
        board.show("python3 -I -c pass", floors)
        board.show("a bare FastAPI POST", posts)
        board.show("cell in a live session", lives)
        board.show("new session + first cell", firsts)
        time.sleep(1)
        board.show(
            "the same 100 times without a rest",
            [_timed(lambda: _expect(caller, new, "42")) for _ in range(100)],
        )
        spin: dict[str, object] = {
            "code": "while True: pass",
            "timeout_seconds": KILL_LIMIT_SECONDS,
        }
        board.show(
            "kill of a spinning cell, beyond its limit",
            [
                _rested(lambda: caller.post("/execute", spin)) - KILL_LIMIT_SECONDS
                for _ in range(20)
            ],
        )
        for callers in (1, 8, 32):
            _throughput(board, port, callers)
        _installs(board, caller)


def _expect(caller: Caller, body: dict[str, object], result: str) -> None:
    status, answer = caller.post("/execute", body)
    if status != http.client.OK or answer["result"] != result:
        raise RuntimeError(f"{status}: {answer}")


def _throughput(board: Board, port: int, callers: int) -> None:
    counts = {"ok": 0, "busy": 0, "wrong": 0}
    lock = threading.Lock()
    until = time.perf_counter() + THROUGHPUT_SECONDS

    def call() -> None:
        caller = Caller(port)
        while time.perf_counter() < until:
            status, answer = caller.post("/execute", {"code": "6 * 7"})
            kind = "ok" if answer.get("result") == "42" else "wrong"
            with lock:
                counts["busy" if status == http.client.TOO_MANY_REQUESTS else kind] += 1

    threads = [threading.Thread(target=call) for _ in range(callers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    rate = counts["ok"] / THROUGHPUT_SECONDS
    print(
        f"{callers:2} callers, each run in a new session: {rate:6.0f} a second, "
        f"{rate * board.floor:.2f} in the time of a bare start, "
        f"{counts['busy']} told to wait (429), {counts['wrong']} wrong",
        flush=True,
    )


def _installs(board: Board, caller: Caller) -> None:
    for name in ("package install, not cached", "package install, cached"):
        times = []
        for package in PACKAGES:
            session = str(caller.post("/sessions", {})[1]["session_id"])
            body: dict[str, object] = {"package": package, "session_id": session}
            begun = time.perf_counter()
            status, answer = caller.post("/packages", body)
            if status != http.client.OK:
                print(f"{name}: {package} not measured, {status} {answer.get('detail', '')}")
                return
            times.append(time.perf_counter() - begun)
        board.show(name, times)


# ---------------------------------------------------------------- peers


def measure_peers(board: Board) -> None:
    print("\npeers, in an environment that is thrown away")
    with tempfile.TemporaryDirectory(prefix="bench-peers-") as folder:
        uv = str(Path(sysconfig.get_path("scripts")) / "uv")
        python = f"{folder}/env/bin/python"
        subprocess.run(
            [uv, "venv", "-q", "--python", os.path.realpath(sys.executable), f"{folder}/env"],
            check=True,
            stdout=subprocess.DEVNULL,
        )
        for script, *packages in (
            ("peer_jupyter.py", "ipykernel", "jupyter_client"),
            ("peer_sandlock.py", "sandlock"),
            ("peer_monty.py", "pydantic-monty"),
        ):
            install = [uv, "pip", "install", "-q", "--python", python, *packages]
            _measure_peer(board, install, python, script)


def _measure_peer(board: Board, install: list[str], python: str, script: str) -> None:
    try:
        subprocess.run(install, check=True, capture_output=True, timeout=300)
        said = subprocess.run(
            [python, str(Path(__file__).with_name("peers") / script)],
            check=True,
            capture_output=True,
            timeout=180,
        ).stdout
    except (subprocess.SubprocessError, OSError) as error:
        reason = getattr(error, "stderr", b"") or str(error).encode()
        print(f"{script}: not measured: {reason.decode(errors='replace').strip()[-200:]}")
        return
    for name, times in json.loads(said).items():
        board.show(name, times)


# ---------------------------------------------------------------- tools


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def _program(command: list[str], variables: dict[str, str], port: int) -> Iterator[None]:
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    process = subprocess.Popen(command, env={**kept, **variables}, stdout=subprocess.DEVNULL)
    try:
        limit = time.monotonic() + START_SECONDS
        while True:
            probe = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            try:
                probe.request("GET", "/health")
                probe.getresponse().read()
                break
            except OSError:
                if process.poll() is not None or time.monotonic() > limit:
                    raise RuntimeError(f"{command[-1]} did not start") from None
                time.sleep(0.05)
            finally:
                probe.close()
        yield
    finally:
        process.terminate()
        process.wait(15)


def _timed(action: Callable[[], object]) -> float:
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def _rested(action: Callable[[], object]) -> float:
    time.sleep(REST_SECONDS)
    return _timed(action)


if __name__ == "__main__":
    main()
