"""The service in this process, and over a real socket where a hang-up matters."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import uvicorn
from fastapi import FastAPI
from sandbox.settings import SandboxSettings

WAIT_SECONDS = 10.0


def service_settings(folder: Path, runner_socket: Path, **changes: Any) -> SandboxSettings:
    given = {
        "runner_socket": runner_socket,
        "packages_dir": folder / "packages",
        "connect_seconds": 0.3,
        "max_timeout_seconds": 30.0,
        "spare_sessions": 0,  # so that a test sees the sessions that it asked for
    }
    return SandboxSettings(**(given | changes))


@asynccontextmanager
async def serving(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """Serve on a free loopback port; the client talks to it over a real socket."""
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    config = uvicorn.Config(
        app, lifespan="on", ws="none", log_config=None, timeout_graceful_shutdown=5
    )
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        async with asyncio.timeout(WAIT_SECONDS):
            while not server.started:
                if task.done():
                    task.result()
                await asyncio.sleep(0.005)
        async with httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{port}", timeout=30, trust_env=False
        ) as client:
            yield client
    finally:
        server.should_exit = True
        async with asyncio.timeout(WAIT_SECONDS):
            await task
        listener.close()


async def until(condition: Any, *, seconds: float = WAIT_SECONDS) -> None:
    """Wait for a condition of another task; bounded."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110  # what is waited for has no event
            await asyncio.sleep(0.002)
