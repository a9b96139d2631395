"""Tools as the gateway's and the middleware's REST routes show them."""

from typing import Any

from servicekit.wire.base import WireReply


class ToolDescription(WireReply):
    """One tool; `input_schema` is its JSON Schema."""

    name: str
    description: str = ""
    input_schema: dict[str, Any]


class ToolList(WireReply):
    """All tools that can be called now."""

    tools: tuple[ToolDescription, ...]


class ToolOutcome(WireReply):
    """How a tool call ended; `success: false` is the tool's own failure."""

    success: bool
    output: str = ""
    structured: Any = None
    error: str | None = None
