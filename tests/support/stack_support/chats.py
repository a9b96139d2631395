"""Chats that go on while something is done to the stack, and how they must end."""

import http.client
import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from stack_support.containers import Containers
from stack_support.waiting import wait_until

QUESTION = "what is 2**100, and what time is it in Tokyo?"
POWER = "1267650600228229401496703205376"

Ending = tuple[int, Any]
"""Status and body of an answer; 0 and the error's name where there was none."""


class Chatter:
    """Somebody who chats all the while, and notes how each chat ends."""

    def __init__(self, stack: Containers) -> None:
        self.stack = stack
        self.ended = threading.Event()
        self.endings: list[Ending] = []

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


def assert_typed(endings: Sequence[Ending], service: str) -> None:
    """Each chat ended in an answer or a typed error; but a dead front door says nothing."""
    for status, answer in endings:
        if status == 0:
            assert service == "middleware", answer
        elif status == http.HTTPStatus.OK:
            assert answer["response"]
        else:
            assert {"type", "title", "status", "detail"} <= set(answer), answer
            assert "Traceback" not in json.dumps(answer)


def assert_healed(stack: Containers) -> None:
    """Chats are answered again."""
    wait_until(lambda: stack.answers(QUESTION, POWER), within=60, what="a chat is answered")
