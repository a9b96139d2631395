"""One run of code, from admission to result.

The request's deadline bounds everything, waiting included; the cell's own time
limit bounds the cell. When a cell reaches its limit, that is an answer
(`status: timeout`); when the request's time ends before the cell could start, it
is an error.
"""

import asyncio
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

from prometheus_client import Counter
from servicekit.context import RequestContext
from servicekit.deadline import Deadline
from servicekit.errors import DeadlineExceeded
from servicekit.spans import span
from servicekit.wire.execution import (
    ExecuteRequest,
    ExecuteResult,
    ExecutionStatus,
    ResourceLimits,
)

from sandbox.admission import Admission
from sandbox.artifacts import describe_changes
from sandbox.cells import CellOutcome, Stream
from sandbox.end_reason import EndReason
from sandbox.errors import RunnerDown
from sandbox.executions import Executions, LiveExecution
from sandbox.limits import NO_LIMITS, TimeBounds, settle_run
from sandbox.metrics import CELL_PEAK_MEMORY, EXECUTION_SECONDS, EXECUTIONS, KILL_SECONDS
from sandbox.sessions import LiveSession, Sessions

# Kept of the request's time for killing a tree and sending the answer: a kill takes some 10 ms.
_ANSWER_RESERVE_SECONDS = 0.15
# Less than this is no chance for a cell; it would only end as a timeout.
_LEAST_RUN_SECONDS = 0.01


@dataclass(frozen=True, slots=True)
class Plan:
    """What a request was granted: its time in seconds, and what it may use.

    Attributes
    ----------
    session_limits, run_limits
        For a fresh session of its own; for the run, in a live one.
    """

    seconds: float
    session_limits: ResourceLimits
    run_limits: ResourceLimits


class RunListener(Protocol):
    """Follows a run while it goes on. Both calls must return at once: nothing waits for them."""

    def started(self, execution_id: str, session_id: str | None) -> None:
        """Take note that the code is about to run: all that is wrong with the request was found."""

    def printed(self, stream: Stream, text: str) -> None:
        """Take a piece of output."""


@dataclass(slots=True)
class _Order:
    """A request, what it was granted, and for whom it is carried out."""

    request: ExecuteRequest
    plan: Plan
    client: str
    deadline: Deadline
    listener: RunListener | None


class Execution:
    """Runs cells: admission, then a session, then the run."""

    def __init__(
        self,
        admission: Admission,
        sessions: Sessions,
        bounds: TimeBounds,
        executions: Executions,
        check_code: Callable[[str], None],
    ) -> None:
        self._admission = admission
        self._sessions = sessions
        self._bounds = bounds
        self._executions = executions
        self._check_code = check_code

    async def execute(
        self,
        request: ExecuteRequest,
        *,
        client: str,
        context: RequestContext,
        listener: RunListener | None = None,
    ) -> ExecuteResult:
        """Run one cell in its session, or in a fresh one that ends with it.

        A cancelled call kills what it started.

        Raises
        ------
        TimeoutOutOfBounds, LimitOutOfBounds, SessionUnknown, SessionEnded, ExecutionIdTaken
            The request asks for what is not there.
        PayloadTooLarge
            Its code is too long.
        TooBusy, DeadlineExceeded
            There was no place, or none in time.
        RunnerDown, SandboxOff
            The runner can't run it.
        """
        plan = await self._plan(request, context.deadline)
        order = _Order(request, plan, client, context.deadline, listener)
        with self._executions.live(request.execution_id, request.session_id) as execution:
            try:
                result = await self._carry_out(order, execution)
            except asyncio.CancelledError:
                if not execution.take_interruption():
                    raise
                result = _never_ran(execution)
                _counter_of(result.status).inc()
            execution.status = result.status
        return result

    async def _carry_out(self, order: _Order, execution: LiveExecution) -> ExecuteResult:
        code_bytes = sys.getsizeof(order.request.code)
        slot = self._admission.slot(order.client, order.deadline, held_bytes=code_bytes)
        session_id = order.request.session_id
        if session_id is None:
            fresh = self._sessions.fresh(order.deadline, order.plan.session_limits)
            async with slot, fresh as session:
                return await self._run(order, session, execution)
        # First the session's turn, then the slot: a slot must not idle behind a busy session.
        turn = self._sessions.use(
            session_id, order.deadline, client=order.client, held_bytes=code_bytes
        )
        async with turn as session, slot:
            return await self._run(order, session, execution)

    async def _plan(self, request: ExecuteRequest, deadline: Deadline) -> Plan:
        """Check all that can be checked before anything waits."""
        self._check_code(request.code)
        if request.session_id is None:
            seconds = await self.choose_seconds(request.timeout_seconds, None, deadline)
            return Plan(seconds, await self._sessions.check(request.limits, deadline), NO_LIMITS)
        session = self._sessions.find(request.session_id)
        default = session.timeout_seconds
        seconds = await self.choose_seconds(request.timeout_seconds, default, deadline)
        return Plan(seconds, NO_LIMITS, settle_run(request.limits, session.limits))

    async def choose_seconds(
        self, wanted: float | None, default: float | None, deadline: Deadline
    ) -> float:
        """Return the time limit of a run, within this service's bounds and the runner's.

        Parameters
        ----------
        default
            What its session was created with.

        Raises
        ------
        TimeoutOutOfBounds
            It asked for more than is granted.
        """
        if wanted is not None:
            await self._sessions.meet_runner(deadline)
        return self._bounds.within(self._sessions.longest_seconds).choose(wanted, default)

    def usual_seconds(self, default: float | None) -> float:
        """Return the time limit of a run that names none, as far as the runner's bound is known."""
        return self._bounds.within(self._sessions.longest_seconds).choose(None, default)

    async def _run(
        self, order: _Order, session: LiveSession, execution: LiveExecution
    ) -> ExecuteResult:
        left = _time_to_run(order.deadline)
        execution.begin(session.cell)
        if order.listener is not None:
            order.listener.started(execution.execution_id, execution.session_id)
        with span("sandbox.run") as run:
            outcome = await self._run_cell(order, session, min(order.plan.seconds, left))
            run.note({"sandbox.status": outcome.status})
        _count(outcome)
        is_late = outcome.status == "timeout" and left < order.plan.seconds
        return _result(outcome, execution, is_late=is_late)

    async def _run_cell(self, order: _Order, session: LiveSession, seconds: float) -> CellOutcome:
        session.cells += 1
        try:
            outcome = await session.cell.run(
                order.request.code,
                timeout_seconds=seconds,
                limits=order.plan.run_limits,
                listener=None if order.listener is None else order.listener.printed,
            )
            session.latest = outcome
        except RunnerDown:
            self._sessions.raise_if_ended(session.session_id)  # somebody deleted it meanwhile
            self._sessions.end(session.session_id, EndReason.RUNNER_LOST)
            raise
        except BaseException:  # hang-up and shutdown: the run was killed, and its session with it
            _counter_of("cancelled").inc()
            self._sessions.end(session.session_id, EndReason.CANCELLED)
            raise
        if outcome.is_session_ended:  # said before the next in line gets its turn
            self._sessions.end(session.session_id, _end_reason(outcome))
        return outcome


