"""POST /executions/{id}/cancel: whom it reaches, and what each side is told."""

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest
from sandbox_support.fake_runner import FakeRunner
from sandbox_support.serving import service_settings, serving, until

from sandbox.app import create_app

SPIN = "while True: pass"


def _start(client: httpx.AsyncClient, **body: Any) -> "asyncio.Task[httpx.Response]":
    wanted = {"code": SPIN, "timeout_seconds": 20, "execution_id": "mine"} | body
    return asyncio.create_task(client.post("/execute", json=wanted))


async def _cancel(client: httpx.AsyncClient, execution_id: str = "mine") -> httpx.Response:
    return await client.post(f"/executions/{execution_id}/cancel")


async def _session(client: httpx.AsyncClient) -> str:
    session_id: str = (await client.post("/sessions")).json()["session_id"]
    return session_id


async def test_running_code_ends_as_cancelled(
    service: httpx.AsyncClient, fake_runner: FakeRunner
) -> None:
    run = _start(service)
    await until(lambda: fake_runner.started)
    answer = await _cancel(service)
    assert answer.status_code == 200
    assert answer.json() == {"execution_id": "mine", "session_id": None, "status": "cancelled"}
    result = (await run).json()
    assert (result["status"], result["execution_id"]) == ("cancelled", "mine")
    assert result["session_ended"]
    await until(lambda: fake_runner.open_sessions == 0)


async def test_session_of_a_cancelled_run_says_so(
    service: httpx.AsyncClient, fake_runner: FakeRunner
) -> None:
    session_id = await _session(service)
    run = _start(service, session_id=session_id)
    await until(lambda: fake_runner.started)
    described = (await service.get(f"/sessions/{session_id}")).json()
    assert (described["execution_id"], described["is_running"]) == ("mine", True)
    assert (await _cancel(service)).json()["session_id"] == session_id
    assert (await run).json()["session_ended"]
    gone = await service.get(f"/sessions/{session_id}")
    assert (gone.status_code, gone.json()["reason"]) == (410, "cancelled")


async def test_run_that_waits_for_a_slot_never_starts(
    tmp_path: Path, fake_runner: FakeRunner
) -> None:
    settings = service_settings(tmp_path, fake_runner.socket, slots=1)
    async with serving(create_app(settings)) as client:
        first = _start(client, execution_id="first")
        await until(lambda: fake_runner.started)
        second = _start(client, execution_id="second", code="6*7")
        await _until_known(client, "sandbox_queue_length 1.0")
        assert (await _cancel(client, "second")).status_code == 200
        result = (await second).json()
        assert (result["status"], result["stdout"]) == ("cancelled", "")
        assert fake_runner.started == [SPIN]
        await _cancel(client, "first")
        await first
        assert "sandbox_slots_in_use 0.0" in (await client.get("/metrics")).text
        assert (await client.post("/execute", json={"code": "6*7"})).json()["result"] == "42"


async def test_run_that_waits_for_its_session_leaves_it_alone(
    service: httpx.AsyncClient, fake_runner: FakeRunner
) -> None:
    fake_runner.held = {"print(6*7)"}
    session_id = await _session(service)
    first = _start(service, session_id=session_id, code="print(6*7)", execution_id="first")
    await until(lambda: fake_runner.started)
    second = _start(service, session_id=session_id, execution_id="second")
    async with asyncio.timeout(5):
        while (await service.get(f"/sessions/{session_id}")).json()["waiting"] == 0:  # noqa: ASYNC110  # another task's state
            await asyncio.sleep(0.002)
    assert "sandbox_session_queue_length 1.0" in (await service.get("/metrics")).text
    assert (await _cancel(service, "second")).status_code == 200
    assert "sandbox_session_queue_length 0.0" in (await service.get("/metrics")).text
    result = (await second).json()
    assert (result["status"], result["session_ended"]) == ("cancelled", False)
    fake_runner.release.set()
    assert (await first).json()["stdout"] == "42\n"
    again = await service.post("/execute", json={"code": "6*7", "session_id": session_id})
    assert again.json()["result"] == "42"


