"""The port to the runner: what the service asks of it and what it reports, as plain values.

`adapters/runner.py` speaks the runner's socket protocol behind this port; the
decisions above know only these names.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, TypeAlias

from servicekit.deadline import Deadline
from servicekit.wire.execution import (
    ExecutionError,
    ExecutionStatus,
    ResourceLimits,
    RichOutput,
)

from sandbox.stored_files import CellFiles, ChangedFiles


@dataclass(frozen=True, slots=True)
class Protection:
    """One protection by name, with its state on this kernel."""

    name: str
    state: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class RunnerHello:
    """What the runner says of itself.

    Attributes
    ----------
    is_safe
        Whether it can isolate a run.
    runs_code
        Whether it runs any: it is safe, or its operator accepts that it is not.
    started_seconds
        When it started, in seconds since 1970.
    longest_seconds
        The longest time limit in seconds that it grants a run.
    """

    python: str
    is_safe: bool
    runs_code: bool
    protections: tuple[Protection, ...]
    preloaded: tuple[str, ...]
    slots: int
    slots_in_use: int
    started_seconds: float
    longest_seconds: float
    bounds: ResourceLimits


@dataclass(frozen=True, slots=True)
class CellOutcome:
    """How one cell ended; times, memory and status come from the warden alone.

    Attributes
    ----------
    is_light
        Whether its session holds little, so that it costs little to keep for a moment.
    """

    status: ExecutionStatus
    signal: str | None
    stdout: str
    stderr: str
    result: str | None
    error: ExecutionError | None
    duration_ms: float
    peak_memory_bytes: int
    kill_ms: float | None
    stdout_dropped_bytes: int
    stderr_dropped_bytes: int
    is_session_ended: bool
    files: ChangedFiles
    outputs: tuple[RichOutput, ...] = ()
    outputs_dropped: int = 0
    is_light: bool = False


Stream: TypeAlias = Literal["stdout", "stderr"]
OutputListener: TypeAlias = Callable[[Stream, str], None]
"""Gets what a cell prints while it runs. It must return at once: nothing waits for it."""


class CellSession(Protocol):
    """One live interpreter in the runner."""

    @property
    def was_waiting(self) -> bool:
        """Whether it had been forked before anybody asked for it."""

    @property
    def is_alive(self) -> bool:
        """Whether the runner still holds the other end."""

    @property
    def files(self) -> CellFiles:
        """The session's files."""

    async def run(
        self,
        code: str,
        *,
        timeout_seconds: float,
        limits: ResourceLimits,
        listener: OutputListener | None = None,
    ) -> CellOutcome:
        """Run one cell to its end.

        A cancelled call kills the session with everything that runs in it.

        Parameters
        ----------
        limits
            What the run may use, where that is less than the session's own.
        listener
            Gets the output in pieces; together they are the outcome's.

        Raises
        ------
        RunnerDown
            The runner went away before it reported.
        """

    def cancel(self) -> None:
        """Have the run in progress killed; it reports its end itself."""

    async def reset(self) -> None:
        """Put a fresh interpreter in the place of the one before; files and packages stay.

        A run in progress ends as cancelled first.

        Raises
        ------
        RunnerDown
            The session was lost on the way.
        """

    async def use_packages(self, path: Path) -> None:
        """Put a package set on the session's import path, in place of the former one."""

    def close(self) -> None:
        """End the session; everything in it dies."""


class CellRunner(Protocol):
    """Where sessions come from."""

    async def hello(self) -> RunnerHello:
        """Ask the runner how it is."""

    @property
    def longest_seconds(self) -> float | None:
        """The longest time limit in seconds of a run, as the runner last said; None before."""

    async def bounds(self, deadline: Deadline) -> ResourceLimits:
        """Return the most that a session may ask for, every value given.

        Raises
        ------
        RunnerDown
            The runner was never heard of, and does not answer, also after some tries.
        """

    async def open(
        self, *, package_path: Path | None, limits: ResourceLimits, deadline: Deadline
    ) -> CellSession | None:
        """Open a session; None when the runner has no free slot.

        Raises
        ------
        SandboxOff
            The runner can't isolate a run on this kernel.
        RunnerDown
            Nobody answers at the socket, also after some tries.
        """
