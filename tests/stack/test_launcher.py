"""`make local` and `make ask` as a user and a script meet them."""

import os
import re
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path

import httpx
import pytest
from stack_support.processes import living, marked
from stack_support.running_stack import (
    ROOT,
    SERVICES,
    RunningStack,
    free_ports,
    launcher_command,
    running_stack,
    seconds_of,
    stack_environment,
    start_stack,
)
from stack_support.waiting import wait_until


def run_launcher(
    *arguments: str, environment: dict[str, str], seconds: float = 120
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        launcher_command(*arguments),
        env=environment,
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )


def own_ports() -> dict[str, int]:
    return dict(zip(SERVICES, free_ports(len(SERVICES)), strict=True))


def test_start_ends_with_the_addresses_and_two_commands(stack: RunningStack) -> None:
    said = stack.output()

    for service in SERVICES:
        assert f":{stack.ports[service]}" in said
    assert f"curl -X POST http://localhost:{stack.ports['middleware']}/chat" in said
    assert "make ask Q=" in said
    assert "Traceback" not in said


def test_start_says_who_is_ready_and_nothing_that_alarms(stack: RunningStack) -> None:
    lifecycle = re.compile(r"\S+ +\S+ +(starts |ready in )")
    lines = stack.output().partition("\nReady in")[0].splitlines()

    assert not [line for line in lines if line.strip() and not lifecycle.match(line)]
    assert len(lines) == len(SERVICES) + 2  # and the runner, and the first line


def test_port_in_use_is_refused_with_port_and_holder_before_anything_starts(
    tmp_path: Path,
) -> None:
    ports = own_ports()
    with socket.create_server(("127.0.0.1", 0)) as holder:
        ports["sandbox"] = holder.getsockname()[1]
        environment = stack_environment(tmp_path, ports)

        begun = time.monotonic()
        done = run_launcher("up", environment=environment)

    said = done.stdout + done.stderr
    assert done.returncode not in {0, 124}
    assert seconds_of(begun) < 5
    assert str(ports["sandbox"]) in said
    assert "sandbox" in said
    assert str(os.getpid()) in said
    assert not (tmp_path / "logs").exists()
    assert not (tmp_path / "stack.json").exists()


def test_second_start_on_the_ports_of_the_first_is_refused_and_names_it(
    stack: RunningStack, tmp_path: Path
) -> None:
    elsewhere = stack_environment(tmp_path, stack.ports)

    from_same_folder = run_launcher("up", environment=dict(stack.environment))
    from_other_folder = run_launcher("up", environment=elsewhere)

    assert from_same_folder.returncode != 0
    assert str(stack.process.pid) in from_same_folder.stdout + from_same_folder.stderr
    assert from_other_folder.returncode != 0
    assert str(stack.ports["middleware"]) in from_other_folder.stdout + from_other_folder.stderr
    assert str(stack.pid("middleware")) in from_other_folder.stdout + from_other_folder.stderr
    assert stack.is_ready()


def test_misspelt_variable_ends_the_start_with_the_right_name(tmp_path: Path) -> None:
    environment = stack_environment(tmp_path, own_ports(), MIDDLEWARE_MAX_STEP="3")

    done = run_launcher("up", environment=environment)

    assert done.returncode != 0
    assert "MIDDLEWARE_MAX_STEPS" in done.stdout + done.stderr
    assert not marked([str(tmp_path)])


def test_ask_prints_call_and_answer_of_the_running_stack(stack: RunningStack) -> None:
    begun = time.monotonic()

    done = run_launcher("ask", "what is 17*23?", environment=dict(stack.environment))

    assert done.returncode == 0, done.stderr
    assert "execute_code" in done.stdout
    assert "391" in done.stdout.splitlines()[-1]
    assert seconds_of(begun) < 10


def test_ask_takes_the_question_from_the_environment_as_typed(stack: RunningStack) -> None:
    question = "run this:\n```python\nprint(\"it's $HOME $(id)\", '`x`')\n```"

    done = run_launcher("ask", environment={**stack.environment, "ASK_QUESTION": question})

    assert done.returncode == 0, done.stderr
    assert "it's $HOME $(id) `x`" in done.stdout


