"""Sessions: state, order, bounds, and the reason why one is gone."""

import asyncio
from pathlib import Path

import httpx
from prometheus_client import REGISTRY
from sandbox_support.fake_runner import FakeRunner
from sandbox_support.serving import service_settings, serving, until

from sandbox.app import create_app


async def _session(client: httpx.AsyncClient) -> str:
    answer = await client.post("/sessions")
    assert answer.status_code == 201
    session_id: str = answer.json()["session_id"]
    return session_id


async def _endless(
    service: httpx.AsyncClient, fake_runner: FakeRunner, session_id: str
) -> asyncio.Task[httpx.Response]:
    """Begin a run that ends when somebody ends it."""
    body = {"code": "while True: pass", "session_id": session_id, "timeout_seconds": 20}
    run = asyncio.create_task(service.post("/execute", json=body))
    await until(lambda: fake_runner.started)
    return run


async def _run(client: httpx.AsyncClient, session_id: str, code: str) -> httpx.Response:
    return await client.post("/execute", json={"code": code, "session_id": session_id})


async def test_state_lasts_from_cell_to_cell(service: httpx.AsyncClient) -> None:
    session_id = await _session(service)
    await _run(service, session_id, "x = 5")
    answer = (await _run(service, session_id, "x")).json()
    assert answer["result"] == "5"
    assert answer["session_id"] == session_id
    assert not answer["session_ended"]


async def test_one_session_does_not_see_another(service: httpx.AsyncClient) -> None:
    first, second = await _session(service), await _session(service)
    await _run(service, first, "x = 5")
    assert (await _run(service, second, "x")).json()["error"]["type"] == "NameError"


async def test_metrics_tell_of_openings_and_protections(service: httpx.AsyncClient) -> None:
    def opened() -> float:
        return REGISTRY.get_sample_value("sandbox_session_open_seconds_count") or 0.0

    before = opened()
    await _session(service)
    assert opened() == before + 1
    await service.get("/health")
    state = REGISTRY.get_sample_value("sandbox_protection", {"protection": "landlock"})
    assert state == 3
    # The service's own, beside the runner's.
    installer = {"protection": "package-installer"}
    assert REGISTRY.get_sample_value("sandbox_protection", installer) in {0, 2, 3}


async def test_unknown_session_is_404(service: httpx.AsyncClient) -> None:
    for answer in (
        await _run(service, "nobody", "6*7"),
        await service.get("/sessions/nobody"),
        await service.delete("/sessions/nobody"),
        await service.get("/packages", params={"session_id": "nobody"}),
    ):
        assert answer.status_code == 404
        assert answer.json()["type"].endswith(":session-unknown")


async def test_deleted_session_says_so(service: httpx.AsyncClient, fake_runner: FakeRunner) -> None:
    session_id = await _session(service)
    assert (await service.delete(f"/sessions/{session_id}")).status_code == 204
    await until(lambda: fake_runner.open_sessions == 0)
    answer = await _run(service, session_id, "6*7")
    assert answer.status_code == 410
    assert answer.json()["reason"] == "deleted"


async def test_crash_says_its_signal_and_the_next_call_says_crashed(
    service: httpx.AsyncClient,
) -> None:
    session_id = await _session(service)
    crash = (await _run(service, session_id, "import os; os.kill(os.getpid(), 11)")).json()
    assert (crash["status"], crash["signal"], crash["session_ended"]) == (
        "crashed",
        "SIGSEGV",
        True,
    )
    answer = await _run(service, session_id, "6*7")
    assert (answer.status_code, answer.json()["reason"]) == (410, "crashed")


async def test_session_lost_with_the_runner_says_so(
    service: httpx.AsyncClient, fake_runner: FakeRunner
) -> None:
    session_id = await _session(service)
    await fake_runner.stop()
    await fake_runner.start()
    answer = await _run(service, session_id, "6*7")
    assert (answer.status_code, answer.json()["reason"]) == (410, "runner-lost")
    assert (await _run(service, await _session(service), "6*7")).json()["result"] == "42"


