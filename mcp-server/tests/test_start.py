"""The gateway's start: its port opens with the tools that there are, and opens in any case."""

import asyncio
from contextlib import asynccontextmanager
from typing import Any

import pytest
from mcp_server.app import create_app
from mcp_server.settings import McpServerSettings


@pytest.mark.parametrize("era", ["modern", "older"])
async def test_tools_are_known_as_soon_as_the_port_is_open(stack: Any, era: str) -> None:
    clock = await (stack.clock() if era == "modern" else stack.older_clock())
    http = await stack.http(await stack.gateway(own=f"clock={clock.url}"))
    answer = await http.post("/mcp/tools/get_time", json={})
    assert (answer.status_code, answer.json().get("output")) == (200, "noon in UTC")


class HangingConnector:
    @asynccontextmanager
    async def connect(self) -> Any:
        await asyncio.Event().wait()
        yield


async def test_upstream_that_hangs_does_not_hold_up_the_start(
    stack: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mcp_server.app._FIRST_ATTEMPT_SECONDS", 0.05)
    settings = McpServerSettings(own_upstreams="clock=http://127.0.0.1:9/mcp")
    async with asyncio.timeout(10):
        server = await stack.serve(
            lambda: create_app(settings, connecting=lambda _: HangingConnector())
        )
    answer = await (await stack.http(server)).get("/ready")
    assert answer.status_code == 503
    assert "tool-discovery" in answer.json()["waiting_for"]
