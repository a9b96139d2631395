"""Each example is executed against the running stack, as its reader would."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from stack_support.running_stack import RunningStack

pytestmark = [pytest.mark.stack, pytest.mark.timeout(240)]

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


def test_curl_chat_answers_with_the_call_it_made(stack: RunningStack) -> None:
    [answer] = json_lines(output(stack, EXAMPLES / "curl/chat.sh", "what is 12345 * 67?"))

    calls = answer["tool_calls"]
    assert isinstance(calls, list)
    assert calls[0]["name"] == "execute_code"
    assert str(12345 * 67) in str(answer["response"]).replace(",", "")


def test_curl_lists_tools_and_calls_one(stack: RunningStack) -> None:
    listed, called = json_lines(output(stack, EXAMPLES / "curl/tools.sh"))

    assert "execute_code" in str(listed["tools"])
    assert called["success"] is True
    assert str(2**100) in str(called["output"])


def test_curl_session_keeps_its_variables(stack: RunningStack) -> None:
    first, second = json_lines(output(stack, EXAMPLES / "curl/sandbox.sh"))

    assert first["status"] == second["status"] == "ok"
    assert second["result"] == "42"


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
