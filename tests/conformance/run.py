"""Run the official MCP conformance suite against the gateway, and print the figures.

    python tests/conformance/run.py [--direct | --older] [--only SUITE]

The gateway stands in front of `everything_server.py`; `--direct` points the suite at that
server itself, to tell the gateway's faults from the server's, and `--older` makes the
server one that knows no revision newer than 2025-11-25. The suite and the Node that
it needs are installed once into `.run/conformance`, from the lock beside this file.
Exit status: 0 when every suite reached the bar that `expected.json` sets, else 1.
"""

import argparse
import json
import os
import platform
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
CACHE = HERE.parents[1] / ".run" / "conformance"
INSTALL_SECONDS = 300
SUITE_SECONDS = 240
START_SECONDS = 30


@dataclass(frozen=True)
class Suite:
    """One run of the suite."""

    name: str
    package: str
    arguments: tuple[str, ...]


SUITES = (
    Suite("released (0.1.16), all", "suite-released", ("--suite", "all")),
    Suite("next, 2025-11-25", "suite-next", ("--requirements", "2025-11-25")),
    Suite("next, 2026-07-28", "suite-next", ("--requirements", "2026-07-28")),
)


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def install() -> Path:
    """Install the suite where the lock changed; return the Node to run it with."""
    CACHE.mkdir(parents=True, exist_ok=True)
    files = ("package.json", "package-lock.json", ".npmrc")
    if any(_differs(HERE / name, CACHE / name) for name in files) or not _node():
        for name in files:
            shutil.copyfile(HERE / name, CACHE / name)
        npm = shutil.which("npm")
        if npm is None:
            raise SystemExit("The conformance suite needs npm (Node.js 20 or newer).")
        say("installing the suite and its Node …")
        # No scripts: the Node binary comes as a plain package of its own.
        subprocess.run(
            [npm, "ci", "--ignore-scripts", "--loglevel=error"],
            cwd=CACHE, check=True, timeout=INSTALL_SECONDS,
        )  # fmt: skip
    node = _node()
    if node is None:
        raise SystemExit(
            f"There is no Node 24 package for {platform.system()} {platform.machine()}."
        )
    return node


def _differs(one: Path, other: Path) -> bool:
    return not other.exists() or one.read_bytes() != other.read_bytes()


def _node() -> Path | None:
    found = sorted((CACHE / "node_modules").glob("node-*/bin/node"))
    return found[0] if found else None


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def process(command: list[str], port: int, **variables: str) -> Iterator[None]:
    """Run a server until the block ends."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MCP_SERVER_")}
    child = subprocess.Popen(command, env=environment | variables)
    try:
        _await_port(child, port)
        yield
    finally:
        child.send_signal(signal.SIGTERM)
        try:
            child.wait(15)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def _await_port(child: subprocess.Popen[bytes], port: int) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and child.poll() is None:
        with socket.socket() as probe:
            probe.settimeout(1)
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise SystemExit(f"{child.args} did not start.")


def _await_ready(url: str) -> None:
    deadline = time.monotonic() + START_SECONDS
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    while time.monotonic() < deadline:
        try:
            with opener.open(url, timeout=2) as answer:
                if answer.status == 200:
                    return
        except OSError:
            time.sleep(0.1)
    raise SystemExit(f"{url} did not become ready.")


@contextmanager
def target(*, is_direct: bool, is_older: bool) -> Iterator[str]:
    """Run what the suite shall call; yield its address."""
    everything, gateway = free_port(), free_port()
    era = ["older"] if is_older else []
    command = [sys.executable, str(HERE / "everything_server.py"), str(everything), *era]
    with process(command, everything):
        upstream = f"http://127.0.0.1:{everything}/mcp"
        if is_direct:
            yield upstream
            return
        with process(
            [sys.executable, "-m", "mcp_server"],
            gateway,
            MCP_SERVER_PORT=str(gateway),
            MCP_SERVER_OWN_UPSTREAMS=f"everything={upstream}",
            MCP_SERVER_LOG_LEVEL="error",
        ):
            _await_ready(f"http://127.0.0.1:{gateway}/ready")
            yield f"http://127.0.0.1:{gateway}/mcp"


def run(suite: Suite, node: Path, url: str) -> tuple[int, int, list[str]]:
    """Run one suite; return scenarios passed, all scenarios, and the names that failed."""
    program = CACHE / "node_modules" / suite.package / "dist" / "index.js"
    results = CACHE / "results" / re.sub(r"\W+", "-", suite.name)
    shutil.rmtree(results, ignore_errors=True)
    done = subprocess.run(
        [str(node), str(program), "server", "--url", url, *suite.arguments,
         "--output-dir", str(results)],
        cwd=CACHE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=SUITE_SECONDS,
        check=False, text=True,
    )  # fmt: skip
    results.mkdir(parents=True, exist_ok=True)
    (results / "output.txt").write_text(done.stdout)
    return _score(done.stdout)


_SCENARIO = re.compile(r"^[✓✗] (\S+): \d+ passed, (\d+) failed", re.MULTILINE)
_UNSCORED = re.compile(r"^  [✓✗] (\S+) \((?:extension|pending|added-after-release)\)", re.MULTILINE)


def _score(output: str) -> tuple[int, int, list[str]]:
    """Read the summary; what the suite itself does not score for a revision is left out."""
    unscored = set(_UNSCORED.findall(output))
    scenarios = {
        name: int(failures) for name, failures in _SCENARIO.findall(output) if name not in unscored
    }
    failed = sorted(name for name, failures in scenarios.items() if failures)
    return len(scenarios) - len(failed), len(scenarios), failed


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--direct", action="store_true", help="without the gateway")
    parser.add_argument("--older", action="store_true", help="in front of a server of 2025")
    parser.add_argument("--only", help="run the suites whose name contains this")
    options = parser.parse_args()
    expected: dict[str, int] = json.loads((HERE / "expected.json").read_text())
    node = install()
    is_good = True
    with target(is_direct=options.direct, is_older=options.older) as url:
        for suite in SUITES:
            if options.only and options.only not in suite.name:
                continue
            passed, total, failed = run(suite, node, url)
            # The bar is the gateway's in front of a server that can everything.
            bar = 0 if options.direct or options.older else expected[suite.name]
            is_good = is_good and passed >= bar and total > 0
            say(f"{suite.name:24} {passed:3} of {total:3} scenarios (bar {bar})")
            for name in failed:
                say(f"    failed: {name}")
    return 0 if is_good else 1


if __name__ == "__main__":
    sys.exit(main())
