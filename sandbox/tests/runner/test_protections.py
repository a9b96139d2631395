"""What a runner says of its protections: tried, switched off by a setting, or missing."""

import os
import resource
from collections.abc import Callable

import pytest
from sandbox_runner import client, kernel, probe
from sandbox_runner.client import RefusedError, RunnerSession
from sandbox_runner.launch import RunnerProcess
from sandbox_runner.probe import Verdict

StartRunner = Callable[..., RunnerProcess]

_STATUS = (
    b"Name:\tpython\nVmSize:\t1 kB\nRssAnon:\t1 kB\nRssShmem:\t1 kB\nVmSwap:\t0 kB\nThreads:\t1\n"
    b"CapEff:\t0000000000000000\nNoNewPrivs:\t1\n"
)


def _states(runner: RunnerProcess) -> dict[str, str]:
    return {item.name: item.state for item in client.hello(runner.socket).protections}


def test_what_a_setting_switches_off_is_said_to_be_off(start_runner: StartRunner) -> None:
    usual = _states(start_runner(pool="0"))
    changed = _states(start_runner(pool="0", namespaces="0", subprocesses="1", tmpfs="0"))
    told = {name: state for name, state in changed.items() if state != usual[name]}
    expected = {"namespaces": "disabled", "subprocesses": "disabled", "disk-quota": "degraded"}
    assert told == {name: state for name, state in expected.items() if usual[name] != state}


def test_without_landlock_nothing_is_run(start_runner: StartRunner) -> None:
    runner = start_runner(pool="1", landlock_abi_max="0")
    said = client.hello(runner.socket)
    assert not said.is_safe
    assert _states(runner)["landlock"] == "unavailable"
    with pytest.raises(RefusedError, match="this machine cannot confine a session"):
        RunnerSession(runner.socket)


def test_who_accepts_that_gets_one_session_at_a_time(start_runner: StartRunner) -> None:
    runner = start_runner(pool="1", landlock_abi_max="0", allow_unsafe="1")
    assert client.hello(runner.socket).slots.size == 1
    for _ in range(2):
        with RunnerSession(runner.socket) as session:
            assert session.run("6 * 7").done.result == "42"
            with pytest.raises(RefusedError, match="all 1 slots are in use"):
                RunnerSession(runner.socket)


def test_limits_that_the_kernel_keeps_hold_and_others_do_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert probe.try_limits() == Verdict(holds=True)
    monkeypatch.setattr(resource, "setrlimit", lambda *_: None)
    assert probe.try_limits() == Verdict(holds=False, detail="more memory than the limit is given")


@pytest.mark.parametrize(
    ("trial", "line", "instead", "problem"),
    [
        (probe.try_privileges, b"NoNewPrivs:\t1", b"NoNewPrivs:\t0", "the kernel does not say so"),
        (probe.try_privileges, b"NoNewPrivs:\t1", b"", "the kernel does not say so"),
        (probe.try_memory_watch, b"VmSwap:\t0 kB\n", b"", "/proc says nothing of VmSwap"),
        (probe.try_memory_watch, b"Threads:\t1\n", b"", "/proc says nothing of Threads"),
        (probe.try_user, b"0000000000000000", b"0000000000200000", "it has capabilities"),
        (probe.try_user, b"CapEff:", b"Cap:", "it has capabilities"),
    ],
)
def test_what_the_kernel_says_is_believed(
    monkeypatch: pytest.MonkeyPatch,
    trial: Callable[[], Verdict],
    line: bytes,
    instead: bytes,
    problem: str,
) -> None:
    monkeypatch.setattr(os, "getresuid", lambda: (1000, 1000, 1000))
    monkeypatch.setattr(os, "getresgid", lambda: (1000, 1000, 1000))
    monkeypatch.setattr(kernel, "ask", lambda _: _STATUS)
    assert trial() == Verdict(holds=True)
    monkeypatch.setattr(kernel, "ask", lambda _: _STATUS.replace(line, instead))
    assert trial() == Verdict(holds=False, detail=problem)


@pytest.mark.parametrize("name", ["getresuid", "getresgid"])
def test_root_is_somebody_special(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(os, "getresuid", lambda: (1000, 1000, 1000))
    monkeypatch.setattr(os, "getresgid", lambda: (1000, 1000, 1000))
    monkeypatch.setattr(os, name, lambda: (1000, 1000, 0))
    assert probe.try_user() == Verdict(holds=False, detail="root")
