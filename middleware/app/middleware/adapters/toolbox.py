"""The tools behind the MCP gateway."""

import asyncio
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import httpx
from servicekit.context import current_context, use_context
from servicekit.deadline import Deadline
from servicekit.errors import (
    ArgumentsInvalid,
    DeadlineExceeded,
    InvalidRequest,
    NotFound,
    StackError,
    UpstreamUnavailable,
)
from servicekit.logs import get_logger
from servicekit.mcp_client import McpClient
from servicekit.outbound import RemoteProblem
from servicekit.problems import Problem
from servicekit.tool_call_result import ToolCallResult

from middleware.conversation import Tool, ToolResult
from middleware.errors import (
    GatewayTimeout,
    GatewayUnreachable,
    ToolTimeout,
    ToolUnavailable,
    ToolUnknown,
)
from middleware.pictures import pictures_in
from middleware.sound_text import sound, sound_value
from middleware.telemetry import begin_tools

log = get_logger()

# Listing has no effects: a gateway that restarts is back within seconds.
_PAUSES_SECONDS = (0.25, 0.5, 1.0, 2.0, 2.0)
_LIST_SECONDS = 10.0
_CHECK_SECONDS = 2.5
_UNREACHABLE = (
    "The MCP gateway does not answer, so there are no tools. Is mcp-server running, and is "
    "MCP_SERVER_URL right?"
)


@dataclass(frozen=True, slots=True)
class _Listed:
    """The tools as they were at one moment (`time.monotonic()` seconds)."""

    tools: tuple[Tool, ...]
    at: float


def mcp_endpoint(url: str) -> str:
    """Return the gateway's MCP endpoint, given that or its base address."""
    base = url.rstrip("/")
    return base if base.endswith("/mcp") else f"{base}/mcp"


class GatewayToolbox:
    """A `Toolbox` over the gateway.

    Parameters
    ----------
    refresh_seconds
        The age up to which a list of tools is used again.
    """

    def __init__(self, client: McpClient, *, refresh_seconds: float) -> None:
        self._client = client
        self._refresh_seconds = refresh_seconds
        self._listed: _Listed | None = None
        self._lock = asyncio.Lock()

    async def tools(self, deadline: Deadline, *, is_fresh: bool = False) -> tuple[Tool, ...]:
        """Return the tools; see the port. `is_fresh` asks the gateway in any case."""
        asked_at = time.monotonic()
        oldest = asked_at if is_fresh else asked_at - self._refresh_seconds
        if self._listed is not None and self._listed.at >= oldest:
            return self._listed.tools
        bounded = deadline.within(_LIST_SECONDS)
        try:
            async with asyncio.timeout(bounded.remaining()), self._lock:
                # Whoever waited for the lock takes what the one before it was told.
                if self._listed is None or self._listed.at < oldest:
                    self._listed = _Listed(await self._list(bounded), time.monotonic())
                return self._listed.tools
        except TimeoutError:
            raise _list_too_slow() from None

    async def call(self, name: str, arguments: dict[str, Any], deadline: Deadline) -> ToolResult:
        """Call a tool; see the port."""
        context = replace(current_context(), deadline=deadline)
        for pause in (*_PAUSES_SECONDS, None):
            try:
                with use_context(context):
                    result = await self._client.call_tool(name, arguments)
                break
            except StackError as error:
                # Only a call that never left may be made again: tools have effects.
                was_sent = not isinstance(error.__cause__, httpx.ConnectError)
                if was_sent or pause is None or pause >= deadline.remaining() / 2:
                    raise _call_error(name, error) from error
                await asyncio.sleep(pause)
        # Beyond the loop: what the answer says is typed already.
        return _result(name, result)

    async def check(self) -> None:
        """Return when the gateway has tools; raise the reason otherwise."""
        deadline = Deadline.after(_CHECK_SECONDS)
        with use_context(replace(current_context(), deadline=deadline)):
            try:
                tools = await self._once()
            except StackError as error:
                raise _list_error(error) from error
        if not tools:
            raise GatewayUnreachable("The MCP gateway has no tools yet.", hop="gateway")
        self._listed = _Listed(tools, time.monotonic())

    async def _list(self, deadline: Deadline) -> tuple[Tool, ...]:
        with use_context(replace(current_context(), deadline=deadline)):
            for pause in (*_PAUSES_SECONDS, None):
                try:
                    return await self._once()
                except StackError as error:
                    typed = _list_error(error)
                    is_down = isinstance(typed, GatewayUnreachable)
                    if not is_down or pause is None or pause >= deadline.remaining() / 2:
                        raise typed from error
                    log.warning("gateway.retry", error_type=error.type, pause_seconds=pause)
                    await asyncio.sleep(pause)
        raise AssertionError("unreachable: the last pause is None")

    async def _once(self) -> tuple[Tool, ...]:
        listed = await self._client.list_tools()
        begin_tools(tool.name for tool in listed)
        return tuple(Tool(tool.name, tool.description, tool.input_schema) for tool in listed)


