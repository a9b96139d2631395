"""FastAPI endpoints as MCP tools: fastapi-mcp reads OpenAPI, the SDK speaks the protocol.

Conventions for a tool's endpoint
---------------------------------
- `operation_id` is the tool's name; the routes with the service's tag are tools.
- The docstring is the description, the response model the output schema.
- A response object with a string `text` is shown as that text; the whole object is the
  structured content.
- Its `images`, a list of objects with `media_type` and `data` (base64), become image content
  behind the text, and stand nowhere else: base64 is nothing for a model's context.
- A response object with `is_error: true` is a tool error that the model may correct.
- A problem document (HTTP status 400 and above) is a tool error: its `detail` is the
  text, the whole document stands in `_meta` under `mcp-stack/problem`.
- `openapi_extra={"x-mcp-annotations": {"readOnlyHint": True}}` sets annotations.
"""

import asyncio
import warnings
from collections.abc import Awaitable, Iterable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Protocol

import httpx
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from mcp import types
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.shared.exceptions import MCPError
from pydantic.warnings import PydanticDeprecatedSince211
from rapidfuzz import process
from starlette.types import ASGIApp, Receive, Scope, Send

from servicekit.context import current_context, outgoing_headers
from servicekit.endpoint_result import error_result, problem_for, tool_result
from servicekit.errors import ArgumentsInvalid, DeadlineExceeded, NotFound, StackError
from servicekit.mcp_mount import McpMount
from servicekit.schema_check import ArgumentCheck
from servicekit.tool_operation import ToolOperation, refine

with warnings.catch_warnings():
    # Its authentication models, which nothing here uses, override a method that pydantic retires.
    warnings.simplefilter("ignore", PydanticDeprecatedSince211)
    from fastapi_mcp import FastApiMCP  # type: ignore[import-untyped]  # it ships no py.typed
    from fastapi_mcp.openapi.convert import (  # type: ignore[import-untyped]  # as above
        convert_openapi_to_mcp_tools,
    )
    from fastapi_mcp.openapi.utils import (  # type: ignore[import-untyped]  # as above
        resolve_schema_references,
    )


# The app answers a foreign Host with 403; calls that never leave the process use a name it knows.
_BASE_URL = "http://localhost"


class ToolUnknown(NotFound):
    """No tool has this name."""

    type = "tool-unknown"
    title = "Unknown tool"


def tool_unknown(name: str, known: Iterable[str]) -> ToolUnknown:
    """Return the error for a name that no tool has; it names the nearest that exist."""
    nearest = [match for match, *_ in process.extract(name, list(known), limit=3, score_cutoff=60)]
    hint = (
        f"Did you mean {' or '.join(nearest)}?" if nearest else "List the tools to see the names."
    )
    return ToolUnknown(f"There is no tool {name[:100]!r}. {hint}", nearest=nearest)


class ProgressCallback(Protocol):
    """Receives one step of progress."""

    def __call__(
        self, progress: float, total: float | None = None, message: str | None = None
    ) -> Awaitable[None]:
        """Take one step."""
        ...


_progress: ContextVar[ProgressCallback | None] = ContextVar("mcp_progress", default=None)
_lifespan_state: ContextVar[Mapping[str, Any] | None] = ContextVar("mcp_state", default=None)


async def report_progress(
    progress: float, total: float | None = None, message: str | None = None
) -> None:
    """Tell the caller how far the work is; a no-op when nobody asked.

    Parameters
    ----------
    progress
        Grows with each call; any unit.
    total
        The value of `progress` at the end, when it is known.
    message
        A short sentence for a person.
    """
    if (callback := _progress.get()) is not None:
        await callback(progress, total, message)