async def test_unknown_execution_is_404(service: httpx.AsyncClient) -> None:
    for execution_id in ("nobody", "%00", "a" * 64):
        answer = await _cancel(service, execution_id)
        assert answer.status_code == 404
        assert answer.json()["type"].endswith(":execution-unknown")


async def test_execution_that_has_ended_is_409_and_says_how(service: httpx.AsyncClient) -> None:
    result = (await service.post("/execute", json={"code": "6*7"})).json()
    answer = await _cancel(service, result["execution_id"])
    assert (answer.status_code, answer.json()["status"]) == (409, 409)
    assert answer.json()["type"].endswith(":execution-ended")
    assert answer.json()["ended_as"] == "ok"
    assert "ok" in answer.json()["detail"]


async def test_second_cancellation_is_409(
    service: httpx.AsyncClient, fake_runner: FakeRunner
) -> None:
    run = _start(service)
    await until(lambda: fake_runner.started)
    assert (await _cancel(service)).status_code == 200
    again = await _cancel(service)
    assert (again.status_code, again.json()["ended_as"]) == (409, "cancelled")
    await run


async def test_two_cancellations_at_once_both_hear_of_the_end(
    service: httpx.AsyncClient, fake_runner: FakeRunner
) -> None:
    run = _start(service)
    await until(lambda: fake_runner.started)
    answers = await asyncio.gather(_cancel(service), _cancel(service))
    assert {answer.status_code for answer in answers} <= {200, 409}
    assert 200 in {answer.status_code for answer in answers}
    assert (await run).json()["status"] == "cancelled"


async def test_id_of_a_run_under_way_is_taken(
    service: httpx.AsyncClient, fake_runner: FakeRunner
) -> None:
    run = _start(service)
    await until(lambda: fake_runner.started)
    answer = await service.post("/execute", json={"code": "6*7", "execution_id": "mine"})
    assert answer.status_code == 409
    assert answer.json()["type"].endswith(":execution-id-taken")
    await _cancel(service)
    await run
    free = await service.post("/execute", json={"code": "6*7", "execution_id": "mine"})
    assert free.json()["result"] == "42"


async def test_ids_that_nobody_chose_differ(service: httpx.AsyncClient) -> None:
    answers = [await service.post("/execute", json={"code": "6*7"}) for _ in range(3)]
    assert len({answer.json()["execution_id"] for answer in answers}) == 3


@pytest.mark.parametrize("execution_id", ["", "a b", "a/b", "ä", "a" * 65, 5, "a\n"])
async def test_id_of_another_form_is_refused(
    service: httpx.AsyncClient, execution_id: object
) -> None:
    answer = await service.post("/execute", json={"code": "6*7", "execution_id": execution_id})
    assert answer.status_code == 422


async def test_cancelled_runs_are_counted(
    service: httpx.AsyncClient, fake_runner: FakeRunner
) -> None:
    run = _start(service)
    await until(lambda: fake_runner.started)
    await _cancel(service)
    await run
    text = (await service.get("/metrics")).text
    assert 'sandbox_executions_total{status="cancelled"}' in text
    assert "sandbox_slots_in_use 0.0" in text


async def test_hang_up_ends_the_execution_too(
    service: httpx.AsyncClient, fake_runner: FakeRunner
) -> None:
    run = _start(service)
    await until(lambda: fake_runner.started)
    run.cancel()
    await asyncio.gather(run, return_exceptions=True)
    await until(lambda: fake_runner.open_sessions == 0)
    async with asyncio.timeout(5):
        while (answer := await _cancel(service)).status_code != 409:  # noqa: ASYNC110  # as above
            await asyncio.sleep(0.002)
    assert answer.json()["ended_as"] is None


async def _until_known(client: httpx.AsyncClient, line: str) -> None:
    async with asyncio.timeout(5):
        while line not in (await client.get("/metrics")).text:  # noqa: ASYNC110  # as above
            await asyncio.sleep(0.002)
