"""Limits that a request brings: granted within the bounds, refused beyond them, never clamped."""

from pathlib import Path
from typing import Any

import httpx
import pytest
from sandbox_runner.protocol import Limits
from sandbox_support.fake_runner import BOUNDS, MIB, FakeRunner
from sandbox_support.serving import service_settings, serving

from sandbox.app import create_app

ALL = {
    "memory_bytes": 64 * MIB,
    "processes": 8,
    "output_bytes": 2048,
    "file_bytes": MIB,
    "disk_bytes": 2 * MIB,
    "files": 100,
}
AS_THE_RUNNER_SAYS = Limits(64 * MIB, 8, 2048, MIB, 2 * MIB, 100)


async def _create(client: httpx.AsyncClient, **body: Any) -> str:
    answer = await client.post("/sessions", json=body)
    assert answer.status_code == 201, answer.text
    session_id: str = answer.json()["session_id"]
    return session_id


async def test_run_without_session_gets_the_limits_it_asks_for(
    service: httpx.AsyncClient, fake_runner: FakeRunner
) -> None:
    answer = await service.post("/execute", json={"code": "6*7", "limits": ALL})
    assert answer.json()["result"] == "42"
    assert fake_runner.sessions[0].limits == AS_THE_RUNNER_SAYS
    assert fake_runner.sessions[0].runs[0].limits == Limits()


async def test_run_without_limits_leaves_them_to_the_runner(
    service: httpx.AsyncClient, fake_runner: FakeRunner
) -> None:
    await service.post("/execute", json={"code": "6*7"})
    assert fake_runner.sessions[0].limits == Limits()


async def test_session_keeps_the_limits_it_was_created_with(
    service: httpx.AsyncClient, fake_runner: FakeRunner
) -> None:
    session_id = await _create(service, limits=ALL, timeout_seconds=3)
    assert fake_runner.sessions[0].limits == AS_THE_RUNNER_SAYS
    described = (await service.get(f"/sessions/{session_id}")).json()
    assert described["limits"] == ALL
    assert described["timeout_seconds"] == 3
    await service.post("/execute", json={"code": "6*7", "session_id": session_id})
    assert fake_runner.sessions[0].runs[0].timeout_seconds == 3


async def test_usual_session_has_the_bounds_as_limits(service: httpx.AsyncClient) -> None:
    described = (await service.get(f"/sessions/{await _create(service)}")).json()
    assert described["limits"]["memory_bytes"] == BOUNDS.memory_bytes
    assert described["limits"]["files"] == BOUNDS.disk_entries
    assert described["timeout_seconds"] == 10


async def test_run_in_a_session_may_lower_what_the_warden_keeps(
    service: httpx.AsyncClient, fake_runner: FakeRunner
) -> None:
    limits = {"memory_bytes": 32 * MIB, "processes": 2, "output_bytes": 1024}
    body = {"code": "6*7", "session_id": await _create(service, limits=ALL), "limits": limits}
    assert (await service.post("/execute", json=body)).json()["status"] == "ok"
    assert fake_runner.sessions[0].runs[0].limits == Limits(32 * MIB, 2, 1024)


@pytest.mark.parametrize("name", sorted(ALL))
async def test_limit_over_the_bound_is_refused_with_the_bound(
    service: httpx.AsyncClient, fake_runner: FakeRunner, name: str
) -> None:
    bound = getattr(BOUNDS, {"files": "disk_entries"}.get(name, name))
    for path, body in (("/execute", {"code": "6*7"}), ("/sessions", {})):
        answer = await service.post(path, json=body | {"limits": {name: bound + 1}})
        assert answer.status_code == 422
        problem = answer.json()
        assert problem["type"].endswith(":limit-out-of-bounds")
        assert (problem["limit"], problem["maximum"]) == (name, bound)
        assert str(bound) in problem["detail"]
    assert fake_runner.sessions == []


async def test_limit_at_the_bound_is_granted(service: httpx.AsyncClient) -> None:
    limits = {"memory_bytes": BOUNDS.memory_bytes}
    answer = await service.post("/execute", json={"code": "6*7", "limits": limits})
    assert answer.json()["result"] == "42"


async def test_run_cannot_have_more_than_its_session(
    service: httpx.AsyncClient, fake_runner: FakeRunner
) -> None:
    session_id = await _create(service, limits=ALL)
    body = {"code": "6*7", "session_id": session_id, "limits": {"memory_bytes": 65 * MIB}}
    answer = await service.post("/execute", json=body)
    assert (answer.status_code, answer.json()["maximum"]) == (422, 64 * MIB)
    assert fake_runner.started == []


