"""The adapter against scripted HTTP answers, and the port's contract on fake and adapter."""

import json
from typing import Any

import httpx
import pytest
from code_executor.adapters.sandbox_http import HttpSandbox
from code_executor.sandbox import Sandbox
from code_executor.testing import SIX, ScriptedSandbox
from servicekit.context import RequestContext, context_from_meta, use_context
from servicekit.errors import DeadlineExceeded, UpstreamUnavailable
from servicekit.outbound import RemoteProblem, internal_client
from servicekit.wire.execution import ExecuteRequest, ExecuteResult, PackageRequest

PROBLEM = {
    "type": "urn:problem:mcp-stack:session-unknown",
    "title": "Unknown session",
    "status": 404,
    "detail": "No such session; open one.",
    "request_id": "r",
}


def recording_transport(
    answers: dict[tuple[str, str], httpx.Response | Exception], seen: list[httpx.Request]
) -> httpx.MockTransport:
    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        scripted = answers[request.method, request.url.path]
        if isinstance(scripted, Exception):
            raise scripted
        return scripted

    return httpx.MockTransport(answer)


def sandbox(
    answers: dict[tuple[str, str], httpx.Response | Exception],
) -> tuple[HttpSandbox, list[httpx.Request]]:
    seen: list[httpx.Request] = []
    transport = recording_transport(answers, seen)
    return HttpSandbox(internal_client("http://sandbox", transport=transport)), seen


def answering() -> HttpSandbox:
    ran: dict[str, Any] = {"status": "ok", "stdout": "1\n", "a_later_field": 1}
    six = SIX.model_dump()
    done = {"package": "six", "version": "1.17.0", "installed": [six], "already_present": False}
    return sandbox(
        {
            ("POST", "/execute"): httpx.Response(200, json=ran),
            ("POST", "/packages"): httpx.Response(200, json=done),
            ("GET", "/packages"): httpx.Response(200, json={"packages": [six]}),
            ("GET", "/ready"): httpx.Response(200, json={"ready": True}),
        }
    )[0]


@pytest.fixture(params=["fake", "http"])
def either(request: pytest.FixtureRequest) -> Sandbox:
    if request.param == "fake":
        return ScriptedSandbox(ExecuteResult(status="ok", stdout="1\n"))
    return answering()


async def test_contract_run_gives_status_and_output(either: Sandbox) -> None:
    result = await either.execute(ExecuteRequest(code="print(1)"))
    assert (result.status, result.stdout) == ("ok", "1\n")


async def test_contract_install_gives_package_and_closure(either: Sandbox) -> None:
    done = await either.install(PackageRequest(package="six"))
    assert (done.package, done.version, done.installed) == ("six", "1.17.0", (SIX,))


async def test_contract_list_gives_packages(either: Sandbox) -> None:
    assert (await either.packages(None)).packages == (SIX,)
    await either.ping()


async def test_request_leaves_out_what_was_not_said_and_carries_the_context() -> None:
    adapter, seen = sandbox({("POST", "/execute"): httpx.Response(200, json={"status": "ok"})})
    with use_context(_context(deadline_ms=5000)):
        await adapter.execute(ExecuteRequest(code="1", timeout_seconds=2.5))
    assert json.loads(seen[0].content) == {"code": "1", "timeout_seconds": 2.5}
    assert seen[0].headers["x-request-id"] == "abc-123"
    assert 0 < int(seen[0].headers["x-deadline-ms"]) <= 5000
    assert seen[0].headers["traceparent"]


async def test_session_is_quoted_in_the_address() -> None:
    adapter, seen = sandbox({("GET", "/packages"): httpx.Response(200, json={"packages": []})})
    await adapter.packages("a&b=c")
    assert seen[0].url.params["session_id"] == "a&b=c"


async def test_problem_of_the_sandbox_keeps_type_and_status() -> None:
    answers: dict[tuple[str, str], httpx.Response | Exception] = {
        ("POST", "/execute"): httpx.Response(404, json=PROBLEM)
    }
    adapter, _ = sandbox(answers)
    with pytest.raises(RemoteProblem) as caught:
        await adapter.execute(ExecuteRequest(code="1"))
    assert (caught.value.type, caught.value.http_status) == ("session-unknown", 404)


@pytest.mark.parametrize(
    "answer",
    [
        httpx.ConnectError("refused"),
        httpx.ReadError("cut"),
        httpx.Response(200, text="<html>"),
        httpx.Response(200, json={"status": "a new status"}),
        httpx.Response(500, text="oops"),
    ],
)
async def test_sandbox_that_is_away_or_strange_is_an_upstream_error(
    answer: httpx.Response | Exception,
) -> None:
    adapter, _ = sandbox({("POST", "/execute"): answer})
    with pytest.raises(UpstreamUnavailable):
        await adapter.execute(ExecuteRequest(code="1"))


async def test_spent_deadline_ends_the_call_before_it_is_sent() -> None:
    adapter, seen = sandbox({("POST", "/execute"): httpx.Response(200, json={"status": "ok"})})
    with use_context(_context(deadline_ms=0)), pytest.raises(DeadlineExceeded):
        await adapter.execute(ExecuteRequest(code="1"))
    assert seen == []


def _context(*, deadline_ms: int) -> RequestContext:
    return context_from_meta(
        {"mcp-stack/request-id": "abc-123", "mcp-stack/deadline-ms": deadline_ms}
    )
