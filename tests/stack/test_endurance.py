"""Many chats: nothing is lost, nothing leaks."""

import gc
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
from servicekit.outbound import IDLE_CONNECTION_SECONDS
from stack_support.figures import note
from stack_support.processes import Holdings, holdings
from stack_support.running_stack import RunningStack, client, running_stack, user

QUESTIONS = (
    "What time is it in Tokyo?",
    "what is {n}*{n}?",
    "run print('x' * {n})",
    "hello",
    "What time is it in Oslo, and what is {n}+1?",
)
# Growth of one process over 200 chats that is still noise: allocator arenas and
# first-use caches. A leak of 10 KiB a chat would be seen.
MAX_GROWTH_BYTES = 10 * 1024 * 1024
MAX_MORE_DESCRIPTORS = 6
MAX_MORE_PROCESSES = 2


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    """A stack of its own: what earlier tests left in memory is not to be measured."""
    with running_stack(tmp_path_factory.mktemp("endurance")) as running:
        yield running


def ask_one(stack: RunningStack, number: int) -> dict[str, Any]:
    question = QUESTIONS[number % len(QUESTIONS)].format(n=number + 2)
    return stack.chat(question)


def ask_many(stack: RunningStack, count: int, at_once: int) -> Counter[str]:
    """Send chats from many connections; count how they ended."""

    def one(number: int) -> str:
        question = QUESTIONS[number % len(QUESTIONS)].format(n=number + 2)
        with client() as http:
            response = http.post(
                f"{stack.url('middleware')}/chat", json={"messages": [user(question)]}
            )
        if response.status_code != 200:
            return f"{response.status_code} {response.json().get('type')}"
        failed = [call for call in response.json()["tool_calls"] if call["is_error"]]
        return f"tool error: {failed[0]['output'][:200]}" if failed else "answer"

    with ThreadPoolExecutor(at_once) as pool:
        return Counter(pool.map(one, range(count)))


def measured(stack: RunningStack) -> dict[str, Holdings]:
    """Measure every service once it has come to rest."""
    time.sleep(1.0)  # connections of the last chat close
    found = {}
    for name, process in stack.service_processes().items():
        held = holdings(process)
        assert held is not None, f"{name} is gone"
        found[name] = held
    supervisor = holdings(stack.processes()[0])
    assert supervisor is not None
    return found | {"launcher": supervisor}


def at_rest(stack: RunningStack) -> dict[str, Holdings]:
    """Measure every service once its pools have let go of what a burst of chats needed.

    An idle connection is closed by the first request after its time.
    """
    time.sleep(IDLE_CONNECTION_SECONDS + 1)
    for number in range(len(QUESTIONS)):
        ask_one(stack, number)
    return measured(stack)


def with_connections_of(
    calm: dict[str, Holdings], busy: dict[str, Holdings]
) -> dict[str, Holdings]:
    """Return the memory after a burst beside the descriptors before it."""
    return {name: replace(calm[name], rss_bytes=busy[name].rss_bytes) for name in busy}


def assert_no_growth(before: dict[str, Holdings], after: dict[str, Holdings]) -> None:
    for name, first in before.items():
        last = after[name]
        growth = last.rss_bytes - first.rss_bytes
        note(
            f"{name:15} memory {first.rss_bytes >> 20} → {last.rss_bytes >> 20} MiB "
            f"({growth / 1024:+.0f} KiB), descriptors {first.descriptors} → {last.descriptors}, "
            f"connections {first.connections} → {last.connections}"
        )
    for name, first in before.items():
        last = after[name]
        assert last.descriptors <= first.descriptors + MAX_MORE_DESCRIPTORS, name
        assert last.connections <= first.connections + MAX_MORE_DESCRIPTORS, name
        assert last.rss_bytes <= first.rss_bytes + MAX_GROWTH_BYTES, name


@pytest.mark.timeout(600)
def test_two_hundred_chats_in_a_row_leak_nothing(worker: RunningStack) -> None:
    for number in range(40):
        ask_one(worker, number)
    pids = {name: process.pid for name, process in worker.service_processes().items()}
    before, processes = measured(worker), len(worker.processes())
    gc.collect()
    begun = time.monotonic()

    for number in range(200):
        answer = ask_one(worker, number)
        assert not [call for call in answer["tool_calls"] if call["is_error"]], answer

    note(f"200 chats in {time.monotonic() - begun:.1f} s")
    after = measured(worker)
    assert_no_growth(before, after)
    assert abs(len(worker.processes()) - processes) <= MAX_MORE_PROCESSES
    assert {n: p.pid for n, p in worker.service_processes().items()} == pids, "one was restarted"


@pytest.mark.timeout(600)
def test_fifty_chats_at_once_are_all_answered_and_leak_nothing(worker: RunningStack) -> None:
    ask_one(worker, 0)
    calm = measured(worker)
    assert ask_many(worker, 50, at_once=50) == {"answer": 50}
    before, processes = with_connections_of(calm, measured(worker)), len(worker.processes())
    pids = {name: process.pid for name, process in worker.service_processes().items()}
    begun = time.monotonic()

    for _ in range(4):
        assert ask_many(worker, 50, at_once=50) == {"answer": 50}

    note(f"4 times 50 chats at once in {time.monotonic() - begun:.1f} s")
    assert_no_growth(before, at_rest(worker))
    assert abs(len(worker.processes()) - processes) <= MAX_MORE_PROCESSES
    assert {n: p.pid for n, p in worker.service_processes().items()} == pids, "one was restarted"


def test_callers_that_hang_up_leave_no_run_behind(worker: RunningStack) -> None:
    before = measured(worker)

    def hang_up(_: int) -> None:
        with client(0.5) as http, pytest.raises(Exception, match="timed out"):
            http.post(
                f"{worker.url('middleware')}/chat",
                json={"messages": [user("run this: `while True: pass`")]},
            )

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(hang_up, range(16)))

    ends_at = time.monotonic() + 3
    while worker.metric("sandbox", "sandbox_slots_in_use") and time.monotonic() < ends_at:
        time.sleep(0.1)
    assert worker.metric("sandbox", "sandbox_slots_in_use") == 0
    assert worker.metric("sandbox", "sandbox_queue_length") == 0
    assert_no_growth(before, at_rest(worker))
