"""The executions that wait or run now, by id, so that another call can end one."""

import asyncio
import secrets
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from servicekit.wire.execution import ExecutionStatus

from sandbox.cells import CellSession
from sandbox.errors import ExecutionEnded, ExecutionIdTaken, ExecutionStuck, ExecutionUnknown

# Ids of executions that have ended: about 100 bytes each.
_REMEMBERED_ENDS: Final = 10_000
# A kill takes some 10 ms; the runner's own report may be late on a starved machine.
_END_SECONDS: Final = 10.0


class LiveExecution:
    """One execution, from the moment it is admitted to the queue to its end.

    It is made in the task that carries it out; that task is interrupted while it waits. As soon
    as its cell runs, the cell is cancelled instead, and the task sees how that ended.
    """

    def __init__(self, execution_id: str, session_id: str | None) -> None:
        self.execution_id = execution_id
        self.session_id = session_id
        self.status: ExecutionStatus | None = None
        self.has_ended = asyncio.Event()
        self._task = asyncio.current_task()
        self._cancellations = self._task.cancelling() if self._task else 0
        self._cell: CellSession | None = None
        self._is_cancelled = False

    def begin(self, cell: CellSession) -> None:
        """Say that its cell runs from now on."""
        self._cell = cell

    def cancel(self) -> None:
        """End it, whether it waits or runs."""
        if self._is_cancelled:
            return
        self._is_cancelled = True
        if self._cell is not None:
            self._cell.cancel()
        elif self._task is not None:
            self._task.cancel()

    def take_interruption(self) -> bool:
        """Say whether the cancellation that its task has just seen is this one's, and nothing else.

        As `asyncio.timeout` does: the task then goes on.
        """
        is_own = self._is_cancelled and self._cell is None and self._task is not None
        return is_own and self._task is not None and self._task.uncancel() <= self._cancellations


class Executions:
    """The registry of executions."""

    def __init__(self) -> None:
        self._live: dict[str, LiveExecution] = {}
        self._ends: OrderedDict[str, ExecutionStatus | None] = OrderedDict()

    @contextmanager
    def live(self, wanted_id: str | None, session_id: str | None) -> Iterator[LiveExecution]:
        """Hold an execution in the registry for the length of a `with` block.

        Parameters
        ----------
        wanted_id
            The caller's own name for it; None for one that nobody can guess.

        Raises
        ------
        ExecutionIdTaken
            An execution of that id is under way.
        """
        execution_id = wanted_id or secrets.token_urlsafe(16)
        if execution_id in self._live:
            raise ExecutionIdTaken(
                f"An execution with the id {execution_id!r} is under way. Choose another id, or "
                "leave it out."
            )
        execution = LiveExecution(execution_id, session_id)
        self._live[execution_id] = execution
        try:
            yield execution
        finally:
            del self._live[execution_id]
            self._remember(execution)
            execution.has_ended.set()

    def _remember(self, execution: LiveExecution) -> None:
        self._ends[execution.execution_id] = execution.status
        self._ends.move_to_end(execution.execution_id)
        while len(self._ends) > _REMEMBERED_ENDS:
            self._ends.popitem(last=False)

    def of_session(self, session_id: str) -> str | None:
        """Return the id of the execution that runs in a session, else of the first that waits."""
        return next(
            (each.execution_id for each in self._live.values() if each.session_id == session_id),
            None,
        )

    async def cancel(self, execution_id: str) -> LiveExecution:
        """End an execution, and return it when it has ended.

        Raises
        ------
        ExecutionUnknown
            There was none of that id, or it was long ago.
        ExecutionEnded
            It ended before, or by itself in the same moment; `ended_as` says how.
        ExecutionStuck
            It did not end in time; it is given up all the same.
        """
        execution = self._live.get(execution_id)
        if execution is None:
            if execution_id not in self._ends:
                raise ExecutionUnknown(
                    "There is no such execution. The `started` event of a stream names its id; "
                    "another request names its own in execution_id."
                )
            raise _ended(self._ends[execution_id])
        execution.cancel()
        try:
            async with asyncio.timeout(_END_SECONDS):
                await execution.has_ended.wait()
        except TimeoutError:
            raise ExecutionStuck(
                "The execution was told to end and did not in time. Delete its session."
            ) from None
        if execution.status != "cancelled":
            raise _ended(execution.status)
        return execution


def _ended(status: ExecutionStatus | None) -> ExecutionEnded:
    how = "without a result" if status is None else f"with the status {status}"
    return ExecutionEnded(
        f"The execution has ended already, {how}: there is nothing to cancel.", ended_as=status
    )
