"""POST /execute: what comes back, what is refused, and what a hang-up does."""

import asyncio
from pathlib import Path
from typing import get_args

import httpx
import pytest
from prometheus_client import REGISTRY
from sandbox.adapters import runner_session
from sandbox_runner.protocol import Done
from sandbox_support.fake_runner import FakeRunner, Reply, out
from sandbox_support.serving import service_settings, serving, until
from servicekit.wire.execution import ExecutionStatus

from sandbox.app import create_app


def _type(answer: httpx.Response) -> str:
    return answer.json()["type"].rsplit(":", 1)[-1]


async def test_tiniest_time_limit_is_an_answer_too(service: httpx.AsyncClient) -> None:
    answer = await service.post("/execute", json={"code": "6*7", "timeout_seconds": 1e-300})
    assert (answer.status_code, "status" in answer.json()) == (200, True)


async def test_run_without_session_has_a_fresh_one_that_ends(
    service: httpx.AsyncClient, fake_runner: FakeRunner
) -> None:
    answer = await service.post("/execute", json={"code": "print(6*7)"})
    assert answer.status_code == 200
    body = answer.json()
    assert body["status"] == "ok"
    assert body["stdout"] == "42\n"
    assert body["session_id"] is None
    assert body["session_ended"]
    assert body["peak_memory_bytes"] > 0
    await until(lambda: fake_runner.open_sessions == 0)


async def test_failing_program_is_an_answer(service: httpx.AsyncClient) -> None:
    answer = await service.post("/execute", json={"code": "raise ValueError('boom')"})
    assert answer.status_code == 200
    assert answer.json()["status"] == "error"
    assert answer.json()["error"]["type"] == "ValueError"


async def test_output_that_is_no_utf8_is_replaced(service: httpx.AsyncClient) -> None:
    code = "import sys; sys.stdout.buffer.write(b'\\xff\\xfe ok')"
    answer = await service.post("/execute", json={"code": code})
    assert answer.json()["stdout"] == "�� ok"


async def test_surrogate_in_a_result_does_not_break_the_answer(
    service: httpx.AsyncClient,
) -> None:
    answer = await service.post("/execute", json={"code": "'\\ud800'"})
    assert answer.json()["result"] == "'\\ud800'"


@pytest.mark.parametrize("seconds", [0, -1, 31, 1e9])
async def test_time_limit_out_of_bounds_is_refused_and_never_clamped(
    service: httpx.AsyncClient, fake_runner: FakeRunner, seconds: float
) -> None:
    answer = await service.post("/execute", json={"code": "6*7", "timeout_seconds": seconds})
    assert answer.status_code == 422
    assert fake_runner.started == []


@pytest.mark.parametrize(
    "body",
    [
        '{"code": "1", "timeout_seconds": NaN}',
        '{"code": "1", "timeout_seconds": 1e999}',
        '{"code": 5}',
        "[]",
        "{}",
    ],
)
async def test_body_of_another_form_is_refused(service: httpx.AsyncClient, body: str) -> None:
    answer = await service.post(
        "/execute", content=body, headers={"content-type": "application/json"}
    )
    assert answer.status_code in {400, 422}


async def test_time_limit_is_an_answer(service: httpx.AsyncClient) -> None:
    answer = await service.post(
        "/execute", json={"code": "while True: pass", "timeout_seconds": 0.2}
    )
    assert answer.status_code == 200
    assert answer.json()["status"] == "timeout"
    assert answer.json()["deadline_exceeded"] is False


async def test_request_deadline_bounds_the_time_limit(
    service: httpx.AsyncClient, fake_runner: FakeRunner
) -> None:
    answer = await service.post(
        "/execute",
        json={"code": "while True: pass", "timeout_seconds": 20},
        headers={"x-deadline-ms": "1000"},
    )
    assert answer.json()["status"] == "timeout"
    assert answer.json()["deadline_exceeded"] is True


async def test_deadline_that_ends_in_the_queue_is_an_error(
    tmp_path: Path, fake_runner: FakeRunner
) -> None:
    fake_runner.held = {"print(6*7)"}
    settings = service_settings(tmp_path, fake_runner.socket, slots=1)
    async with serving(create_app(settings)) as client:
        first = asyncio.create_task(client.post("/execute", json={"code": "print(6*7)"}))
        await until(lambda: fake_runner.started)
        late = await client.post("/execute", json={"code": "6*7"}, headers={"x-deadline-ms": "100"})
        assert late.status_code == 504
        assert _type(late) == "deadline-exceeded"
        fake_runner.release.set()
        assert (await first).status_code == 200


