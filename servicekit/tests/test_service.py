"""What every service answers, whatever it is for."""

import re
import subprocess
import sys

import httpx
import pytest
from prometheus_client import REGISTRY
from servicekit.health import Dependency
from servicekit.mcp_bridge import RouteTools

from .conftest import ToySettings, serving, toy_app

JSON = {"content-type": "application/json"}


async def test_body_that_is_not_declared_json_is_415(toy: httpx.AsyncClient) -> None:
    answer = await toy.post(
        "/echo", content=b'{"number": 1}', headers={"content-type": "text/plain"}
    )
    assert answer.status_code == 415
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["type"] == "urn:problem:mcp-stack:unsupported-media-type"


async def test_body_without_any_content_type_is_415(toy: httpx.AsyncClient) -> None:
    assert (await toy.post("/echo", content=b'{"number": 1}')).status_code == 415


@pytest.mark.parametrize(
    "declared", ["application/json", "application/json; charset=utf-8", "application/vnd.x+json"]
)
async def test_declared_json_is_taken(toy: httpx.AsyncClient, declared: str) -> None:
    answer = await toy.post("/echo", content=b'{"number": 1}', headers={"content-type": declared})
    assert answer.json() == {"number": 1}


async def test_broken_json_is_400_and_says_so(toy: httpx.AsyncClient) -> None:
    answer = await toy.post("/echo", content=b'{"number":', headers=JSON)
    assert answer.status_code == 400
    assert answer.json()["type"] == "urn:problem:mcp-stack:body-not-json"


@pytest.mark.parametrize("body", [b"\xff\xfe\x00", b"[" * 100_000, b'{"a":' * 100_000])
async def test_body_that_no_reader_takes_is_400_and_says_so(
    toy: httpx.AsyncClient, body: bytes
) -> None:
    answer = await toy.post("/echo", content=body, headers=JSON)
    assert answer.status_code == 400
    assert answer.json()["type"] == "urn:problem:mcp-stack:body-not-json"


async def test_request_whose_time_is_over_at_arrival_is_504(toy: httpx.AsyncClient) -> None:
    answer = await toy.post("/echo", json={"number": 1}, headers={"x-deadline-ms": "0"})
    assert answer.status_code == 504
    assert answer.json()["type"] == "urn:problem:mcp-stack:deadline-exceeded"


async def test_wrong_field_is_422_and_is_named(toy: httpx.AsyncClient) -> None:
    answer = await toy.post("/echo", json={"number": "many"})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == "number"
    assert answer.json()["request_id"] == answer.headers["x-request-id"]


async def test_body_over_the_bound_is_413_by_its_length(toy: httpx.AsyncClient) -> None:
    answer = await toy.post("/echo", content=b" " * (4 * 1024 * 1024 + 1), headers=JSON)
    assert answer.status_code == 413


async def test_body_over_the_bound_is_413_while_it_streams() -> None:
    async def chunks():
        for _ in range(5):
            yield b" " * 1024

    async with serving(toy_app(settings=ToySettings(max_body_bytes=2048))) as client:
        answer = await client.post("/echo", content=chunks(), headers=JSON)
    assert answer.status_code == 413


@pytest.mark.parametrize(
    "host",
    ["evil.example", "localhost.evil.example", "toy.evil.example", "localhost@evil", "10.0.0.1"],
)
async def test_foreign_host_is_403(toy: httpx.AsyncClient, host: str) -> None:
    answer = await toy.get("/ready", headers={"host": host})
    assert answer.status_code == 403
    assert answer.json()["type"] == "urn:problem:mcp-stack:forbidden-caller"


@pytest.mark.parametrize(
    "host",
    ["localhost", "LOCALHOST:8002", "127.0.0.1:1", "[::1]:8002", "toy", "toy:80", "localhost."],
)
async def test_own_host_is_answered(toy: httpx.AsyncClient, host: str) -> None:
    assert (await toy.get("/ready", headers={"host": host})).status_code == 200


@pytest.mark.parametrize(
    "origin",
    ["https://evil.example", "null", "http://localhost.evil.example", "file://", "http://toy:1"],
)
async def test_foreign_origin_is_403_and_reaches_no_route(
    toy: httpx.AsyncClient, origin: str
) -> None:
    answer = await toy.post("/echo", json={"number": 1}, headers={"origin": origin})
    assert answer.status_code == 403


@pytest.mark.parametrize(
    "origin",
    ["http://localhost:6274", "http://127.0.0.1:3000", "http://[::1]:1", "http://localhost"],
)
async def test_loopback_page_may_call(toy: httpx.AsyncClient, origin: str) -> None:
    answer = await toy.post("/echo", json={"number": 1}, headers={"origin": origin})
    assert answer.status_code == 200


async def test_listed_cors_origin_gets_its_headers_and_the_session_header_exposed() -> None:
    async with serving(toy_app(cors_origins=("https://chat.example",))) as client:
        preflight = await client.options(
            "/echo",
            headers={"origin": "https://chat.example", "access-control-request-method": "POST"},
        )
        answer = await client.get("/ready", headers={"origin": "https://chat.example"})
    assert preflight.headers["access-control-allow-origin"] == "https://chat.example"
    assert "mcp-session-id" in answer.headers["access-control-expose-headers"]


