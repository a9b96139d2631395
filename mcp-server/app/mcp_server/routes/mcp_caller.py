"""One MCP request's sender: what he can be told and asked while it runs."""

from collections.abc import Mapping
from typing import Any, Final

from mcp import types
from mcp.server.context import ServerRequestContext
from mcp.shared.exceptions import MCPError
from mcp.shared.message import ServerMessageMetadata
from mcp.types.version import MODERN_PROTOCOL_VERSIONS
from pydantic import BaseModel, ValidationError
from servicekit.rpc import RpcError

from mcp_server.upstream import WireObject

_CAPABILITIES: Final = "io.modelcontextprotocol/clientCapabilities"
_LOG_LEVEL: Final = "io.modelcontextprotocol/logLevel"
LOG_LEVELS: Final = (
    "debug", "info", "notice", "warning", "error", "critical", "alert", "emergency",
)  # fmt: skip
_QUESTIONS: Final[Mapping[str, tuple[type[BaseModel], type[BaseModel]]]] = {
    "sampling/createMessage": (types.CreateMessageRequest, types.CreateMessageResultWithTools),
    "elicitation/create": (types.ElicitRequest, types.ElicitResult),
    "roots/list": (types.ListRootsRequest, types.ListRootsResult),
}


def wire(model: BaseModel) -> dict[str, Any]:
    """Return a protocol model as it stands on the wire."""
    return model.model_dump(by_alias=True, mode="json", exclude_none=True)


class McpCaller:
    """The sender of one MCP request.

    Parameters
    ----------
    ctx
        The SDK's view of the request.
    session_log_level
        What a handshake-era session asked for by `logging/setLevel`. Until it asks, such a
        client gets everything: its revision leaves that to the server.
    """

    def __init__(
        self, ctx: ServerRequestContext[Any, Any], *, session_log_level: str | None = None
    ) -> None:
        self._ctx = ctx
        self._is_modern = ctx.protocol_version in MODERN_PROTOCOL_VERSIONS
        self._session_log_level = session_log_level or LOG_LEVELS[0]

    @property
    def capabilities(self) -> WireObject:
        """What he declared: with the request, or in the handshake."""
        if self._is_modern:
            declared = dict(self._ctx.meta or {}).get(_CAPABILITIES)
            return declared if isinstance(declared, Mapping) else {}
        capabilities = self._ctx.session.client_capabilities
        return wire(capabilities) if capabilities is not None else {}

    @property
    def log_level(self) -> str | None:
        """The lowest level that he wants; in the newest era None unless the request says so."""
        if not self._is_modern:
            return self._session_log_level
        level = dict(self._ctx.meta or {}).get(_LOG_LEVEL)
        return level if isinstance(level, str) else None

    @property
    def is_asked_directly(self) -> bool:
        """Whether his session can carry a question while the request waits."""
        return not self._is_modern and self._ctx.session.can_send_request

    @property
    def headers(self) -> Mapping[str, str]:
        """His HTTP request's headers."""
        return self._ctx.request.headers if self._ctx.request is not None else {}

    @property
    def state(self) -> Mapping[str, Any] | None:
        """The application's lifespan state."""
        return self._ctx.request.scope.get("state") if self._ctx.request is not None else None

    async def notify(self, method: str, params: WireObject) -> None:
        """Pass progress and log messages on, on his request's own stream."""
        if method == "notifications/progress":
            await self._ctx.session.report_progress(
                params["progress"], params.get("total"), params.get("message")
            )
        elif method == "notifications/message" and self._wants(params.get("level")):
            try:
                message = types.LoggingMessageNotification(
                    params=types.LoggingMessageNotificationParams.model_validate(params)
                )
            except ValidationError:
                return  # an upstream's malformed message is no reason to fail the call
            await self._ctx.session.send_notification(
                message, related_request_id=self._ctx.request_id
            )

    def _wants(self, level: object) -> bool:
        wanted = self.log_level
        if wanted not in LOG_LEVELS or level not in LOG_LEVELS:
            return False
        return LOG_LEVELS.index(str(level)) >= LOG_LEVELS.index(wanted)

    async def ask(self, request: WireObject) -> dict[str, Any]:
        """Put an upstream's question to him."""
        method = str(request.get("method", ""))
        if method not in _QUESTIONS or not self.is_asked_directly:
            raise RpcError(types.INVALID_REQUEST, f"The client can't be asked {method}.")
        question, answer = _QUESTIONS[method]
        try:
            result = await self._ctx.session.send_request(
                question.model_validate(request),  # type: ignore[arg-type]  # one of the three by the table
                answer,
                metadata=ServerMessageMetadata(related_request_id=self._ctx.request_id),
            )
        except MCPError as error:
            raise RpcError(error.code, error.message, error.data) from error
        return wire(result)
