"""Each attack in each mode of the runner: what it printed, how it ended, what is left."""

import os
import re
import subprocess
import sys
import time
from pathlib import Path, PurePosixPath
from statistics import median

import pytest
from sandbox_support.attack_campaign import Campaign
from sandbox_support.attack_case import AttackCase, load
from sandbox_support.attack_lane import AS_EVER, CANARY, Evidence, Gleaning, NotRun
from sandbox_support.attack_mode import MODES, Mode

# The first test of a mode may wait until the modes before it are through.
pytestmark = [pytest.mark.escape, pytest.mark.timeout(700)]

CASES = [load(path) for path in sorted((Path(__file__).parent / "cases").glob("*.attack"))]
EXITS = next(case for case in CASES if case.name == "i05_exit_paths")
RANDOM = next(case for case in CASES if case.name == "i15_same_random_after_fork")
IS_CI = os.environ.get("CI") == "true"

each_mode = pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.name)


def seen(campaign: Campaign, mode: Mode, case: AttackCase) -> Evidence:
    try:
        return campaign.evidence(mode.name, case.name)
    except NotRun as reason:
        if IS_CI and not reason.is_kernel:
            pytest.fail(f"{mode.name} was not tried: {reason}")
        pytest.skip(f"{mode.name} can't be tried here: {reason}")


def length_of(output: bytes, mode: Mode) -> int:
    """Return what counts of an output: bytes, of which each is a character over HTTP."""
    return len(output.decode("utf-8")) if mode.is_http else len(output)


def assert_harmless(gleaning: Gleaning) -> None:
    """Nothing of the machine's comes out by way of a session's files, and soon."""
    assert gleaning.seconds < 6.0  # a second, over HTTP, on a machine with nothing else to do
    for entry in gleaning.listed.entries:
        assert not PurePosixPath(entry.path).is_absolute()
        assert ".." not in PurePosixPath(entry.path).parts
    for entry, content in gleaning.contents:
        if isinstance(content, bytes):
            assert entry.kind == "file", entry
            assert CANARY.encode() not in content, entry
            assert b"root:" not in content, entry


# What a case notes of itself, where that tells whether it was held.
NOTES = {
    "r21_user_wide_exhaustion": r"NOTE inotify instances 0 ",
    "s11_watch_others": r"NOTE stat sees \[\]$",
    "r19_setrlimit_raise": r"\A(NOTE no hard limit on RLIMIT_CPU\n)?SAFE$",
    "s01_read_system_files": r"NOTE readable: \[('/(root|home|srv|app)'(, )?)*\]$",
    "k02_dangerous_syscalls": r"SAFE \[\]$",
}


# While it lives, others may find the disk full where all sessions share a small one, in containers
# without namespaces: nobody counts what has no name. docs/explanation/sandbox.md says so.
FILLS_ONE_DISK = {"w06_unlinked_but_open"}


def shares_one_disk(mode: Mode) -> bool:
    return mode.who == "container" and mode.refuses_namespaces


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
@each_mode
def test_attack_is_held(campaign: Campaign, mode: Mode, case: AttackCase) -> None:
    evidence = seen(campaign, mode, case)
    said = b"".join(run.stdout + run.stderr for run in evidence.runs).decode("utf-8", "replace")
    words = said + "".join(f"{run.done.result} {run.done.error}" for run in evidence.runs)
    assert "PWNED" not in words
    assert CANARY not in words
    assert "root:" not in words
    for run, step in zip(evidence.runs, case.steps, strict=True):
        assert run.done.status in step.ends, run
        assert "FORGED" not in f"{run.done.result} {run.done.error}"
        assert run.done.duration_ms < mode.seconds * 1000 + 2000  # the machine may be busy
        assert length_of(run.stdout, mode) <= 1 << 20
        assert length_of(run.stderr, mode) <= 1 << 20
    # A session that was ended may not have come to say it.
    if case.name in NOTES:
        assert re.search(NOTES[case.name], said, flags=re.MULTILINE), said
    if case.must_say_safe and not any(run.done.session_ended for run in evidence.runs):
        assert "SAFE" in said
    assert not evidence.was_bait_touched
    for gleaning in evidence.gleanings:
        assert_harmless(gleaning)
    meanwhile, afterwards = evidence.bystander
    assert meanwhile == AS_EVER or (shares_one_disk(mode) and case.name in FILLS_ONE_DISK)
    assert afterwards == AS_EVER
    assert evidence.recovery_output == b"42\n"
    assert evidence.recovery_seconds < 1.0
    assert not evidence.left_over
    assert evidence.memory_growth_bytes < 32 << 20


@pytest.mark.parametrize("case", [RANDOM], ids=lambda case: case.name)
@each_mode
def test_two_fresh_sessions_do_not_share_random_state(
    campaign: Campaign, mode: Mode, case: AttackCase
) -> None:
    first, second = (run.stdout.splitlines() for run in seen(campaign, mode, case).runs)
    assert len(first) == len(second) > 0
    assert not set(first) & set(second)


@pytest.mark.parametrize("case", [EXITS], ids=lambda case: case.name)
@each_mode
def test_exits_are_reported_truthfully(campaign: Campaign, mode: Mode, case: AttackCase) -> None:
    exited, left, aborted, interrupted, evil = (run.done for run in seen(campaign, mode, case).runs)
    assert (exited.status, exited.signal, exited.result) == ("crashed", None, None)
    assert left.error is not None
    assert left.error.type == "SystemExit"
    assert aborted.signal == "SIGABRT"
    assert interrupted.error is not None
    assert interrupted.error.type == "KeyboardInterrupt"
    assert evil.error is not None
    assert evil.error.type == "E"


@pytest.mark.parametrize("case", [EXITS], ids=lambda case: case.name)
@each_mode
def test_fresh_session_answers_soon_after_any_attack(
    campaign: Campaign, mode: Mode, case: AttackCase
) -> None:
    seen(campaign, mode, case)
    # 100 ms on a machine that is not overloaded; there an interpreter starts in a third of it.
    assert median(campaign.recoveries(mode.name)) <= max(0.1, 4 * _bare_start_seconds())


def _bare_start_seconds() -> float:
    times = []
    for _ in range(5):
        started = time.monotonic()
        subprocess.run([sys.executable, "-I", "-c", "pass"], check=True)
        times.append(time.monotonic() - started)
    return median(times)