@pytest.mark.parametrize(
    ("path", "content_type", "status"),
    [("/echo", "text/plain", 415), ("/echo", "application/json", 422), ("/boom", None, 500)],
)
async def test_listed_page_may_read_why_it_was_refused(
    path: str, content_type: str | None, status: int
) -> None:
    headers = {"origin": "https://chat.example"}
    async with serving(toy_app(cors_origins=("https://chat.example",))) as client:
        if content_type is None:
            answer = await client.get(path, headers=headers)
        else:
            headers["content-type"] = content_type
            answer = await client.post(path, content="{}", headers=headers)
    assert answer.status_code == status
    assert answer.headers["access-control-allow-origin"] == "https://chat.example"


async def test_unexpected_error_is_500_without_its_reason(toy: httpx.AsyncClient) -> None:
    answer = await toy.get("/boom")
    assert answer.status_code == 500
    assert "the-secret-reason" not in answer.text
    assert "Traceback" not in answer.text


async def test_busy_says_when_to_come_back(toy: httpx.AsyncClient) -> None:
    answer = await toy.get("/busy")
    assert answer.status_code == 429
    assert answer.headers["retry-after"] == "1"


async def test_unknown_path_and_method_are_problems(toy: httpx.AsyncClient) -> None:
    assert (await toy.get("/nowhere")).json()["type"] == "urn:problem:mcp-stack:not-found"
    assert (await toy.delete("/echo")).json()["type"] == "urn:problem:mcp-stack:method-not-allowed"


async def test_context_comes_in_by_headers(toy: httpx.AsyncClient) -> None:
    answer = await toy.get(
        "/context",
        headers={
            "x-request-id": "abc-1",
            "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "x-deadline-ms": "1500",
            "x-client-id": "me",
        },
    )
    seen = answer.json()
    assert answer.headers["x-request-id"] == "abc-1"
    assert seen["request_id"] == "abc-1"
    assert seen["trace_id"] == "0af7651916cd43dd8448eb211c80319c"
    assert seen["span_id"] != "b7ad6b7169203331"
    assert 0 < seen["seconds_left"] <= 1.5
    assert seen["client_id"] == "me"


async def test_malformed_context_is_made_new_and_never_refused(toy: httpx.AsyncClient) -> None:
    answer = await toy.get(
        "/context",
        headers={"x-request-id": "a b\tc", "traceparent": "00-xyz", "x-deadline-ms": "nan"},
    )
    assert answer.status_code == 200
    assert answer.json()["request_id"] != "a b\tc"
    assert answer.json()["seconds_left"] > 50


async def test_health_warns_for_an_optional_dependency_and_fails_for_a_hard_one() -> None:
    async def down() -> None:
        raise ConnectionError("nobody listens")

    for is_hard, status, code, ready in ((False, "warn", 200, 200), (True, "error", 503, 503)):
        app = toy_app(dependencies=lambda _, h=is_hard: [Dependency("cellar", down, is_hard=h)])
        async with serving(app) as client:
            health = await client.get("/health")
            readiness = await client.get("/ready")
        assert (health.json()["status"], health.status_code) == (status, code)
        assert "nobody listens" in health.json()["dependencies"]["cellar"]["detail"]
        assert readiness.status_code == ready
        assert readiness.headers["cache-control"] == "no-store"
    assert REGISTRY.get_sample_value("dependency_up", {"dependency": "cellar"}) == 0


async def test_ready_follows_a_dependency_that_comes_back() -> None:
    is_up = False

    async def check() -> None:
        if not is_up:
            raise ConnectionError("not yet")

    async with serving(toy_app(dependencies=lambda _: [Dependency("late", check)])) as client:
        assert (await client.get("/ready")).status_code == 503
        is_up = True
        for _ in range(100):
            if (await client.get("/ready")).status_code == 200:
                return
    pytest.fail("the dependency is up and /ready never said so")


async def test_draining_service_is_not_ready() -> None:
    app = toy_app()
    async with serving(app) as client:
        app.begin_drain()
        answer = await client.get("/ready")
    assert answer.status_code == 503
    assert "ending" in answer.json()["detail"]


async def test_metrics_count_by_route_and_never_by_path(toy: httpx.AsyncClient) -> None:
    await toy.get("/invented-by-a-caller")
    await toy.post("/echo", json={"number": 1})
    text = (await toy.get("/metrics")).text
    assert 'http_request_duration_seconds_count{method="POST",route="/echo",status="200"}' in text
    assert "invented-by-a-caller" not in text


async def test_mcp_requests_are_counted_under_their_route() -> None:
    async with serving(toy_app(mcp=RouteTools("tool"))) as client:
        await client.post("/mcp", json={})
        text = (await client.get("/metrics")).text
    assert 'http_request_duration_seconds_count{method="POST",route="/mcp"' in text


def test_service_without_tools_does_not_import_the_protocol() -> None:
    code = "import sys, servicekit.service; sys.exit('mcp' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], timeout=60, check=False)
    assert done.returncode == 0


async def test_docs_page_needs_no_other_host(toy: httpx.AsyncClient) -> None:
    answer = await toy.get("/docs")
    named = re.findall(r'(?:src|href)="([^"]+)"', answer.text)
    assert named
    for address in named:
        assert address.startswith("/docs/files/"), address
        assert (await toy.get(address)).status_code == 200
    assert (await toy.get("/docs/files/../../service.py")).status_code == 404
