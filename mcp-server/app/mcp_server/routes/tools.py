"""The tools over plain HTTP: `GET /mcp/tools`, `POST /mcp/tools/{name}`."""

from typing import Annotated, Any

from fastapi import APIRouter, Body, Path, Request
from servicekit.hangup import until_hangup
from servicekit.wire.tools import ToolDescription, ToolList, ToolOutcome

from mcp_server.rest_outcome import arguments_of, outcome_of, refusal
from mcp_server.routes.wired import Wired
from mcp_server.silent_caller import SilentCaller

router = APIRouter(prefix="/mcp/tools", tags=["tools"])


@router.get("", operation_id="list_tools")
async def list_tools(wiring: Wired) -> ToolList:
    """List all tools that can be called, with the JSON Schemas of their arguments."""
    return ToolList(
        tools=tuple(
            ToolDescription(
                name=tool.name,
                description=str(tool.wire.get("description") or tool.wire.get("title") or ""),
                input_schema=tool.input_schema,
            )
            for tool in wiring.gateway.catalog.tools.values()
        )
    )


@router.post("/{name:path}", operation_id="call_tool")
async def call_tool(
    request: Request,
    wiring: Wired,
    name: Annotated[str, Path(description="the tool's name as `GET /mcp/tools` shows it")],
    body: Annotated[
        dict[str, Any] | None,
        Body(description='the arguments, or {"params": arguments}', examples=[{}]),
    ] = None,
) -> ToolOutcome:
    """Call a tool.

    The body is the arguments, or `{"params": {...}}` around them. A tool that has an
    argument named `params` always gets the body as it is. The tool's own failure is
    answered with 200 and `success: false`; an unknown tool with 404, arguments outside of
    the schema with 422, an upstream that is down with 502, one that is too slow with 504.
    """
    tool = wiring.gateway.tool(name)
    arguments = arguments_of(body or {}, tool.input_schema)
    tool.reject_invalid(arguments)
    caller = SilentCaller(request.headers, request.scope.get("state"))
    with refusal(tool.source):
        call = wiring.gateway.call_tool({"name": name, "arguments": arguments}, caller)
        return outcome_of(await until_hangup(request, call))
