"""`GET /tools` and `POST /execute`."""

from typing import Annotated, Any

from fastapi import APIRouter, Request
from pydantic import Field
from servicekit.context import current_context
from servicekit.hangup import until_hangup
from servicekit.wire.base import WireModel
from servicekit.wire.tools import ToolDescription, ToolList, ToolOutcome

from middleware.conversation import ToolResult
from middleware.wiring import Wiring

router = APIRouter(tags=["tools"])


class ToolCallRequest(WireModel):
    """One tool call."""

    name: Annotated[str, Field(min_length=1, max_length=256, examples=["execute_code"])]
    parameters: Annotated[
        dict[str, Any],
        Field(
            default_factory=dict,
            description="the tool's arguments",
            examples=[{"code": "print(6*7)"}],
        ),
    ]


@router.get("/tools", operation_id="list_tools")
async def list_tools(request: Request) -> ToolList:
    """List the tools that a chat can use now."""
    wiring: Wiring = request.state.wiring
    tools = await wiring.execution.tools(current_context().deadline)
    return ToolList(
        tools=tuple(
            ToolDescription(
                name=tool.name,
                description=tool.description,
                input_schema=dict(tool.input_schema),
            )
            for tool in tools
        )
    )


@router.post("/execute", operation_id="execute_tool")
async def execute_tool(request: Request, body: ToolCallRequest) -> ToolOutcome:
    """Call one tool without a model; a tool's own failure is `success: false`."""
    wiring: Wiring = request.state.wiring
    work = wiring.execution.call(body.name, body.parameters, current_context().deadline)
    return _outcome(await until_hangup(request, work))


def _outcome(result: ToolResult) -> ToolOutcome:
    return ToolOutcome(
        success=not result.is_error,
        output=result.text,
        structured=result.structured,
        error=result.text if result.is_error else None,
    )
