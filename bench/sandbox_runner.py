"""Times of the sandbox runner, as multiples of a bare interpreter's start on the same machine.

Run: ``python bench/sandbox_runner.py [--preload numpy,pandas] [--runs 200]``
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "sandbox" / "app"))

from sandbox_runner import client
from sandbox_runner.client import RunnerSession
from sandbox_runner.launch import RunnerProcess

KILL_LIMIT_SECONDS = 0.1
REST_SECONDS = 0.03


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--preload", default="")
    options.add_argument("--runs", type=int, default=100)
    chosen = options.parse_args()
    interpreter = os.path.realpath(sys.executable)
    bare = [_timed(lambda: _start(interpreter)) for _ in range(max(20, chosen.runs // 2))]
    floor = statistics.median(bare)
    _show("python3 -I -c pass", bare, floor)
    settings = {"pool": "4", "slots": "16"} | (
        {"preload": chosen.preload} if chosen.preload else {}
    )
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as folder,
        RunnerProcess(Path(folder), settings=settings) as runner,
    ):
        said = client.hello(runner.socket)
        print(f"safe: {said.is_safe}, preloaded: {', '.join(said.preloaded) or 'nothing'}")
        with RunnerSession(runner.socket) as session:
            session.run("1")
            live = [_timed(lambda: session.run("1 + 1")) for _ in range(chosen.runs * 5)]
        _show("cell in a live session", live, floor)
        fresh = [_rested(lambda: _first_cell(runner)) for _ in range(chosen.runs)]
        _show("new session + first cell", fresh, floor)
        late = [_rested(lambda: _late(runner)) - KILL_LIMIT_SECONDS for _ in range(20)]
        _show("kill after the limit", late, floor)


def _start(interpreter: str) -> None:
    subprocess.run([interpreter, "-I", "-c", "pass"], check=True)


def _first_cell(runner: RunnerProcess) -> None:
    with RunnerSession(runner.socket) as session:
        if session.run("6 * 7").done.result != "42":
            raise RuntimeError("wrong answer")


def _late(runner: RunnerProcess) -> None:
    with RunnerSession(runner.socket) as session:
        session.run("while True: pass", KILL_LIMIT_SECONDS)


def _timed(action: Callable[[], object]) -> float:
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def _rested(action: Callable[[], object]) -> float:
    time.sleep(REST_SECONDS)  # the pool is filled again between two measurements
    return _timed(action)


def _show(name: str, seconds: list[float], floor: float) -> None:
    ordered = sorted(seconds)
    middle, high = statistics.median(ordered), ordered[int(len(ordered) * 0.99) - 1]
    print(
        f"{name:26} p50 {middle * 1e3:7.2f} ms  p99 {high * 1e3:7.2f} ms  "
        f"{middle / floor:6.3f} x a bare interpreter"
    )


if __name__ == "__main__":
    main()
