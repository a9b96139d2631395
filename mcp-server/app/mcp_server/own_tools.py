"""The gateway's own tools: FastAPI endpoints, called in this process through the bridge."""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel
from servicekit.mcp_bridge import Bridge

from mcp_server.upstream import Caller, Inventory


class OwnTools:
    """The routes of one app as tools of the gateway."""

    def __init__(self, bridge: Bridge) -> None:
        self._bridge = bridge

    @property
    def inventory(self) -> Inventory:
        """What they are."""
        return Inventory(tools=tuple(_wire(tool) for tool in self._bridge.tools))

    async def call(self, name: str, arguments: Mapping[str, Any], caller: Caller) -> dict[str, Any]:
        """Call one; a failure is a result."""
        result = await self._bridge.call(
            name, arguments, headers=caller.headers, state=caller.state
        )
        return _wire(result)


def _wire(model: BaseModel) -> dict[str, Any]:
    """Return a protocol model as it stands on the wire."""
    return model.model_dump(by_alias=True, mode="json", exclude_none=True)
