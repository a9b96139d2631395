"""Each example is executed against the running stack, as its reader would."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from stack_support.running_stack import (
    RunningStack,
    clean_environment,
    client,
    free_ports,
    running_service,
)
from stack_support.waiting import wait_until

pytestmark = [pytest.mark.stack, pytest.mark.timeout(240)]

needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="no curl on PATH")
EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
SECONDS = 100


def run(
    stack: RunningStack, *command: str | Path, middleware: str | None = None
) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {
        "MIDDLEWARE_URL": middleware or stack.url("middleware"),
        "GATEWAY_URL": stack.url("mcp-server"),
        "SANDBOX_URL": stack.url("sandbox"),
        # A proxy of the surroundings can't reach this machine's loopback.
        "NO_PROXY": "127.0.0.1,localhost",
        "no_proxy": "127.0.0.1,localhost",
    }
    return subprocess.run(
        [str(part) for part in command],
        env=environment,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )


def output(stack: RunningStack, *command: str | Path) -> str:
    done = run(stack, *command)
    assert done.returncode == 0, done.stderr or done.stdout
    return done.stdout


def json_lines(text: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in text.splitlines() if line.strip()]


def test_every_example_is_executed_here() -> None:
    text = Path(__file__).read_text(encoding="utf-8")
    for path in EXAMPLES.rglob("*"):
        if path.suffix in {".sh", ".py", ".mjs"}:
            assert path.name in text, f"no test runs {path.relative_to(EXAMPLES.parent)}"


@needs_curl
def test_curl_chat_answers_with_the_call_it_made(stack: RunningStack) -> None:
    [answer] = json_lines(output(stack, EXAMPLES / "curl/chat.sh", "what is 12345 * 67?"))

    calls = answer["tool_calls"]
    assert isinstance(calls, list)
    assert calls[0]["name"] == "execute_code"
    assert str(12345 * 67) in str(answer["response"]).replace(",", "")


@needs_curl
def test_curl_lists_tools_and_calls_one(stack: RunningStack) -> None:
    listed, called = json_lines(output(stack, EXAMPLES / "curl/tools.sh"))

    assert "execute_code" in str(listed["tools"])
    assert called["success"] is True
    assert str(2**100) in str(called["output"])


@needs_curl
def test_curl_session_keeps_its_variables(stack: RunningStack) -> None:
    first, second = json_lines(output(stack, EXAMPLES / "curl/sandbox.sh"))

    assert first["status"] == second["status"] == "ok"
    assert second["result"] == "42"


@needs_curl
def test_curl_speaks_mcp_without_a_session(stack: RunningStack) -> None:
    answer = output(stack, EXAMPLES / "curl/mcp.sh")

    assert "Asia/Tokyo" in answer
    assert '"error"' not in answer


def test_httpx_shows_calls_and_answer(stack: RunningStack) -> None:
    shown = output(stack, sys.executable, EXAMPLES / "python/chat_httpx.py")

    assert "execute_code" in shown
    assert "get_timezone_time" in shown
    assert "391" in shown


def test_httpx_shows_an_error_and_ends_with_one(stack: RunningStack) -> None:
    done = run(
        stack,
        sys.executable,
        EXAMPLES / "python/chat_httpx.py",
        # The gateway has no /chat: a problem document from the real stack.
        middleware=stack.url("mcp-server"),
    )

    assert done.returncode == 1
    assert "urn:problem:mcp-stack:not-found" in done.stderr


def test_openai_client_streams_an_answer(stack: RunningStack) -> None:
    shown = output(stack, sys.executable, EXAMPLES / "python/openai_client.py")

    assert "391" in shown


def test_mcp_client_lists_tools_and_runs_code(stack: RunningStack) -> None:
    shown = output(stack, sys.executable, EXAMPLES / "python/mcp_client.py")

    for name in ("execute_code", "get_current_time", "get_system_status"):
        assert f"{name}: " in shown
    assert "5050" in shown


@pytest.mark.skipif(shutil.which("node") is None, reason="no node on PATH")
@pytest.mark.parametrize(
    ("question", "expected"),
    [((), "391"), (("what", "is", "2**40?"), str(2**40))],
    ids=["default question", "own question"],
)
def test_javascript_shows_calls_and_answer(
    stack: RunningStack, question: Sequence[str], expected: str
) -> None:
    shown = output(stack, "node", EXAMPLES / "javascript/chat.mjs", *question)

    assert "execute_code" in shown
    assert expected in shown.replace(",", "")


@contextmanager
def tool_service(log_path: Path) -> Iterator[str]:
    """Run the example service on a port of its own; give its address."""
    port = free_ports(1)[0]
    with log_path.open("wb") as log, client() as http:
        process = subprocess.Popen(
            [sys.executable, "-P", EXAMPLES / "python/tool_service.py"],
            env=clean_environment(DICE_PORT=str(port)),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )

        def answers() -> bool:
            assert process.poll() is None, log_path.read_text(encoding="utf-8")
            try:
                return http.get(f"http://127.0.0.1:{port}/ready", timeout=3).status_code == 200
            except httpx.TransportError:
                return False

        try:
            wait_until(answers, within=30, what="the tool service answers")
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(timeout=20)


def test_tool_service_of_ones_own_is_offered_by_the_gateway(tmp_path: Path) -> None:
    with (
        tool_service(tmp_path / "dice.log") as address,
        running_service(
            "mcp_server",
            "MCP_SERVER_",
            tmp_path / "gateway.log",
            MCP_SERVER_OWN_UPSTREAMS="",
            MCP_SERVER_UPSTREAMS=f"dice={address}/mcp",
        ) as gateway,
    ):
        wait_until(
            lambda: "dice__roll_dice" in gateway.http.get(f"{gateway.url}/mcp/tools").text,
            within=15,
            what="the gateway offers the tool",
        )
        rolled = gateway.http.post(
            f"{gateway.url}/mcp/tools/dice__roll_dice", json={"dice": 3, "sides": 6}
        )
        refused = gateway.http.post(f"{gateway.url}/mcp/tools/dice__roll_dice", json={"dice": 0})

    outcome = rolled.json()
    assert outcome["success"] is True
    assert re.fullmatch(r"(\d) \+ (\d) \+ (\d) = (\d+)", outcome["output"])
    assert len(outcome["structured"]["rolls"]) == 3
    assert refused.status_code == 422
