"""Through the real app, with a clock that stands still."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from time_client.adapters.system_clock import SystemClock
from time_client.app import create_app
from time_client.clock import Clock
from time_client.settings import TimeClientSettings


class StandingClock:
    def now(self) -> datetime:
        return datetime(2026, 11, 22, 17, 3, 12, 999, tzinfo=UTC)


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    app = create_app(TimeClientSettings(), clock=StandingClock())
    async with running_client(app) as client:
        yield client


@asynccontextmanager
async def running_client(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """Give a client of an app whose lifespan runs in a task of its own, as a server's does."""
    started: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
    ending = asyncio.Event()

    async def live() -> None:
        async with app.router.lifespan_context(app) as state:
            started.set_result(dict(state or {}))
            await ending.wait()

    async def with_state(scope: Any, receive: Any, send: Any) -> None:
        await app({**scope, "state": dict(started.result())}, receive, send)

    async with asyncio.timeout(30), asyncio.TaskGroup() as tasks:
        tasks.create_task(live())
        await started
        transport = httpx.ASGITransport(app=with_state)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            yield client
        ending.set()


@pytest.mark.parametrize("clock", [StandingClock(), SystemClock()])
def test_clocks_are_aware_and_in_utc(clock: Clock) -> None:
    now = clock.now()
    assert now.tzinfo is UTC
    assert now.year >= 2026


async def test_current_time_is_utc_by_default(client: httpx.AsyncClient) -> None:
    for arguments in ({}, {"timezone": None}):
        answer = (await client.post("/tools/get_current_time", json=arguments)).json()
        assert answer["text"] == "2026-11-22 17:03 UTC"
        assert answer["iso8601"] == "2026-11-22T17:03:12+00:00"
        assert answer["timezone"] == "UTC"
        assert answer["utc_offset"] == "+00:00"
        assert answer["unix_seconds"] == 1795366992


async def test_time_in_a_zone_names_zone_and_abbreviation(client: httpx.AsyncClient) -> None:
    for tool in ("get_current_time", "get_timezone_time"):
        answer = (await client.post(f"/tools/{tool}", json={"timezone": "Asia/Tokyo"})).json()
        assert answer["text"] == "2026-11-23 02:03 JST (Asia/Tokyo)"
        assert answer["utc_offset"] == "+09:00"
        assert answer["weekday"] == "Monday"


async def test_zone_without_letters_shows_its_offset(client: httpx.AsyncClient) -> None:
    body = {"timezone": "America/Sao_Paulo"}
    answer = (await client.post("/tools/get_timezone_time", json=body)).json()
    assert answer["text"] == "2026-11-22 14:03 UTC-03:00 (America/Sao_Paulo)"


async def test_unknown_zone_is_a_problem_with_the_nearest(client: httpx.AsyncClient) -> None:
    response = await client.post("/tools/get_timezone_time", json={"timezone": "tokio"})
    assert response.status_code == 422
    assert response.json()["type"].endswith(":timezone-unknown")
    assert response.json()["nearest"][0] == "Asia/Tokyo"


async def test_format_time_converts_across_daylight_saving(client: httpx.AsyncClient) -> None:
    body = {
        "time": "2026-07-01T09:00",
        "from_timezone": "America/New_York",
        "timezone": "Europe/Berlin",
        "format": "%d.%m.%Y %H:%M %Z",
    }
    answer = (await client.post("/tools/format_time", json=body)).json()
    assert answer["text"] == answer["formatted"] == "01.07.2026 15:00 CEST"
    assert answer["is_dst"] is True
    assert answer["note"] is None


async def test_format_time_says_what_a_gap_did(client: httpx.AsyncClient) -> None:
    body = {"time": "2026-03-08T02:30", "from_timezone": "America/New_York"}
    answer = (await client.post("/tools/format_time", json=body)).json()
    assert answer["formatted"] == "2026-03-08 03:30 EDT (America/New_York)"
    assert "does not exist" in answer["text"]


async def test_now_can_be_formatted(client: httpx.AsyncClient) -> None:
    body = {"time": "now", "format": "%H:%M", "timezone": "Asia/Kolkata"}
    assert (await client.post("/tools/format_time", json=body)).json()["text"] == "22:33"


@pytest.mark.parametrize(
    ("tool", "body"),
    [
        ("get_timezone_time", {}),
        ("get_timezone_time", {"timezone": 5}),
        ("get_timezone_time", {"timezone": ""}),
        ("get_current_time", {"timezon": "UTC"}),
        ("format_time", {"time": "soon"}),
        ("format_time", {"time": True}),
        ("format_time", {"time": 1e300}),
        ("format_time", {"time": "2026-11-22T17:03Z", "format": "%Q"}),
        ("format_time", {"time": "9999-12-31T23:59Z", "timezone": "Asia/Tokyo"}),
        ("format_time", {"time": 0, "format": ""}),
    ],
)
async def test_bad_arguments_are_problems(
    client: httpx.AsyncClient, tool: str, body: dict[str, Any]
) -> None:
    response = await client.post(f"/tools/{tool}", json=body)
    assert response.status_code == 422
    assert response.headers["content-type"].startswith("application/problem+json")
    assert response.json()["detail"]


async def test_tools_are_offered_over_mcp(client: httpx.AsyncClient) -> None:
    body = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "tools/call",
        "params": {
            "name": "get_timezone_time",
            "arguments": {"timezone": "Asia/Tokyo"},
            "_meta": {
                "io.modelcontextprotocol/protocolVersion": "2026-07-28",
                "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
                "io.modelcontextprotocol/clientCapabilities": {},
            },
        },
    }
    headers = {
        "accept": "application/json, text/event-stream",
        "mcp-protocol-version": "2026-07-28",
        "mcp-method": "tools/call",
        "mcp-name": "get_timezone_time",
    }
    answer = (await client.post("/mcp", json=body, headers=headers)).json()
    assert answer["result"]["content"][0]["text"] == "2026-11-23 02:03 JST (Asia/Tokyo)"
    assert answer["result"]["structuredContent"]["timezone"] == "Asia/Tokyo"
