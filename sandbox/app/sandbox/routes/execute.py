"""Run code."""

from typing import Any, Final

from fastapi import APIRouter, Request
from servicekit.context import current_context
from servicekit.hangup import ended_by_hangup
from servicekit.hot_route import HotRoute
from servicekit.wire.execution import ExecuteRequest, ExecuteResult

from sandbox.execution import RunListener
from sandbox.routes.run_stream import MEDIA_TYPE, RunStream, wants_events
from sandbox.routes.wiring import client_of, wiring_of

router = APIRouter(tags=["execution"])

_STREAM: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "How the run ended. With `Accept: text/event-stream` a stream of events: "
        "`started`, `stdout` and `stderr` while it runs, then `result` with this same object.",
        "content": {MEDIA_TYPE: {"schema": {"type": "string"}}},
    }
}


@router.post(
    "/execute",
    operation_id="sandbox_execute",
    tags=["tool"],
    response_model=ExecuteResult,
    responses=_STREAM,
)
async def execute(order: ExecuteRequest, request: Request) -> Any:
    """Run Python code in isolation and return what it printed and how it ended.

    A program that fails is an answer: look at `status` (ok, error, timeout, memory, output,
    killed, crashed, cancelled). Without `session_id` the run has a fresh session that ends
    with it. Closing the connection kills the run, and so does POST /executions/{id}/cancel.

    With `Accept: text/event-stream` what is printed comes while the code runs, as server-sent
    events: `started` (`execution_id`, `session_id`), `stdout` and `stderr` (`text`), and at the
    end `result`, the object that the JSON form answers, or `error`, a problem document.
    """
    if not wants_events(request.headers.get("accept", "")):
        return await run_at_once(order, request)
    context = current_context()
    execution, client = wiring_of(request).execution, client_of(request, context)

    async def run(listener: RunListener) -> ExecuteResult:
        return await execution.execute(order, client=client, context=context, listener=listener)

    return RunStream(run)


async def run_at_once(order: ExecuteRequest, request: Request) -> ExecuteResult:
    """Run a cell and return how it ended, for callers who wait for the whole answer."""
    context = current_context()
    run = wiring_of(request).execution.execute(
        order, client=client_of(request, context), context=context
    )
    return await ended_by_hangup(request, run)


# A cell in a live session takes less time than a framework takes to find out what to call.
HOT: Final = HotRoute(
    path="/execute",
    order=ExecuteRequest,
    answer=run_at_once,
    takes=lambda headers: not wants_events(headers.get("accept", "")),
)
