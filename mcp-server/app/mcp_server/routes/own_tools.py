"""The gateway's own tools: how the system stands, how the tools are used."""

import time
from typing import Literal

from fastapi import APIRouter
from pydantic import BaseModel
from servicekit.service import package_version

from mcp_server.call_ledger import tool_statistics
from mcp_server.gateway import OWN
from mcp_server.routes.wired import Wired
from mcp_server.upstream_link import LinkStatus

TOOL_TAG = "own-tools"
READ_ONLY = {"x-mcp-annotations": {"readOnlyHint": True, "openWorldHint": False}}
router = APIRouter(tags=[TOOL_TAG])


class UpstreamReport(BaseModel):
    """One tool service behind the gateway."""

    name: str
    state: Literal["connecting", "connected", "away"]
    protocol_version: str | None
    tools: int
    since_seconds: float
    last_error: str | None


class SystemStatus(BaseModel):
    """The gateway and everything behind it."""

    text: str
    status: Literal["ok", "warn"]
    version: str
    uptime_seconds: float
    tools: int
    upstreams: list[UpstreamReport]


class ToolMetrics(BaseModel):
    """One tool's calls since the gateway began."""

    name: str
    calls: int
    failures: int
    mean_ms: float
    p95_ms: float | None


class ServiceMetrics(BaseModel):
    """All tools' calls since the gateway began."""

    text: str
    uptime_seconds: float
    calls: int
    failures: int
    tools: list[ToolMetrics]


def _sentence(link: LinkStatus) -> str:
    since = f"{link.state} for {link.since_seconds:.0f} s"
    reason = f" ({link.last_error})" if link.last_error else ""
    return f"- {link.name}: {since}, {link.tools} tools{reason}"


@router.get("/status", operation_id="get_system_status", openapi_extra=READ_ONLY)
async def get_system_status(wiring: Wired) -> SystemStatus:
    """Report whether this assistant's tool services are connected and what they offer."""
    links = wiring.gateway.statuses()
    status: Literal["ok", "warn"] = (
        "ok" if all(link.state == "connected" for link in links) else "warn"
    )
    uptime = time.monotonic() - wiring.started_at
    tools = len(wiring.gateway.catalog.tools)
    head = f"{OWN}: {status}, up for {uptime:.0f} s, {tools} tools in all"
    return SystemStatus(
        text="\n".join([head, *map(_sentence, links)]),
        status=status,
        version=package_version("mcp-server"),
        uptime_seconds=round(uptime, 3),
        tools=tools,
        upstreams=[
            UpstreamReport(
                name=link.name,
                state=link.state,
                protocol_version=link.protocol_version,
                tools=link.tools,
                since_seconds=round(link.since_seconds, 3),
                last_error=link.last_error,
            )
            for link in links
        ],
    )


@router.get("/statistics", operation_id="get_service_metrics", openapi_extra=READ_ONLY)
async def get_service_metrics(wiring: Wired) -> ServiceMetrics:
    """Report how often each tool was called, how often it failed, and how long it took."""
    tools = [
        ToolMetrics(
            name=tool.name,
            calls=tool.calls,
            failures=tool.failures,
            mean_ms=tool.mean_ms,
            p95_ms=tool.p95_ms,
        )
        for tool in tool_statistics()
    ]
    calls, failures = sum(t.calls for t in tools), sum(t.failures for t in tools)
    lines = [
        f"- {tool.name}: {tool.calls} calls, {tool.failures} failed, mean {tool.mean_ms:g} ms"
        for tool in tools
    ]
    return ServiceMetrics(
        text="\n".join([f"{calls} tool calls, {failures} failed", *lines]),
        uptime_seconds=round(time.monotonic() - wiring.started_at, 3),
        calls=calls,
        failures=failures,
        tools=tools,
    )