@pytest.mark.parametrize("question", ["", "   "])
def test_ask_without_a_question_is_a_usage_error(stack: RunningStack, question: str) -> None:
    done = run_launcher("ask", question, environment=dict(stack.environment))

    assert done.returncode == 2
    assert done.stdout == ""
    assert "make ask" in done.stderr


def test_ask_that_fails_ends_with_one_and_says_why_on_stderr(tmp_path: Path) -> None:
    environment = stack_environment(
        tmp_path,
        own_ports(),
        LLM_BASE_URL=f"http://127.0.0.1:{free_ports(1)[0]}/v1",
        MIDDLEWARE_CHAT_TIMEOUT_SECONDS="3",
    )

    done = run_launcher("ask", "hello", environment=environment)

    assert done.returncode == 1
    assert done.stdout == ""
    assert "llm-unreachable" in done.stderr
    assert "Traceback" not in done.stderr


def test_ask_without_a_stack_starts_one_and_ends_it(tmp_path: Path) -> None:
    mark = f"ask-{tmp_path.name}-{free_ports(1)[0]}"
    environment = stack_environment(tmp_path, own_ports(), STACK_TEST_MARK=mark)

    done = run_launcher("ask", "What is 2**40?", environment=environment)

    assert done.returncode == 0, done.stderr
    assert str(2**40) in done.stdout.replace(",", "")
    assert not living(marked([mark]))


def test_terminated_stack_answers_the_chat_in_flight_first(tmp_path: Path) -> None:
    with running_stack(tmp_path) as stack:
        stack.chat("hello")
        answers: list[int] = []
        ask = threading.Thread(
            target=lambda: answers.append(
                stack.post_chat("run this:\n```python\nimport time\ntime.sleep(2)\n```").status_code
            )
        )
        ask.start()
        wait_until(
            lambda: stack.metric("sandbox", "sandbox_slots_in_use") >= 1,
            within=5,
            what="the run",
        )

        stack.process.send_signal(signal.SIGTERM)

        ask.join(timeout=20)
        everybody = stack.processes()
        assert answers == [200]
        assert stack.process.wait(timeout=30) == 0
        assert not living(everybody)
        assert not living(marked([stack.mark]))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signal_ends_everything_even_during_the_start(
    tmp_path: Path, number: signal.Signals
) -> None:
    mark = f"early-{number.name}-{free_ports(1)[0]}"
    environment = stack_environment(tmp_path, own_ports(), STACK_TEST_MARK=mark)
    process = subprocess.Popen(
        launcher_command("up"),
        env=environment,
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        wait_until(lambda: len(marked([mark])) > 3, within=20, what="the first services")

        process.send_signal(number)

        process.wait(timeout=30)
        assert not living(marked([mark]))
    finally:
        if process.poll() is None:
            process.kill()
            process.wait(timeout=5)


def test_killed_supervisor_leaves_no_child(tmp_path: Path) -> None:
    stack = start_stack(tmp_path)
    try:
        session = stack.http.post(f"{stack.url('sandbox')}/sessions").json()["session_id"]
        busy = threading.Thread(
            target=_ignore_cut,
            args=(stack, {"code": "while True: pass", "session_id": session}),
        )
        busy.start()
        wait_until(
            lambda: stack.metric("sandbox", "sandbox_slots_in_use") >= 1, within=5, what="the run"
        )
        everybody, marks, sockets = stack.processes(), stack.marks(), stack.socket_path().parent
        assert len(everybody) >= len(SERVICES) + 2

        stack.process.kill()
        stack.process.wait(timeout=5)

        wait_until(lambda: not living(everybody), within=5, what=f"end of {living(everybody)}")
        wait_until(lambda: not living(marked(marks)), within=5, what="end of all orphans")
        wait_until(lambda: not sockets.exists(), within=5, what="end of the socket folder")
        busy.join(timeout=10)
    finally:
        stack.end_by_force()


def _ignore_cut(stack: RunningStack, body: dict[str, str]) -> None:
    try:
        stack.http.post(f"{stack.url('sandbox')}/execute", json=body)
    except httpx.TransportError:
        return
