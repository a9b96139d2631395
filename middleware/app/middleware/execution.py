"""One tool call without a model: names and arguments are checked as the loop checks them."""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from servicekit.deadline import Deadline
from servicekit.errors import ArgumentsInvalid

from middleware.arguments import complaints_about
from middleware.conversation import Tool, ToolResult
from middleware.errors import ToolUnknown
from middleware.ports import Toolbox


@dataclass(frozen=True, slots=True)
class Execution:
    """Calls single tools."""

    toolbox: Toolbox

    async def tools(self, deadline: Deadline) -> tuple[Tool, ...]:
        """Return the tools that there are."""
        return await self.toolbox.tools(deadline)

    async def call(self, name: str, arguments: Mapping[str, Any], deadline: Deadline) -> ToolResult:
        """Call a tool.

        Raises
        ------
        ToolUnknown, ArgumentsInvalid
            Before anything is called.
        StackError
            As the toolbox.
        """
        tool = await self._find(name, deadline)
        complaints = complaints_about(arguments, tool.input_schema)
        if complaints:
            raise ArgumentsInvalid(
                f"The parameters of {name} are wrong: {'; '.join(complaints)}. "
                "GET /tools shows its input_schema."
            )
        return await self.toolbox.call(name, dict(arguments), deadline)

    async def _find(self, name: str, deadline: Deadline) -> Tool:
        tools = {tool.name: tool for tool in await self.toolbox.tools(deadline)}
        if name not in tools:
            # It may have come since the list was made.
            fresh = await self.toolbox.tools(deadline, is_fresh=True)
            tools = {tool.name: tool for tool in fresh}
        if name in tools:
            return tools[name]
        near = difflib.get_close_matches(name, list(tools), n=3)
        hint = f" Did you mean {' or '.join(near)}?" if near else ""
        raise ToolUnknown(
            f"There is no tool {name[:80]!r}.{hint} GET /tools lists what there is.",
            tools=sorted(tools),
        )