def _list_too_slow() -> GatewayTimeout:
    return GatewayTimeout(
        "The MCP gateway did not list its tools in time; see its /health, then ask again.",
        hop="gateway",
    )


def _list_error(error: StackError) -> StackError:
    if isinstance(error, DeadlineExceeded) or error.http_status == DeadlineExceeded.http_status:
        return _list_too_slow()
    if isinstance(error.__cause__, httpx.HTTPError):
        return GatewayUnreachable(_UNREACHABLE, hop="gateway")
    return GatewayUnreachable(
        f"The MCP gateway can't list its tools; see its log. {error.detail}", hop="gateway"
    )


def _call_error(name: str, error: StackError) -> StackError:
    """Return what a call's failure means to the turn and to `/execute`."""
    if isinstance(error, RemoteProblem):
        return _of_problem(name, replace(error.problem, status=error.http_status))
    if isinstance(error.__cause__, httpx.HTTPError) and isinstance(error, UpstreamUnavailable):
        return GatewayUnreachable(_UNREACHABLE, hop="gateway")
    return _of_rpc(name, error)


def _of_rpc(name: str, error: StackError) -> StackError:
    match error:
        case DeadlineExceeded():
            return ToolTimeout(f"{name} did not answer in time.", hop=f"tool:{name}")
        case NotFound():
            return ToolUnknown(f"There is no tool {name!r}; GET /tools lists what there is.")
        case InvalidRequest():
            return ArgumentsInvalid(error.detail)
        case UpstreamUnavailable():
            return ToolUnavailable(_said(error.detail, name), hop=f"tool:{name}")
        case _:
            return error


def _of_problem(name: str, problem: Problem) -> StackError:
    """Return our error for a tool's problem; its further members stay, such as what was printed."""
    error = _kind_of_problem(name, problem)
    # Not as keywords: a stranger's member may have any name.
    error.extensions = {**problem.extensions, **error.extensions}
    return error


def _kind_of_problem(name: str, problem: Problem) -> StackError:
    hop = f"tool:{name}"
    match problem.status:
        case 404 if problem.type in {"tool-unknown", "not-found"}:
            return ToolUnknown(problem.detail or f"There is no tool {name!r}.")
        case 400 | 422:
            return ArgumentsInvalid(problem.detail)
        case 504:
            return ToolTimeout(f"{name} did not answer in time: {problem.detail}", hop=hop)
        case status if status >= 500:  # noqa: PLR2004  # HTTP's server errors
            return ToolUnavailable(_said(problem.detail, name), hop=hop)
        case _:
            return RemoteProblem(problem, hop=hop)


def _said(detail: str, name: str) -> str:
    return detail or f"The service behind {name} does not answer. Try again in a moment."


def _result(name: str, result: ToolCallResult) -> ToolResult:
    """Return what a tool gave; raise where other arguments could not help.

    The same statuses as in the gateway's REST routes: `/execute` answers like them.
    """
    problem = result.problem
    if result.is_error and problem is not None and _is_no_result(problem):
        raise _of_problem(name, problem)
    return ToolResult(
        sound(_text(result)),
        sound_value(result.structured),
        result.is_error,
        pictures_in(result.content),
    )


def _is_no_result(problem: Problem) -> bool:
    """Whether the tool did not run: its arguments, found wrong behind the schema, or its state."""
    is_server_error = problem.status >= 500  # noqa: PLR2004  # HTTP's server errors
    is_bad_argument = problem.type == ArgumentsInvalid.type
    return is_bad_argument or problem.status in {403, 429} or is_server_error


def _text(result: ToolCallResult) -> str:
    """Return what the tool said; what is no text is named, so that the model knows of it."""
    parts = [_block_text(block) for block in result.content]
    text = "\n".join(part for part in parts if part)
    if not text and result.structured is not None:
        return json.dumps(result.structured, ensure_ascii=False)
    return text


def _block_text(block: Mapping[str, Any]) -> str:
    match block:
        case {"type": "text", "text": str(text)}:
            return text
        case {"type": "resource", "resource": {"text": str(text)}}:
            return text
        case {"type": str(kind), "mimeType": str(mime)}:
            return f"[{kind}: {mime}]"
        case {"type": "resource_link", "uri": str(uri)}:
            return f"[resource: {uri}]"
        case _:
            return ""