async def test_idlest_session_makes_room(tmp_path: Path, fake_runner: FakeRunner) -> None:
    settings = service_settings(tmp_path, fake_runner.socket, max_sessions=2)
    async with serving(create_app(settings)) as client:
        first, second = await _session(client), await _session(client)
        await _run(client, first, "x = 5")
        third = await _session(client)
        answer = await _run(client, second, "6*7")
        assert (answer.status_code, answer.json()["reason"]) == (410, "evicted")
        assert (await _run(client, first, "x")).json()["result"] == "5"
        assert (await _run(client, third, "6*7")).status_code == 200


async def test_session_that_runs_is_never_evicted(tmp_path: Path, fake_runner: FakeRunner) -> None:
    fake_runner.held = {"print(6*7)"}
    settings = service_settings(tmp_path, fake_runner.socket, max_sessions=1)
    async with serving(create_app(settings)) as client:
        session_id = await _session(client)
        run = asyncio.create_task(_run(client, session_id, "print(6*7)"))
        await until(lambda: fake_runner.started)
        assert (await client.post("/sessions")).status_code == 429
        fake_runner.release.set()
        assert (await run).json()["stdout"] == "42\n"


async def test_idle_session_is_ended(tmp_path: Path, fake_runner: FakeRunner) -> None:
    settings = service_settings(tmp_path, fake_runner.socket, session_idle_seconds=0.05)
    async with serving(create_app(settings)) as client:
        session_id = await _session(client)
        await until(lambda: fake_runner.open_sessions == 0)
        answer = await _run(client, session_id, "6*7")
        assert (answer.status_code, answer.json()["reason"]) == (410, "idle")


async def test_full_runner_gets_room_from_the_idlest_session(
    service: httpx.AsyncClient, fake_runner: FakeRunner
) -> None:
    fake_runner.slots = 1
    session_id = await _session(service)
    assert (await service.post("/execute", json={"code": "6*7"})).json()["result"] == "42"
    assert (await _run(service, session_id, "6*7")).json()["reason"] == "evicted"


async def test_full_runner_without_idle_sessions_is_too_busy(
    service: httpx.AsyncClient, fake_runner: FakeRunner
) -> None:
    fake_runner.slots = 0
    answer = await service.post("/sessions")
    assert answer.status_code == 429
    assert "retry-after" in answer.headers


async def test_calls_to_a_busy_session_run_in_order(
    service: httpx.AsyncClient, fake_runner: FakeRunner
) -> None:
    fake_runner.held = {"print(6*7)"}
    session_id = await _session(service)
    first = asyncio.create_task(_run(service, session_id, "print(6*7)"))
    await until(lambda: fake_runner.started)
    later = [asyncio.create_task(_run(service, session_id, f"x = {n}")) for n in range(3)]
    late = await service.post(
        "/execute",
        json={"code": "6*7", "session_id": session_id},
        headers={"x-deadline-ms": "60"},
    )
    assert late.status_code == 504
    fake_runner.release.set()
    await asyncio.gather(first, *later)
    assert "6*7" not in fake_runner.sessions[0].codes
    assert len(fake_runner.sessions[0].codes) == 4


async def test_deleting_a_session_ends_its_run_with_the_reason(
    service: httpx.AsyncClient, fake_runner: FakeRunner
) -> None:
    session_id = await _session(service)
    run = await _endless(service, fake_runner, session_id)
    assert (await service.delete(f"/sessions/{session_id}")).status_code == 204
    answer = await run
    assert (answer.status_code, answer.json()["reason"]) == (410, "deleted")


async def test_hang_up_ends_the_session_and_says_so(
    service: httpx.AsyncClient, fake_runner: FakeRunner
) -> None:
    session_id = await _session(service)
    run = await _endless(service, fake_runner, session_id)
    run.cancel()
    await asyncio.gather(run, return_exceptions=True)
    await until(lambda: fake_runner.open_sessions == 0)
    answer = await _run(service, session_id, "6*7")
    assert (answer.status_code, answer.json()["reason"]) == (410, "cancelled")


async def test_sessions_are_listed_and_described(service: httpx.AsyncClient) -> None:
    session_id = await _session(service)
    await _run(service, session_id, "6*7")
    listed = (await service.get("/sessions")).json()["sessions"]
    assert [each["session_id"] for each in listed] == [session_id]
    one = (await service.get(f"/sessions/{session_id}")).json()
    assert (one["cells"], one["is_running"]) == (1, False)


