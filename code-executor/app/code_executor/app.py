"""The composition root of the code executor."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from servicekit.health import Dependency
from servicekit.mcp_bridge import RouteTools
from servicekit.outbound import internal_client
from servicekit.service import Service, build_app

from code_executor.adapters.sandbox_http import HttpSandbox
from code_executor.routes import tools
from code_executor.sandbox import Sandbox
from code_executor.settings import CodeExecutorSettings
from code_executor.shaping import Caps
from code_executor.wiring import Wiring


def create_app(settings: CodeExecutorSettings, *, sandbox: Sandbox | None = None) -> Service:
    """Build the service; tests bring a sandbox of their own."""
    caps = Caps(
        stdout=settings.stdout_characters,
        stderr=settings.stderr_characters,
        result=settings.result_characters,
        traceback=settings.traceback_characters,
    )

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[Wiring]:
        if sandbox is not None:
            yield Wiring(sandbox=sandbox, caps=caps)
            return
        async with internal_client(str(settings.sandbox_url)) as client:
            yield Wiring(sandbox=HttpSandbox(client), caps=caps)

    return build_app(
        name="code-executor",
        summary="Runs Python code and installs packages in the sandbox, for a language model",
        settings=settings,
        lifespan=lifespan,
        routers=[tools.router],
        # Not hard: without the sandbox this service still answers, with an error that says so.
        dependencies=lambda wiring: [Dependency("sandbox", wiring.sandbox.ping, is_hard=False)],
        default_deadline_seconds=settings.request_deadline_seconds,
        names_callers=True,
        mcp=RouteTools(
            tools.TOOL_TAG,
            "Tools that run Python code in an isolated sandbox and install packages for it. "
            "Print what you want to see; use execute_code for every calculation.",
        ),
    )
