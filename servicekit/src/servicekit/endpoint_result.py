"""What a tool's endpoint answered, as an MCP tool result."""

from collections.abc import Mapping
from typing import Any

import httpx
from mcp import types

from servicekit.context import current_context
from servicekit.errors import StackError
from servicekit.problems import parse_problem, problem_of
from servicekit.tool_call_result import META_PROBLEM


def problem_for(error: StackError) -> dict[str, Any]:
    """Return an error as a problem document of the running request."""
    return problem_of(error, current_context().request_id)


def error_result(error: StackError) -> types.CallToolResult:
    """Return an error as a tool result: the sentence as text, the problem in `_meta`."""
    return _failure(error.detail, problem_for(error))


def _failure(text: str, problem: Mapping[str, Any]) -> types.CallToolResult:
    return types.CallToolResult(
        content=[types.TextContent(text=text)],
        is_error=True,
        # Not in structuredContent: that must fit the tool's output schema.
        _meta={META_PROBLEM: dict(problem)},
    )


def tool_result(response: httpx.Response) -> types.CallToolResult:
    """Return an endpoint's response as a tool result, by the conventions of `mcp_bridge`."""
    if response.status_code >= httpx.codes.BAD_REQUEST:
        return _failed(response)
    is_json = "json" in response.headers.get("content-type", "")
    data = response.json() if is_json and response.content else None
    if not isinstance(data, dict):
        return types.CallToolResult(content=[types.TextContent(text=response.text)])
    text = data.get("text")
    said = types.TextContent(text=text if isinstance(text, str) else response.text)
    images = _images(data.get("images"))
    if images:
        data = {name: value for name, value in data.items() if name != "images"}
    return types.CallToolResult(
        content=[said, *images],
        structured_content=data,
        is_error=data.get("is_error") is True,
    )


def _images(raw: Any) -> list[types.ImageContent]:
    images = []
    for each in raw if isinstance(raw, list) else []:
        match each:
            case {"media_type": str(media_type), "data": str(data)}:
                images.append(types.ImageContent(data=data, mime_type=media_type))
    return images


def _failed(response: httpx.Response) -> types.CallToolResult:
    problem = parse_problem(response.content)
    if problem is None:
        return _failure(
            f"The tool answered HTTP {response.status_code}.",
            {"status": response.status_code, "type": "about:blank"},
        )
    return _failure(problem.detail or problem.title, response.json())
