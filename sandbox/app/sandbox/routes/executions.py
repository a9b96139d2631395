"""End a run from another connection."""

from typing import Annotated

from fastapi import APIRouter, Path, Request
from servicekit.wire.execution import ExecutionCancelled

from sandbox.routes.wiring import wiring_of

router = APIRouter(prefix="/executions", tags=["execution"])


@router.post("/{execution_id}/cancel", operation_id="sandbox_cancel_execution", tags=["tool"])
async def cancel_execution(
    execution_id: Annotated[str, Path(min_length=1, max_length=64)], request: Request
) -> ExecutionCancelled:
    """End a run that waits or runs, and answer when it has ended.

    Its own answer has the status `cancelled` and what was printed so far. A live session in
    which it ran ends with it; a run that only waited leaves its session alone. 404 says that
    there is no such run, 409 `execution-ended` that it was over, in `ended_as` with what status.
    """
    ended = await wiring_of(request).executions.cancel(execution_id)
    return ExecutionCancelled(execution_id=ended.execution_id, session_id=ended.session_id)
