"""Calls between services: context out, typed errors back."""

import httpx
import pytest
from fastapi import FastAPI
from servicekit.context import RequestContext, use_context
from servicekit.deadline import Deadline
from servicekit.errors import DeadlineExceeded, TooBusy, UpstreamUnavailable
from servicekit.outbound import (
    IDLE_CONNECTION_SECONDS,
    RemoteProblem,
    internal_client,
    request_json,
)
from servicekit.problems import problem_response
from servicekit.service import server_config
from servicekit.trace import TraceParent

from .conftest import ToySettings


def _client(answer) -> httpx.AsyncClient:
    return internal_client("http://cellar", transport=httpx.MockTransport(answer))


async def _call(client: httpx.AsyncClient):
    async with client:
        return await request_json(client, "POST", "/x", upstream="cellar", json={})


async def test_request_carries_the_running_context() -> None:
    seen: dict[str, str] = {}

    def answer(request: httpx.Request) -> httpx.Response:
        seen.update(request.headers)
        return httpx.Response(200, json={"ok": True})

    with use_context(RequestContext("r-9", TraceParent.new(), Deadline.after(3))):
        assert await _call(_client(answer)) == {"ok": True}
    assert seen["x-request-id"] == "r-9"
    assert 0 < int(seen["x-deadline-ms"]) <= 3000


async def test_neighbours_problem_comes_back_under_its_own_type() -> None:
    def answer(_: httpx.Request) -> httpx.Response:
        busy = problem_response(TooBusy("Full.", retry_after_seconds=4, places=3), "r-1")
        return httpx.Response(busy.status_code, content=busy.body, headers=dict(busy.headers))

    with pytest.raises(RemoteProblem) as caught:
        await _call(_client(answer))
    assert (caught.value.type, caught.value.http_status) == ("too-busy", 429)
    assert caught.value.retry_after_seconds == 4
    assert caught.value.extensions["places"] == 3


async def test_refused_connection_is_an_upstream_error() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused", request=request)

    with pytest.raises(UpstreamUnavailable, match="cellar"):
        await _call(_client(answer))


async def test_spent_deadline_is_said_before_anything_is_sent() -> None:
    def answer(_: httpx.Request) -> httpx.Response:
        pytest.fail("nothing may be sent")

    with (
        use_context(RequestContext("r", TraceParent.new(), Deadline.after(-1))),
        pytest.raises(DeadlineExceeded),
    ):
        await _call(_client(answer))


@pytest.mark.parametrize("body", [b"<html>", b"[1]", b'{"type": 3}'])
async def test_failure_that_is_no_problem_document_is_an_upstream_error(body: bytes) -> None:
    with pytest.raises(UpstreamUnavailable, match="500"):
        await _call(_client(lambda _: httpx.Response(500, content=body)))


async def test_proxy_of_the_environment_is_ignored_between_services(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    async with internal_client("http://cellar") as client:
        assert not client._mounts


def test_client_lets_go_of_a_resting_connection_well_before_the_server() -> None:
    config = server_config(FastAPI(), ToySettings())
    assert config.timeout_keep_alive > 2 * IDLE_CONNECTION_SECONDS
