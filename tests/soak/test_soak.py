"""`make soak` in small, so that it still runs when it is wanted; its bars are for the whole."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

RUN = Path(__file__).with_name("run.py")
SMALL = ("--cells", "240", "--sessions", "60", "--callers", "2", "--crowd", "6")


def test_a_small_soak_leaves_nothing_behind() -> None:
    ended = subprocess.run(
        [sys.executable, "-P", str(RUN), *SMALL],
        env=os.environ | {"PYTHONPATH": str(RUN.parents[1] / "support")},
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    if "cannot confine a session" in ended.stdout:
        pytest.skip("this kernel cannot confine a session")
    assert "sessions from begin to end: 60 in" in ended.stdout, ended.stdout + ended.stderr
    assert "32 callers at once for 6 s: " in ended.stdout, ended.stdout + ended.stderr
    assert "32 callers at once for 1 s: busy" in ended.stdout, ended.stdout + ended.stderr
    # So few calls are all warm-up: of memory they say nothing.
    grown = [line for line in ended.stdout.splitlines() if "TOO MUCH" in line]
    assert [line for line in grown if "MiB" not in line] == []
