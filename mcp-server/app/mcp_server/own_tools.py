"""The gateway's own tools: FastAPI endpoints, called in this process through the bridge."""

from collections.abc import Mapping
from typing import Any

from servicekit.mcp_bridge import Bridge

from mcp_server.mcp_caller import wire
from mcp_server.upstream import Caller, Inventory


class OwnTools:
    """The routes of one app as tools of the gateway."""

    def __init__(self, bridge: Bridge) -> None:
        self._bridge = bridge

    @property
    def inventory(self) -> Inventory:
        """What they are."""
        return Inventory(tools=tuple(wire(tool) for tool in self._bridge.tools))

    async def call(self, name: str, arguments: Mapping[str, Any], caller: Caller) -> dict[str, Any]:
        """Call one; a failure is a result."""
        result = await self._bridge.call(
            name, arguments, headers=caller.headers, state=caller.state
        )
        return wire(result)