class _InProcess:
    """Gives the lifespan's state to requests that did not come through the server."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if (state := _lifespan_state.get()) is not None:
            scope["state"] = dict(state)
        await self._app(scope, receive, send)


class Bridge(FastApiMCP):  # type: ignore[misc]  # its base is untyped
    """The tools of one FastAPI app behind the SDK's low-level server.

    Parameters
    ----------
    app
        The app, with all routers included.
    name, version, instructions
        What clients are told about the server.
    tag
        Routes with this tag are tools.
    forward_headers
        Headers of the MCP request that reach the endpoint; the request's context always does.
    """

    def __init__(
        self,
        app: FastAPI,
        *,
        name: str,
        version: str,
        tag: str,
        instructions: str | None = None,
        forward_headers: Sequence[str] = ("authorization",),
    ) -> None:
        self._version = version
        self._instructions = instructions
        self._operations: dict[str, ToolOperation] = {}
        self._by_name: dict[str, types.Tool] = {}
        client = httpx.AsyncClient(
            transport=httpx.ASGITransport(app=_InProcess(app), raise_app_exceptions=False),
            base_url=_BASE_URL,
            timeout=None,  # noqa: S113  # the transport ignores it; the request's deadline bounds the call
            trust_env=False,
        )
        super().__init__(
            app,
            name=name,
            description=instructions or "",
            http_client=client,
            include_tags=[tag],
            headers=list(forward_headers),
        )

    def setup_server(self) -> None:
        """Read the app's OpenAPI document; replaces fastapi-mcp 0.4.0's body, which needs mcp 1."""
        document = get_openapi(
            title=self.fastapi.title,
            version=self.fastapi.version,
            openapi_version=self.fastapi.openapi_version,
            description=self.fastapi.description,
            routes=self.fastapi.routes,
        )
        tools, self.operation_map = convert_openapi_to_mcp_tools(document)
        self.tools = self._filter_tools(tools, document)
        paths = resolve_schema_references(document, document).get("paths", {})
        for tool in self.tools:
            details = self.operation_map[tool.name]
            refine(tool, paths[details["path"]][details["method"]])
            self._operations[tool.name] = ToolOperation(
                method=details["method"].upper(),
                path=details["path"],
                places={parameter["name"]: parameter["in"] for parameter in details["parameters"]},
                has_body=bool(details["request_body"]),
                check=ArgumentCheck(tool.input_schema),
            )
        self._by_name = {tool.name: tool for tool in self.tools}
        self.server = Server(
            self.name,
            version=self._version,
            instructions=self._instructions,
            on_list_tools=self._list_tools,
            on_call_tool=self._call_tool,
            # Without it each 2026-07-28 tools/call runs the whole tools/list handler first.
            get_tool_input_schema=self.input_schema,
        )

    def input_schema(self, name: str) -> dict[str, Any] | None:
        """Return a tool's argument schema; None for an unknown name."""
        tool = self._by_name.get(name)
        return tool.input_schema if tool else None

    async def _list_tools(
        self, _: ServerRequestContext[Any, Any], __: types.PaginatedRequestParams | None
    ) -> types.ListToolsResult:
        return types.ListToolsResult(tools=self.tools)

    async def _call_tool(
        self, ctx: ServerRequestContext[Any, Any], params: types.CallToolRequestParams
    ) -> types.CallToolResult:
        if params.name not in self._operations:
            error = tool_unknown(params.name, self._operations)
            raise MCPError(types.INVALID_PARAMS, error.detail, problem_for(error))
        return await self.call(
            params.name,
            params.arguments or {},
            headers=ctx.request.headers if ctx.request is not None else {},
            state=ctx.request.scope.get("state") if ctx.request is not None else None,
            progress=ctx.session.report_progress,
        )

    async def call(
        self,
        name: str,
        arguments: Mapping[str, Any],
        *,
        headers: Mapping[str, str],
        state: Mapping[str, Any] | None,
        progress: ProgressCallback | None = None,
    ) -> types.CallToolResult:
        """Call a known tool's endpoint in this process.

        Parameters
        ----------
        headers
            The MCP request's; those on the allowlist reach the endpoint.
        state
            The lifespan's state (`scope["state"]`), for `request.state`.

        Returns
        -------
        CallToolResult
            Every failure is a result with `is_error`; nothing is raised but cancellation.
        """
        operation = self._operations[name]
        progress_token = _progress.set(progress)
        state_token = _lifespan_state.set(state)
        try:
            operation.check.reject_invalid(arguments)
            response = await self._send(operation, arguments, headers)
        except StackError as error:
            return error_result(error)
        finally:
            _progress.reset(progress_token)
            _lifespan_state.reset(state_token)
        return tool_result(response)

    async def _send(
        self, operation: ToolOperation, arguments: Mapping[str, Any], incoming: Mapping[str, str]
    ) -> httpx.Response:
        path, query, headers, body = operation.request(arguments)
        allowed = {key: incoming[key] for key in self._forward_headers if key in incoming}
        remaining = current_context().deadline.remaining()
        try:
            async with asyncio.timeout(remaining):
                # The transport awaits the app in this task: cancelling the MCP request cancels
                # the endpoint.
                response: httpx.Response = await self._http_client.request(
                    operation.method,
                    path,
                    params=query,
                    headers=headers | allowed | outgoing_headers(),
                    json=body,
                )
        except (httpx.InvalidURL, UnicodeError) as error:
            raise ArgumentsInvalid(
                "A value is too long, or has characters, for an address or a header. Send less."
            ) from error
        except TimeoutError as error:
            raise DeadlineExceeded(
                "The tool did not finish within the request's time. "
                "Allow more time, or ask for less work."
            ) from error
        return response


@dataclass(frozen=True, slots=True)
class RouteTools:
    """The routes of an app with a tag as MCP tools; see `servicekit.service.build_app`.

    Parameters
    ----------
    tag
        Routes with this tag are tools.
    instructions
        What clients are told about the server; the app's summary by default.
    path
        Where it is served.
    """

    tag: str
    instructions: str | None = None
    path: str = "/mcp"

    def mount(self, app: FastAPI) -> McpMount:
        """Serve the tools of an app whose routers are included.

        Enter `run()` of what it returns in the app's lifespan. Host and Origin are checked by
        the app's own middleware.
        """
        bridge = Bridge(
            app,
            name=app.title,
            version=app.version,
            instructions=self.instructions or app.summary,
            tag=self.tag,
        )
        mount = McpMount(bridge.server)
        mount.attach(app, self.path)
        return mount