async def test_description_names_the_run_in_progress_so_that_it_can_be_cancelled(
    service: httpx.AsyncClient, fake_runner: FakeRunner
) -> None:
    session_id = await _session(service)
    run = await _endless(service, fake_runner, session_id)
    waiting = asyncio.create_task(_run(service, session_id, "6*7"))
    async with asyncio.timeout(10):
        while True:
            seen = (await service.get(f"/sessions/{session_id}")).json()
            if seen["waiting"] == 1:
                break
    assert seen["is_running"]
    assert seen["execution_id"]
    answer = await service.post(f"/executions/{seen['execution_id']}/cancel")
    assert (answer.status_code, answer.json()["session_id"]) == (200, session_id)
    assert (await run).json()["status"] == "cancelled"
    assert ((await waiting).status_code, (await waiting).json()["reason"]) == (410, "cancelled")


async def test_reset_session_forgets_its_variables_and_keeps_its_name(
    service: httpx.AsyncClient, fake_runner: FakeRunner
) -> None:
    session_id = await _session(service)
    await _run(service, session_id, "x = 5")
    answer = await service.post(f"/sessions/{session_id}/reset")
    assert answer.status_code == 200
    assert (answer.json()["session_id"], answer.json()["resets"]) == (session_id, 1)
    assert (await _run(service, session_id, "x")).json()["error"]["type"] == "NameError"
    assert fake_runner.open_sessions == 1


async def test_reset_ends_the_run_in_progress_and_the_session_lives(
    service: httpx.AsyncClient, fake_runner: FakeRunner
) -> None:
    session_id = await _session(service)
    run = await _endless(service, fake_runner, session_id)
    assert (await service.post(f"/sessions/{session_id}/reset")).status_code == 200
    ended = (await run).json()
    assert (ended["status"], ended["session_ended"]) == ("cancelled", False)
    assert (await _run(service, session_id, "6*7")).json()["result"] == "42"


async def test_resets_and_runs_at_once_all_get_their_own_answers(
    service: httpx.AsyncClient, fake_runner: FakeRunner
) -> None:
    session_id = await _session(service)
    calls = []
    for _ in range(10):
        calls.append(_run(service, session_id, "6*7"))
        calls.append(service.post(f"/sessions/{session_id}/reset"))
    answers = await asyncio.gather(*calls)
    assert {answer.status_code for answer in answers} == {200}
    assert fake_runner.sessions[0].resets == 10


async def test_reset_of_an_unknown_session_is_404_and_of_a_gone_one_410(
    service: httpx.AsyncClient,
) -> None:
    assert (await service.post("/sessions/nobody/reset")).status_code == 404
    session_id = await _session(service)
    await service.delete(f"/sessions/{session_id}")
    gone = await service.post(f"/sessions/{session_id}/reset")
    assert (gone.status_code, gone.json()["reason"]) == (410, "deleted")


async def test_reset_of_a_session_that_the_runner_lost_says_so(
    service: httpx.AsyncClient, fake_runner: FakeRunner
) -> None:
    session_id = await _session(service)
    await fake_runner.stop()
    answer = await service.post(f"/sessions/{session_id}/reset")
    assert answer.status_code in {410, 502}
    gone = await service.get(f"/sessions/{session_id}")
    assert (gone.status_code, gone.json()["reason"]) == (410, "runner-lost")


async def test_service_that_ends_leaves_no_session(tmp_path: Path, fake_runner: FakeRunner) -> None:
    async with serving(create_app(service_settings(tmp_path, fake_runner.socket))) as client:
        await _session(client)
    await until(lambda: fake_runner.open_sessions == 0)


async def test_idle_session_makes_room_for_a_runner_that_looked_for_a_place_itself(
    service: httpx.AsyncClient, fake_runner: FakeRunner
) -> None:
    fake_runner.slots, fake_runner.patience_seconds = 1, 0.5
    session_id = await _session(service)
    answer = await service.post("/execute", json={"code": "6*7"})
    assert answer.json()["result"] == "42"
    assert fake_runner.refusals == 1
    assert (await _run(service, session_id, "6*7")).json()["reason"] == "evicted"