def _time_to_run(deadline: Deadline) -> float:
    """Return how long a cell may run (seconds) so that its answer comes before the deadline."""
    left = deadline.earlier(_ANSWER_RESERVE_SECONDS).remaining()
    if left < _LEAST_RUN_SECONDS:
        raise DeadlineExceeded(
            "The time for this request ended before its code could start. "
            "Try again later or allow more time."
        )
    return left


_END_REASONS = {
    "timeout": EndReason.TIMEOUT,
    "memory": EndReason.MEMORY,
    "output": EndReason.OUTPUT,
    "killed": EndReason.KILLED,
    "crashed": EndReason.CRASHED,
    "cancelled": EndReason.CANCELLED,
}


def _end_reason(outcome: CellOutcome) -> EndReason:
    return _END_REASONS.get(outcome.status, EndReason.CRASHED)  # no other status ends a session


@lru_cache  # to find a series by its label takes longer than to count in it
def _counter_of(status: ExecutionStatus) -> Counter:
    return EXECUTIONS.labels(status=status)


def _count(outcome: CellOutcome) -> None:
    _counter_of(outcome.status).inc()
    EXECUTION_SECONDS.observe(outcome.duration_ms / 1000)
    CELL_PEAK_MEMORY.observe(outcome.peak_memory_bytes)
    if outcome.kill_ms is not None:
        KILL_SECONDS.observe(outcome.kill_ms / 1000)


def _never_ran(execution: LiveExecution) -> ExecuteResult:
    """Return the answer of an execution that was cancelled while it waited."""
    return ExecuteResult(
        status="cancelled",
        execution_id=execution.execution_id,
        session_id=execution.session_id,
        session_ended=execution.session_id is None,
    )


def _result(outcome: CellOutcome, execution: LiveExecution, *, is_late: bool) -> ExecuteResult:
    is_ended = outcome.is_session_ended or execution.session_id is None
    return ExecuteResult(
        status=outcome.status,
        signal=outcome.signal,
        stdout=outcome.stdout,
        stderr=outcome.stderr,
        result=outcome.result,
        outputs=outcome.outputs,
        outputs_dropped=outcome.outputs_dropped,
        error=outcome.error,
        execution_id=execution.execution_id,
        session_id=execution.session_id,
        duration_ms=outcome.duration_ms,
        peak_memory_bytes=outcome.peak_memory_bytes,
        stdout_truncated_bytes=outcome.stdout_dropped_bytes,
        stderr_truncated_bytes=outcome.stderr_dropped_bytes,
        session_ended=is_ended,
        deadline_exceeded=is_late,
        files=describe_changes(outcome.files, None if is_ended else execution.session_id),
    )
