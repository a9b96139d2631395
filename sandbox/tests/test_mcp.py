"""The service's tools over MCP."""

import asyncio

import httpx
from sandbox_support.fake_runner import FakeRunner
from sandbox_support.serving import until
from servicekit.mcp_client import McpClient


async def test_tools_have_stable_names_and_a_failing_program_is_no_tool_error(
    service: httpx.AsyncClient,
) -> None:
    async with McpClient(f"{service.base_url}/mcp", peer="sandbox") as client:
        names = {tool.name for tool in await client.list_tools()}
        assert {"sandbox_execute", "sandbox_install_package", "sandbox_list_packages"} <= names
        assert "get_health" not in names
        answer = await client.call_tool("sandbox_execute", {"code": "raise ValueError('boom')"})
        assert not answer.is_error
        assert answer.structured is not None
        assert answer.structured["status"] == "error"


async def test_refusal_is_a_tool_error_with_its_sentence(service: httpx.AsyncClient) -> None:
    async with McpClient(f"{service.base_url}/mcp", peer="sandbox") as client:
        answer = await client.call_tool("sandbox_install_package", {"package": "reqeusts"})
        assert answer.is_error
        assert "Did you mean requests?" in answer.text


async def test_cancelled_call_kills_the_run(
    service: httpx.AsyncClient, fake_runner: FakeRunner
) -> None:
    async with McpClient(f"{service.base_url}/mcp", peer="sandbox") as client:
        arguments = {"code": "while True: pass", "timeout_seconds": 20}
        call = asyncio.create_task(client.call_tool("sandbox_execute", arguments))
        await until(lambda: fake_runner.started)
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
        await until(lambda: fake_runner.open_sessions == 0)