async def test_full_queue_is_answered_with_retry_after(
    tmp_path: Path, fake_runner: FakeRunner
) -> None:
    fake_runner.held = {"print(6*7)"}
    settings = service_settings(tmp_path, fake_runner.socket, slots=1, queue_limit=0)
    async with serving(create_app(settings)) as client:
        first = asyncio.create_task(client.post("/execute", json={"code": "print(6*7)"}))
        await until(lambda: fake_runner.started)
        refused = await client.post("/execute", json={"code": "6*7"})
        assert refused.status_code == 429
        assert int(refused.headers["retry-after"]) >= 1
        fake_runner.release.set()
        assert (await first).status_code == 200


async def test_sixty_four_may_wait_by_default(tmp_path: Path, fake_runner: FakeRunner) -> None:
    fake_runner.held = {"print(6*7)"}
    settings = service_settings(tmp_path, fake_runner.socket, slots=1)
    async with serving(create_app(settings)) as client:
        async with asyncio.TaskGroup() as group:
            runs = [
                group.create_task(client.post("/execute", json={"code": "print(6*7)"}))
                for _ in range(65)
            ]
            await until(lambda: fake_runner.started)
            fake_runner.release.set()
        assert {run.result().status_code for run in runs} == {200}


async def test_hang_up_kills_the_run(service: httpx.AsyncClient, fake_runner: FakeRunner) -> None:
    run = asyncio.create_task(
        service.post("/execute", json={"code": "while True: pass", "timeout_seconds": 20})
    )
    await until(lambda: fake_runner.started)
    assert fake_runner.open_sessions == 1
    before, kills = _cancelled(), _kills()
    run.cancel()
    await asyncio.gather(run, return_exceptions=True)
    await until(lambda: fake_runner.open_sessions == 0)
    await until(lambda: _cancelled() == before + 1)
    await until(lambda: _kills() == kills + 1)


async def test_hang_up_ends_a_session_whose_runner_says_nothing(
    tmp_path: Path, fake_runner: FakeRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner_session, "_PARTING_SECONDS", 0.1)
    fake_runner.is_deaf = True
    async with serving(create_app(service_settings(tmp_path, fake_runner.socket))) as client:
        run = asyncio.create_task(
            client.post("/execute", json={"code": "while True: pass", "timeout_seconds": 20})
        )
        await until(lambda: fake_runner.started)
        run.cancel()
        await asyncio.gather(run, return_exceptions=True)
        await until(lambda: fake_runner.open_sessions == 0)


def _kills() -> float:
    return REGISTRY.get_sample_value("sandbox_kill_seconds_count") or 0.0


def _cancelled() -> float:
    labels = {"status": "cancelled"}
    return REGISTRY.get_sample_value("sandbox_executions_total", labels) or 0.0


async def test_hang_up_gives_the_slot_back(tmp_path: Path, fake_runner: FakeRunner) -> None:
    settings = service_settings(tmp_path, fake_runner.socket, slots=1)
    async with serving(create_app(settings)) as client:
        run = asyncio.create_task(
            client.post("/execute", json={"code": "while True: pass", "timeout_seconds": 20})
        )
        await until(lambda: fake_runner.started)
        run.cancel()
        await asyncio.gather(run, return_exceptions=True)
        assert (await client.post("/execute", json={"code": "6*7"})).json()["result"] == "42"


async def test_runner_that_is_away_is_a_typed_error(tmp_path: Path) -> None:
    settings = service_settings(tmp_path, tmp_path / "nobody.sock")
    async with serving(create_app(settings)) as client:
        answer = await client.post("/execute", json={"code": "6*7"})
        assert answer.status_code == 502
        assert _type(answer) == "sandbox-runner-down"
        health = await client.get("/health")
        assert health.json()["dependencies"]["sandbox-runner"]["status"] == "error"


async def test_runner_killed_during_a_run_is_a_typed_error(
    service: httpx.AsyncClient, fake_runner: FakeRunner
) -> None:
    run = asyncio.create_task(
        service.post("/execute", json={"code": "while True: pass", "timeout_seconds": 20})
    )
    await until(lambda: fake_runner.started)
    await fake_runner.stop()
    answer = await run
    assert answer.status_code == 502
    assert _type(answer) == "sandbox-runner-down"


