"""Containers are killed, restarted and stopped while chats go on; the stack heals by itself."""

import http.client
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from stack_support.containers import OURS, Containers, run
from stack_support.host_process import kill
from stack_support.waiting import wait_until

QUESTION = "what is 2**100, and what time is it in Tokyo?"
POWER = "1267650600228229401496703205376"

pytestmark = [pytest.mark.stack, pytest.mark.timeout(300)]


class Chatter:
    """Somebody who chats all the while, and notes how each chat ends."""

    def __init__(self, stack: Containers) -> None:
        self.stack = stack
        self.ended = threading.Event()
        self.endings: list[tuple[int, Any]] = []

    def chat_on(self) -> None:
        body = {"messages": [{"role": "user", "content": QUESTION}]}
        while not self.ended.is_set():
            try:
                ending = self.stack.post(f"{self.stack.url('MIDDLEWARE')}/chat", body, seconds=75)
            except (OSError, http.client.HTTPException, json.JSONDecodeError) as error:
                ending = (0, type(error).__name__)
            self.endings.append(ending)
            self.ended.wait(0.05)


@contextmanager
def chats(stack: Containers) -> Iterator[Chatter]:
    """Keep three chats going for the block."""
    chatter = Chatter(stack)
    threads = [threading.Thread(target=chatter.chat_on) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        wait_until(lambda: len(chatter.endings) > 3, within=60, what="chats go on")
        yield chatter
    finally:
        chatter.ended.set()
        for thread in threads:
            thread.join(timeout=80)
    assert not [thread for thread in threads if thread.is_alive()], "a chat never ended"


def assert_typed(chatter: Chatter, service: str) -> None:
    """Each chat ended in an answer or a typed error; but a dead front door says nothing."""
    for status, answer in chatter.endings:
        if status == 0:
            assert service == "middleware", answer
        elif status == 200:
            assert answer["response"]
        else:
            assert {"type", "title", "status", "detail"} <= set(answer), answer
            assert "Traceback" not in json.dumps(answer)


def assert_healed(stack: Containers) -> None:
    wait_until(lambda: stack.answers(QUESTION, POWER), within=60, what="a chat is answered")


@pytest.mark.parametrize("service", OURS)
def test_the_stack_heals_when_a_main_process_is_killed(stack: Containers, service: str) -> None:
    before = stack.inspect(service)

    with chats(stack) as chatter:
        # From the host: what `docker kill` ends is not restarted.
        kill(int(before["State"]["Pid"]))
        wait_until(
            lambda: stack.inspect(service)["RestartCount"] > before["RestartCount"],
            within=30,
            what=f"{service} is started again",
        )
        stack.wait_healthy(service, within=60)

    assert_typed(chatter, service)
    assert_healed(stack)


@pytest.mark.parametrize("service", OURS)
def test_a_restart_is_orderly_and_chats_go_on_after_it(stack: Containers, service: str) -> None:
    with chats(stack) as chatter:
        run("docker", "restart", stack.id_of(service), seconds=60)
        stack.wait_healthy(service, within=60)

    assert_typed(chatter, service)
    assert_healed(stack)


@pytest.mark.parametrize("service", OURS)
def test_a_stopped_container_ends_by_itself_and_comes_back(stack: Containers, service: str) -> None:
    identity = stack.id_of(service)

    run("docker", "stop", "--time", "20", identity, seconds=60)
    code = stack.inspect(service)["State"]["ExitCode"]
    status, answer = (
        (502, {"type": "x"})
        if service == "middleware"
        else stack.post(
            f"{stack.url('MIDDLEWARE')}/chat", {"messages": [{"role": "user", "content": QUESTION}]}
        )
    )
    run("docker", "start", identity)
    stack.wait_healthy(service, within=60)

    # 137 would be SIGKILL after the grace period; the services end themselves on SIGTERM.
    assert code in {0, 143}, code
    assert status == 200 or answer["type"], answer
    assert_healed(stack)
