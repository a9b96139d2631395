"""One suite for the port to the sandbox: on the script, and on the real service and runner."""

import contextlib
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import httpx
import pytest
from code_executor.adapters.sandbox_http import HttpSandbox
from code_executor.sandbox import Sandbox
from code_executor.testing import ScriptedSandbox
from servicekit.errors import StackError
from servicekit.outbound import internal_client
from servicekit.wire.execution import ExecuteRequest, ExecuteResult, ExecutionError

ROOT = Path(__file__).resolve().parents[2]
RUNNER = ROOT / "sandbox" / "app" / "sandbox_runner" / "__main__.py"
START_SECONDS = 60.0


@pytest.fixture(scope="module")
def real_address() -> Iterator[str]:
    """Start a runner and a sandbox service of our own."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory(prefix="ce-") as folder, contextlib.ExitStack() as stack:
        # The runner gives up root: its new user has to pass through.
        Path(folder).chmod(0o711)
        environment = {
            **os.environ,
            "SANDBOX_RUNNER_SOCKET": f"{folder}/runner.sock",
            "SANDBOX_RUNNER_SLOTS_DIR": f"{folder}/slots",
            "SANDBOX_RUNNER_POOL": "4",
            "SANDBOX_PACKAGES_DIR": f"{folder}/packages",
            "SANDBOX_PORT": str(port),
        }
        base = str(getattr(sys, "_base_executable", sys.executable))
        _start(stack, [base, "-I", str(RUNNER)], environment)
        service = {
            name: value
            for name, value in environment.items()
            if not name.startswith("SANDBOX_RUNNER_") or name.endswith("_SOCKET")
        }
        _start(stack, [sys.executable, "-P", "-m", "sandbox"], service)
        address = f"http://127.0.0.1:{port}"
        _wait_until(lambda: _is_safe(address))
        yield address


def _start(stack: contextlib.ExitStack, command: list[str], environment: dict[str, str]) -> None:
    process = subprocess.Popen(
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )

    def end() -> None:
        process.terminate()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(timeout=5)

    stack.callback(end)


def _wait_until(is_so: Callable[[], bool]) -> None:
    ends_at = time.monotonic() + START_SECONDS
    while not is_so():
        if time.monotonic() > ends_at:
            pytest.skip("the real sandbox does not run on this machine")
        time.sleep(0.1)


def _is_safe(address: str) -> bool:
    try:
        with httpx.Client(trust_env=False) as client:
            return client.get(f"{address}/ready").status_code == 200
    except httpx.HTTPError:
        return False


@pytest.fixture(params=["fake", "real"])
async def make(request: pytest.FixtureRequest) -> AsyncIterator[Callable[[ExecuteResult], Sandbox]]:
    """Give a sandbox: the fake is told what the real one should answer."""
    if request.param == "fake":
        yield ScriptedSandbox
        return
    async with internal_client(request.getfixturevalue("real_address")) as client:
        yield lambda _: HttpSandbox(client)


Make = Callable[[ExecuteResult], Sandbox]


async def test_output_and_value_come_back(make: Make) -> None:
    sandbox = make(ExecuteResult(status="ok", stdout="hi\n", result="391"))
    ran = await sandbox.execute(ExecuteRequest(code="print('hi')\n17*23"))
    assert (ran.status, ran.stdout, ran.result) == ("ok", "hi\n", "391")


async def test_exception_comes_back_with_type_message_and_traceback(make: Make) -> None:
    error = ExecutionError(
        type="ZeroDivisionError",
        message="division by zero",
        traceback="Traceback\nZeroDivisionError: division by zero\n",
    )
    ran = await make(ExecuteResult(status="error", error=error)).execute(ExecuteRequest(code="1/0"))
    assert ran.status == "error"
    assert ran.error is not None
    assert (ran.error.type, ran.error.message) == ("ZeroDivisionError", "division by zero")
    assert ran.error.traceback.rstrip().endswith("ZeroDivisionError: division by zero")


async def test_endless_loop_is_a_timeout_with_its_duration(make: Make) -> None:
    sandbox = make(ExecuteResult(status="timeout", duration_ms=501))
    ran = await sandbox.execute(ExecuteRequest(code="while True: pass", timeout_seconds=0.5))
    assert ran.status == "timeout"
    assert 450 < ran.duration_ms < 5000


async def test_packages_are_listed_by_name_and_version(make: Make) -> None:
    sandbox = make(ExecuteResult(status="ok"))
    listed = await sandbox.packages(None)
    assert all(each.name and each.version for each in listed.packages)
    await sandbox.ping()


async def test_unknown_session_is_refused_by_the_real_one(real_address: str) -> None:
    async with internal_client(real_address) as client:
        with pytest.raises(StackError) as caught:
            await HttpSandbox(client).execute(ExecuteRequest(code="1", session_id="no-such"))
    assert caught.value.http_status in {404, 410}
    assert caught.value.type.startswith("session-")


async def test_limit_out_of_bounds_is_refused_by_the_real_one(real_address: str) -> None:
    async with internal_client(real_address) as client:
        with pytest.raises(StackError) as caught:
            await HttpSandbox(client).execute(ExecuteRequest(code="1", timeout_seconds=1e9))
    assert caught.value.http_status == 422
