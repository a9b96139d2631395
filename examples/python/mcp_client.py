"""List the gateway's tools and run code through it, with the official MCP client."""

import asyncio
import os
import sys

from mcp import Client
from mcp.types import TextContent

URL = os.environ.get("GATEWAY_URL", "http://localhost:8000")


async def main() -> int:
    async with Client(f"{URL}/mcp", read_timeout_seconds=60) as client:
        for tool in (await client.list_tools()).tools:
            print(f"{tool.name}: {(tool.description or '').splitlines()[0]}")
        result = await client.call_tool("execute_code", {"code": "print(sum(range(101)))"})
        for block in result.content:
            if isinstance(block, TextContent):
                print(block.text)
    return 1 if result.is_error else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
