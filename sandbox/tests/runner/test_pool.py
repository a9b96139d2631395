"""Sessions that are kept ahead: how many are made at once, and that none holds up the others."""

import os
import signal
import time
from collections.abc import Callable
from contextlib import ExitStack

import psutil
import pytest
from sandbox.adapters import runner as service_side
from sandbox_runner import client
from sandbox_runner.arrivals import OPEN_PATIENCE_SECONDS
from sandbox_runner.client import RefusedError, RunnerSession
from sandbox_runner.launch import RunnerProcess

StartRunner = Callable[..., RunnerProcess]
# As many as there are processors; what takes longer than a second to be made is not waited for.
AT_ONCE = len(os.sched_getaffinity(0))


def _slots(runner: RunnerProcess) -> int:
    """Return how many sessions have a folder: those in use, those ahead and those being made."""
    client.hello(runner.socket)
    return len(list(runner.slots_dir.glob("house-*/[!.]*/")))


def _wait_for(runner: RunnerProcess, slots: int) -> None:
    limit = time.monotonic() + 20
    while _slots(runner) != slots:
        assert time.monotonic() < limit, f"{_slots(runner)} instead of {slots}"
        time.sleep(0.02)


def _answer(runner: RunnerProcess) -> str | None:
    with RunnerSession(runner.socket) as session:
        return session.run("6 * 7").done.result


def test_few_sessions_are_made_at_once_and_those_that_hang_hold_up_none(
    start_runner: StartRunner,
) -> None:
    taken = AT_ONCE + 3
    pool = taken + 1
    runner = start_runner(pool=str(pool), slots=str(2 * pool))
    trial = 1
    _wait_for(runner, trial + pool)
    (zygote,) = psutil.Process(runner.pid).children()
    with ExitStack() as stack:
        zygote.send_signal(signal.SIGSTOP)
        stopped = time.monotonic()
        try:
            for _ in range(taken):
                stack.enter_context(RunnerSession(runner.socket))
            time.sleep(0.3)
            ordered = _slots(runner) - trial - pool
            rounds = 1 + int(time.monotonic() - stopped)
            assert 0 < ordered <= AT_ONCE * rounds
            _wait_for(runner, trial + taken + pool)
        finally:
            zygote.send_signal(signal.SIGCONT)
        assert _answer(runner) == "42"


def test_where_enough_are_ahead_they_are_made_one_at_a_time(start_runner: StartRunner) -> None:
    enough = 8
    runner = start_runner(pool=str(enough + 3), slots=str(enough + 8))
    trial = 1
    _wait_for(runner, trial + enough + 3)
    (zygote,) = psutil.Process(runner.pid).children()
    with ExitStack() as stack:
        zygote.send_signal(signal.SIGSTOP)
        stopped = time.monotonic()
        try:
            for _ in range(3):
                stack.enter_context(RunnerSession(runner.socket))
            time.sleep(0.3)
            ordered = _slots(runner) - trial - enough - 3
            assert 0 < ordered <= 1 + int(time.monotonic() - stopped)
        finally:
            zygote.send_signal(signal.SIGCONT)
        _wait_for(runner, trial + 3 + enough + 3)


def test_who_gets_no_session_is_told_before_the_service_gives_up(start_runner: StartRunner) -> None:
    # The service makes room when it is told, and calls the runner dead when it is not.
    assert OPEN_PATIENCE_SECONDS <= service_side._OPEN_SECONDS - 4
    runner = start_runner(pool="1", slots="8")
    _wait_for(runner, 1 + 1)
    (zygote,) = psutil.Process(runner.pid).children()
    zygote.send_signal(signal.SIGSTOP)
    try:
        with RunnerSession(runner.socket):
            started = time.monotonic()
            with pytest.raises(RefusedError, match="full"):
                RunnerSession(runner.socket)
            assert time.monotonic() - started < OPEN_PATIENCE_SECONDS + 2
    finally:
        zygote.send_signal(signal.SIGCONT)
