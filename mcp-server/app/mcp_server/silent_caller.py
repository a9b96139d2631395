"""A caller over plain HTTP, to whom only the answer can be given."""

from collections.abc import Mapping
from typing import Any, Final

from servicekit.rpc import RpcError

from mcp_server.upstream import WireObject

_INVALID_REQUEST: Final = -32600  # JSON-RPC 2.0, section 5.1


class SilentCaller:
    """A caller over plain HTTP: nothing can be told or asked before the answer."""

    log_level: str | None = None
    is_asked_directly = False

    def __init__(self, headers: Mapping[str, str], state: Mapping[str, Any] | None) -> None:
        self.capabilities: WireObject = {}
        self.headers = headers
        self.state = state

    async def notify(self, method: str, params: WireObject) -> None:
        """Drop it."""

    async def ask(self, request: WireObject) -> dict[str, Any]:
        """Refuse."""
        raise RpcError(_INVALID_REQUEST, f"A REST caller can't be asked {request['method']}.")
