"""When sessions are forked: soon for who waits, in quiet moments otherwise."""

import os

from sandbox_runner.fork_pace import ForkPace

AT_ONCE = len(os.sched_getaffinity(0))


def test_few_ahead_are_forked_without_a_rest() -> None:
    pace = ForkPace()
    assert pace.at_once(ready=7, arrivals=0) == AT_ONCE
    pace.forked(10.0, ready=7)
    assert pace.due(arrivals=0) <= 10.0


def test_many_ahead_are_forked_one_at_a_time_with_rests() -> None:
    pace = ForkPace()
    assert pace.at_once(ready=8, arrivals=0) == 1
    pace.forked(10.0, ready=8)
    assert pace.due(arrivals=0) > 10.0


def test_claim_puts_the_next_fork_off_but_for_those_who_wait() -> None:
    pace = ForkPace()
    pace.claimed(10.0)
    assert pace.due(arrivals=0) > 10.0
    assert pace.due(arrivals=1) <= 10.0
    assert pace.at_once(ready=8, arrivals=9) == AT_ONCE


def test_failure_puts_it_off_for_everybody() -> None:
    pace = ForkPace()
    pace.failed(10.0)
    assert pace.due(arrivals=1) > 10.1
    pace.claimed(10.0)  # a shorter pause ends no longer one
    assert pace.due(arrivals=0) > 10.1
