"""What a running stack leaves on disk for `ask` and for a second start."""

import contextlib
import json
import os
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

FILE_NAME = "stack.json"


@dataclass(frozen=True)
class StackState:
    """A running stack."""

    supervisor_pid: int
    # Tells a reused process number from the one that was written down.
    supervisor_started: str
    phase: Literal["starting", "running"]
    urls: Mapping[str, str]


def this_process(phase: Literal["starting", "running"], urls: Mapping[str, str]) -> StackState:
    """Describe the stack that this process supervises."""
    return StackState(os.getpid(), _started(os.getpid()) or "", phase, urls)


def write_state(run_dir: Path, state: StackState) -> None:
    """Replace the file in one step: a reader never sees half of it."""
    run_dir.mkdir(parents=True, exist_ok=True)
    new = run_dir / f"{FILE_NAME}.new"
    new.write_text(json.dumps(asdict(state), indent=2) + "\n", encoding="utf-8")
    new.replace(run_dir / FILE_NAME)


def remove_state(run_dir: Path) -> None:
    """Forget the stack."""
    (run_dir / FILE_NAME).unlink(missing_ok=True)


def living_stack(run_dir: Path) -> StackState | None:
    """Give the stack that runs from this folder; None when none does."""
    try:
        raw = json.loads((run_dir / FILE_NAME).read_text(encoding="utf-8"))
        state = StackState(
            supervisor_pid=int(raw["supervisor_pid"]),
            supervisor_started=str(raw["supervisor_started"]),
            phase="running" if raw["phase"] == "running" else "starting",
            urls={str(name): str(url) for name, url in raw["urls"].items()},
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return state if _is_alive(state) else None


def _is_alive(state: StackState) -> bool:
    started = _started(state.supervisor_pid)
    if started is not None:
        return started == state.supervisor_started
    if sys.platform == "linux":
        return False
    with contextlib.suppress(OSError):
        os.kill(state.supervisor_pid, 0)
        return True
    return False


def _started(pid: int) -> str | None:
    """Give the start time of a process in clock ticks since boot; None where unknown."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()
    # A zombie (state Z) no longer supervises anything. Field 22 of stat(5).
    return None if fields[0] in {"Z", "X"} else fields[19]