async def test_runner_that_is_back_is_used_again(
    service: httpx.AsyncClient, fake_runner: FakeRunner
) -> None:
    await fake_runner.stop()
    run = asyncio.create_task(service.post("/execute", json={"code": "6*7"}))
    await asyncio.sleep(0)
    await fake_runner.start()
    assert (await run).json()["result"] == "42"


async def test_runner_that_says_something_else_is_a_typed_error(
    service: httpx.AsyncClient, fake_runner: FakeRunner
) -> None:
    fake_runner.on_run = lambda _, __: Reply((out("x"),), Done("", "strange"))  # type: ignore[arg-type]  # on purpose
    answer = await service.post("/execute", json={"code": "6*7"})
    assert answer.status_code == 502


async def test_kernel_that_cannot_isolate_turns_the_sandbox_off(
    service: httpx.AsyncClient, fake_runner: FakeRunner
) -> None:
    fake_runner.is_safe = False
    answer = await service.post("/execute", json={"code": "6*7"})
    assert answer.status_code == 503
    assert _type(answer) == "sandbox-off"
    assert fake_runner.started == []


async def test_kernel_that_cannot_isolate_is_a_warning_on_health(
    tmp_path: Path, fake_runner: FakeRunner
) -> None:
    fake_runner.is_safe = False
    async with serving(create_app(service_settings(tmp_path, fake_runner.socket))) as client:
        report = await client.get("/health")
        assert report.status_code == 200
        assert report.json()["status"] == "warn"
        assert report.json()["details"]["protections"]["landlock"]["state"] == "unavailable"


async def test_code_over_the_frame_limit_is_refused_and_the_session_lives(
    service: httpx.AsyncClient,
) -> None:
    session_id = (await service.post("/sessions")).json()["session_id"]
    code = "x = '" + "\U0001f600" * 400_000 + "'"
    for headers in ({}, {"accept": "text/event-stream"}):
        order = {"code": code, "session_id": session_id}
        answer = await service.post("/execute", json=order, headers=headers)
        assert answer.status_code == 413
    assert (await service.get(f"/sessions/{session_id}")).json()["cells"] == 0
    again = await service.post("/execute", json={"code": "6*7", "session_id": session_id})
    assert again.json()["result"] == "42"


async def test_metrics_count_by_status(service: httpx.AsyncClient) -> None:
    await service.post("/execute", json={"code": "raise ValueError('boom')"})
    text = (await service.get("/metrics")).text
    assert 'sandbox_executions_total{status="error"}' in text
    assert "sandbox_slots_in_use 0.0" in text
    assert "sandbox_queue_length 0.0" in text


@pytest.mark.parametrize("status", get_args(ExecutionStatus))
async def test_every_outcome_is_an_answer_and_counted(
    service: httpx.AsyncClient, fake_runner: FakeRunner, status: str
) -> None:
    done = Done("", status, kill_ms=2.0, session_ended=status not in {"ok", "error"})  # type: ignore[arg-type]  # one of its values
    fake_runner.on_run = lambda _, __: Reply(done=done)
    labels = {"status": status}

    def counted() -> tuple[float, float]:
        ended = REGISTRY.get_sample_value("sandbox_executions_total", labels)
        waits = REGISTRY.get_sample_value("sandbox_wait_seconds_count")
        return ended or 0.0, waits or 0.0

    before = counted()
    answer = await service.post("/execute", json={"code": "whatever"})
    assert (answer.status_code, answer.json()["status"]) == (200, status)
    assert counted() == (before[0] + 1, before[1] + 1)


async def test_metrics_tell_size_memory_and_disk(service: httpx.AsyncClient) -> None:
    await service.post("/execute", json={"code": "6*7"})
    text = (await service.get("/metrics")).text
    samples = dict(line.rsplit(" ", 1) for line in text.splitlines() if line[0] != "#")
    assert float(samples["sandbox_slots"]) >= 1
    assert float(samples["sandbox_cell_peak_memory_bytes_count"]) >= 1
    assert (
        0 < float(samples["sandbox_disk_free_bytes"]) <= float(samples["sandbox_disk_size_bytes"])
    )
