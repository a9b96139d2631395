"""A hop that is gone or frozen, one at a time: 502 and 504 at every address that calls tools."""

import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from stack_support.running_stack import RunningService, RunningStack, running_service

TOOL = "get_current_time"
DEADLINE = {"x-deadline-ms": "2000"}


@dataclass(frozen=True)
class Chain:
    """time-client → mcp-server → middleware, with no supervisor that mends anything."""

    time_client: RunningService
    gateway: RunningService
    middleware: RunningService

    def execute(self) -> httpx.Response:
        call = {"name": TOOL, "parameters": {}}
        address = f"{self.middleware.url}/execute"
        return self.middleware.http.post(address, json=call, headers=DEADLINE)

    def facade(self) -> httpx.Response:
        address = f"{self.gateway.url}/mcp/tools/{TOOL}"
        return self.gateway.http.post(address, json={}, headers=DEADLINE)


@pytest.fixture(scope="module")
def chain(stack: RunningStack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chain]:
    """One chain for all: it loses a hop more with each test, the last one first."""
    tmp_path = tmp_path_factory.mktemp("chain")
    with (
        running_service("time_client", "TIME_CLIENT_", tmp_path / "time.log") as time_client,
        running_service(
            "mcp_server",
            "MCP_SERVER_",
            tmp_path / "gateway.log",
            MCP_SERVER_OWN_UPSTREAMS=f"time-client={time_client.url}/mcp",
        ) as gateway,
        running_service(
            "middleware",
            "MIDDLEWARE_",
            tmp_path / "middleware.log",
            MCP_SERVER_URL=gateway.url,
            MIDDLEWARE_EMBEDDED_MODEL_URL=f"{stack.url('embedded-model')}/v1",
        ) as middleware,
    ):
        running = Chain(time_client, gateway, middleware)
        assert running.execute().json()["success"] is True
        yield running


def problem_of(response: httpx.Response) -> tuple[int, str]:
    problem: dict[str, Any] = response.json()
    assert problem["detail"], problem
    assert problem["request_id"]
    return response.status_code, problem["type"].removeprefix("urn:problem:mcp-stack:")


def test_tool_service_that_is_frozen_is_504(chain: Chain) -> None:
    os.kill(chain.time_client.process.pid, signal.SIGSTOP)
    try:
        assert problem_of(chain.execute()) == (504, "tool-timeout")
        assert problem_of(chain.facade()) == (504, "deadline-exceeded")
    finally:
        os.kill(chain.time_client.process.pid, signal.SIGCONT)

    assert chain.execute().json()["success"] is True


def test_tool_service_that_is_gone_is_502(chain: Chain) -> None:
    chain.time_client.process.kill()
    chain.time_client.process.wait(timeout=5)

    for _ in range(2):  # the call that meets the loss, and one after it is known
        assert problem_of(chain.execute()) == (502, "tool-unavailable")
        assert problem_of(chain.facade()) == (502, "upstream-unavailable")


def test_gateway_that_is_gone_is_502(chain: Chain) -> None:
    chain.gateway.process.kill()
    chain.gateway.process.wait(timeout=5)

    assert problem_of(chain.execute()) == (502, "gateway-unreachable")
