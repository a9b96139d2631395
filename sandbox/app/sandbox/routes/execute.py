"""Run code."""

from fastapi import APIRouter, Request
from servicekit.context import current_context
from servicekit.hangup import until_hangup
from servicekit.wire.execution import ExecuteRequest, ExecuteResult

from sandbox.routes.wiring import client_of, wiring_of

router = APIRouter(tags=["execution"])


@router.post("/execute", operation_id="sandbox_execute", tags=["tool"])
async def execute(order: ExecuteRequest, request: Request) -> ExecuteResult:
    """Run Python code in isolation and return what it printed and how it ended.

    A program that fails is an answer: look at `status` (ok, error, timeout, memory, output,
    killed, crashed, cancelled). Without `session_id` the run has a fresh session that ends
    with it. Closing the connection kills the run.
    """
    context = current_context()
    run = wiring_of(request).execution.execute(
        order, client=client_of(request, context), context=context
    )
    return await until_hangup(request, run)