@pytest.mark.parametrize("name", ["file_bytes", "disk_bytes", "files"])
async def test_limit_of_a_whole_session_is_refused_for_one_run(
    service: httpx.AsyncClient, name: str
) -> None:
    limits = {name: ALL[name]}
    body = {"code": "6*7", "session_id": await _create(service, limits=ALL), "limits": limits}
    answer = await service.post("/execute", json=body)
    assert answer.status_code == 422
    assert "POST /sessions" in answer.json()["detail"]


@pytest.mark.parametrize(
    "limits",
    [
        {"memory_bytes": 0},
        {"memory_bytes": 1},
        {"memory_bytes": -1},
        {"memory_bytes": "67108864"},
        {"memory_bytes": 1e8},
        {"memory_bytes": True},
        {"processes": 0},
        {"output_bytes": 0},
        {"disk_bytes": 10},
        {"files": 1},
        {"seconds": 3},
        {"memory_bytes": 10**30},
        [],
        "small",
    ],
)
async def test_limit_of_another_form_is_refused(
    service: httpx.AsyncClient, fake_runner: FakeRunner, limits: object
) -> None:
    for path, body in (("/execute", {"code": "6*7"}), ("/sessions", {})):
        answer = await service.post(path, json=body | {"limits": limits})
        assert answer.status_code == 422, answer.text
    assert fake_runner.sessions == []


async def test_session_that_is_refused_evicts_nobody(service: httpx.AsyncClient) -> None:
    sessions = [await _create(service) for _ in range(32)]
    body = {"limits": {"processes": BOUNDS.processes + 1}}
    assert (await service.post("/sessions", json=body)).status_code == 422
    listed = (await service.get("/sessions")).json()["sessions"]
    assert [each["session_id"] for each in listed] == sessions


@pytest.mark.parametrize("seconds", ["2", True, 0, -1, 31, [1], {}])
async def test_time_limit_of_another_form_is_refused(
    service: httpx.AsyncClient, fake_runner: FakeRunner, seconds: object
) -> None:
    for path, body in (("/execute", {"code": "6*7"}), ("/sessions", {})):
        answer = await service.post(path, json=body | {"timeout_seconds": seconds})
        assert answer.status_code == 422, answer.text
    assert fake_runner.sessions == []


async def test_time_limit_may_be_a_whole_number(service: httpx.AsyncClient) -> None:
    answer = await service.post("/execute", json={"code": "6*7", "timeout_seconds": 2})
    assert answer.json()["result"] == "42"


@pytest.mark.parametrize(
    ("content", "declared", "status"),
    [
        (b"", None, 201),
        (b"{}", "application/json", 201),
        (b"null", "application/json", 201),
        (b"{", "application/json", 400),
        (b"no json", "application/json", 400),
        (b"no json", "text/plain", 415),
        (b"{}", None, 415),
        (b"[]", "application/json", 422),
        (b"5", "application/json", 422),
        (b'{"timeout": 5}', "application/json", 422),
    ],
)
async def test_body_of_a_new_session_is_json_or_nothing(
    service: httpx.AsyncClient, content: bytes, declared: str | None, status: int
) -> None:
    headers = {} if declared is None else {"content-type": declared}
    answer = await service.post("/sessions", content=content, headers=headers)
    assert answer.status_code == status, answer.text


async def test_time_over_the_runner_s_bound_is_refused_and_the_session_lives(
    tmp_path: Path, fake_runner: FakeRunner
) -> None:
    settings = service_settings(tmp_path, fake_runner.socket, max_timeout_seconds=3600)
    async with serving(create_app(settings)) as client:
        session_id = await _create(client)
        for path, body in (
            ("/execute", {"code": "6*7"}),
            ("/execute", {"code": "6*7", "session_id": session_id}),
            ("/sessions", {}),
        ):
            answer = await client.post(path, json=body | {"timeout_seconds": 601})
            assert answer.status_code == 422, answer.text
            assert answer.json()["maximum_seconds"] == 600
        body = {"code": "6*7", "session_id": session_id, "timeout_seconds": 600}
        assert (await client.post("/execute", json=body)).json()["result"] == "42"


async def test_run_that_names_no_time_gets_no_more_than_the_runner_grants(
    tmp_path: Path, fake_runner: FakeRunner
) -> None:
    fake_runner.longest_seconds = 6.0
    async with serving(create_app(service_settings(tmp_path, fake_runner.socket))) as client:
        session_id = await _create(client)
        await client.post("/execute", json={"code": "6*7", "session_id": session_id})
        assert (await client.get(f"/sessions/{session_id}")).json()["timeout_seconds"] == 6
    assert fake_runner.sessions[0].runs[0].timeout_seconds == 6
