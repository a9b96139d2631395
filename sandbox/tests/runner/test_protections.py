"""What a runner says of its protections: tried, switched off by a setting, or missing."""

import os
import resource
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from sandbox_runner import client, kernel, probe, seccomp
from sandbox_runner.client import RefusedError, RunnerSession
from sandbox_runner.launch import RunnerProcess
from sandbox_runner.needs import lacking
from sandbox_runner.policy import ALLOW, ArgumentTest, SyscallRule, syscall_rules
from sandbox_runner.probe import Verdict
from sandbox_runner.protections import Shield, raise_shield
from sandbox_runner.protocol import Protection
from sandbox_runner.settings import RunnerSettings

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


def test_root_is_somebody_special(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getresuid", lambda: (1000, 1000, 0))
    assert probe.try_user() == Verdict(holds=False, detail="root")


@pytest.mark.parametrize(
    ("gids", "groups", "told"),
    [
        ((1000, 1000, 1000), [1000], ()),
        ((1000, 1000, 1000), [], ()),
        ((1000, 1000, 1000), [1000, 27, 998], (27, 998)),
        ((0, 0, 0), [0], (0,)),  # root's, as of `docker run --user 10001`
        ((1000, 1000, 0), [0, 1000], (0,)),
    ],
)
def test_groups_that_a_user_stays_in_are_told(
    monkeypatch: pytest.MonkeyPatch,
    gids: tuple[int, int, int],
    groups: list[int],
    told: tuple[int, ...],
) -> None:
    monkeypatch.setattr(os, "getresgid", lambda: gids)
    monkeypatch.setattr(os, "getegid", lambda: gids[1])
    monkeypatch.setattr(os, "getgroups", lambda: groups)
    assert probe.further_groups() == told


_TRIALS = {
    "user": "try_user",
    "resource-limits": "try_limits",
    "no-new-privileges": "try_privileges",
    "memory-watch": "try_memory_watch",
    "seccomp": "try_filter",
    "landlock": "try_landlock",
}


def _shield(monkeypatch: pytest.MonkeyPatch, slot: Path, failing: str | None) -> Shield:
    """Settle the protections as a zygote does, each trial's outcome given."""
    for name, trial in _TRIALS.items():
        verdict = Verdict(holds=name != failing, detail="as a test has it")
        monkeypatch.setattr(probe, trial, lambda *_, verdict=verdict, **__: verdict)
    monkeypatch.setattr(probe, "further_groups", lambda: (27,))
    return raise_shield(
        RunnerSettings(socket="", slots_dir="", namespaces=False),
        probe_slot=str(slot),
        has_quota=False,
        has_private_mounts=False,
        view=None,
        view_problem="",
    )


def test_what_is_degraded_keeps_no_code_from_running(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    shield = _shield(monkeypatch, tmp_path, None)
    states = {item.name: item for item in shield.protections}
    if states["landlock"].state == "unavailable":
        pytest.skip("the kernel offers no Landlock")
    assert shield.is_safe
    assert states["user"].state == states["disk-quota"].state == "degraded"
    assert states["user"].detail.endswith("who stays in groups 27")


@pytest.mark.parametrize("name", sorted(_TRIALS))
def test_what_fails_in_its_trial_keeps_code_from_running(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    shield = _shield(monkeypatch, tmp_path, name)
    assert not shield.is_safe
    assert [item.name for item in lacking(shield.protections)] == [name]
    # Of all these a setting accepts the lack of Landlock alone.
    assert (lacking(shield.protections, accepts_no_landlock=True) == ()) == (name == "landlock")


@pytest.mark.parametrize(
    "family", [socket.AF_UNIX, socket.AF_INET, socket.AF_INET6, socket.AF_NETLINK, socket.AF_VSOCK]
)
def test_filter_that_lets_one_family_of_sockets_through_does_not_hold(family: int) -> None:
    architecture = seccomp.current_architecture()
    assert architecture is not None
    rules = dict(syscall_rules(allow_subprocesses=True, is_signal_scope_active=True))

    def verdict() -> Verdict:
        program = seccomp.assemble(rules, architecture)
        return probe.try_filter(program, architecture, allow_subprocesses=True)

    if not (usual := verdict()).holds:
        pytest.skip(f"this kernel takes no filter: {usual.detail}")
    rules["socket"] = SyscallRule(ALLOW, (ArgumentTest(0, family),))
    found = verdict()
    assert not found.holds
    assert found.detail.startswith(f"socket({int(family)}, ")


def test_what_was_not_tried_is_lacking() -> None:
    assert {item.name for item in lacking(())} == {*_TRIALS}
    tried = [Protection(name, "active") for name in _TRIALS if name != "user"]
    assert lacking(tried) == (Protection("user", "unavailable", "not tried"),)
