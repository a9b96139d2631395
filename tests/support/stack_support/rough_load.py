"""A load with everything in it: answers, errors, refusals, time-outs, kills."""

import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Protocol

import httpx

from stack_support.model_standin import Calls, CutsOff, Refuses, Says, Stalls, StandInModel
from stack_support.running_stack import RunningStack

_HOG = "blocks = []\nwhile True:\n    blocks.append(bytearray(32 << 20))"
_FLOOD = "while True:\n    print('x' * 65536)"
_HEAL_SECONDS = 30.0


class Loaded(Protocol):
    """A stack under a load: local processes, or containers as their own network sees them."""

    @property
    def http(self) -> httpx.Client:
        """Reaches the addresses that `url` gives; threads may share it."""
        ...

    def url(self, service: str) -> str:
        """Give a service's address, of those without a published port too."""
        ...

    def post_chat(self, *messages: str) -> httpx.Response:
        """Send one chat."""
        ...

    def execute(self, name: str, **parameters: Any) -> httpx.Response:
        """Call one tool through the middleware."""
        ...


def rough_load(
    stack: Loaded,
    model: StandInModel,
    *,
    packages: Sequence[str],
    kill: Callable[[str], None],
    seconds: float,
    is_enough: Callable[[], bool],
) -> int:
    """Keep a load up until `is_enough`, for `seconds` at least and a minute more at most.

    Two programs are killed on the way, by `kill`, which returns when the stack has healed; each
    round installs one more of `packages` and one that was there. Gives the number of rounds.
    """
    begun = time.monotonic()
    model.will(Stalls(60))
    stack.post_chat("Are you there?")
    rounds = 0
    to_kill = ["time-client", "sandbox-runner"]
    while (went := time.monotonic() - begun) < seconds + 60:
        if went > seconds and is_enough():
            break
        _round(stack, model)
        for package in (packages[rounds % len(packages)], packages[0]):
            _install(stack, package)
        rounds += 1
        if to_kill and rounds > 2:
            kill(to_kill.pop(0))
    return rounds


def kill_process(stack: RunningStack, program: str) -> None:
    """Kill one local program in the middle of work, and wait until the stack has healed."""
    pid = stack.pid(program)
    assert pid is not None, program
    os.kill(pid, signal.SIGKILL)
    with suppress(httpx.TransportError):
        stack.execute("execute_code", code="print(1)")
        stack.execute("get_current_time")
    stack.wait_ready(*(set(stack.ports) - {"embedded-model"}), within=_HEAL_SECONDS)


def _round(stack: Loaded, model: StandInModel) -> None:
    _chats(stack, model)
    _tool_calls(stack)
    _sandbox_calls(stack)
    crowd = [threading.Thread(target=_sleeper, args=(stack,)) for _ in range(8)]
    for each in crowd:
        each.start()
    for each in crowd:
        each.join(timeout=60)


def _chats(stack: Loaded, model: StandInModel) -> None:
    code = {"code": "print(6*7)"}
    for steps in (
        (Calls((("execute_code", code), ("get_current_time", {}))), Says("It is 42.")),
        (Says("Good morning."),),
        (Calls((("no_such_tool", {}),)), Calls((("execute_code", "{"),)), Says("I can't.")),
        (Refuses(500, "out of luck"),),
        (CutsOff(),),
    ):
        model.will(*steps)
        stack.post_chat("Please help me.")


def _tool_calls(stack: Loaded) -> None:
    stack.execute("execute_code", code="1/0")
    stack.execute("execute_code", code="while True: pass", timeout_seconds=0.5)
    stack.execute("execute_code", code=_HOG)
    stack.execute("execute_code", code=_FLOOD)
    stack.execute("execute_code", code="import os\nos._exit(3)")
    stack.execute("get_timezone_time", timezone="Asia/Tokyo")
    stack.execute("get_timezone_time", timezone="Nowhere/Land")
    stack.execute("get_current_time", no_such_argument=1)
    stack.execute("install_package", package="../etc")
    stack.execute("install_package", package="no package has this name")
    stack.http.post(f"{stack.url('mcp-server')}/mcp", json={"not": "MCP"})


def _sandbox_calls(stack: Loaded) -> None:
    sandbox = stack.url("sandbox")
    stack.http.post(f"{sandbox}/packages", json={"package": "reqeusts"})
    session = stack.http.post(f"{sandbox}/sessions", json={})
    if session.is_success:
        stack.http.delete(f"{sandbox}/sessions/{session.json()['session_id']}")


def _install(stack: Loaded, package: str) -> None:
    sandbox = stack.url("sandbox")
    session = stack.http.post(f"{sandbox}/sessions", json={})
    if session.is_success:
        session_id = session.json()["session_id"]
        body = {"package": package, "session_id": session_id}
        stack.http.post(f"{sandbox}/packages", json=body)
        stack.http.delete(f"{sandbox}/sessions/{session_id}")


def _sleeper(stack: Loaded) -> None:
    with suppress(httpx.TransportError):
        body = {"code": "import time\ntime.sleep(0.7)"}
        stack.http.post(f"{stack.url('sandbox')}/execute", json=body, timeout=30)
