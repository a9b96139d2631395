"""One suite for the scripted runner and the real one, so that the script can't lie."""

import asyncio
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from sandbox_support.fake_runner import SHOWS, FakeRunner
from sandbox_support.real_runner import real_runner
from sandbox_support.serving import service_settings, serving

from sandbox.app import create_app


@pytest.fixture(params=["fake", "real"])
async def service(request: pytest.FixtureRequest) -> AsyncIterator[httpx.AsyncClient]:
    with tempfile.TemporaryDirectory(prefix="sb-") as name:
        folder = Path(name)
        if request.param == "fake":
            async with (
                FakeRunner(folder / "r.sock") as fake,
                serving(create_app(service_settings(folder, fake.socket))) as client,
            ):
                yield client
            return
        async with real_runner(folder, packages_dir=folder / "packages") as real:
            if not real.hello.is_safe:
                pytest.skip("this kernel can't isolate a run")
            async with serving(create_app(service_settings(folder, real.socket))) as client:
                yield client


async def _run(client: httpx.AsyncClient, code: str, **body: object) -> dict[str, object]:
    answer = await client.post("/execute", json={"code": code} | body)
    assert answer.status_code == 200, answer.text
    result: dict[str, object] = answer.json()
    return result


async def _session(client: httpx.AsyncClient) -> str:
    session_id: str = (await client.post("/sessions")).json()["session_id"]
    return session_id


async def test_output_and_value_of_a_cell(service: httpx.AsyncClient) -> None:
    assert (await _run(service, "print(6*7)"))["stdout"] == "42\n"
    assert (await _run(service, "6*7"))["result"] == "42"
    both = await _run(service, "import sys; print('out'); print('err', file=sys.stderr)")
    assert (both["stdout"], both["stderr"]) == ("out\n", "err\n")


async def test_exception_of_a_cell(service: httpx.AsyncClient) -> None:
    result = await _run(service, "raise ValueError('boom')")
    assert result["status"] == "error"
    error = result["error"]
    assert isinstance(error, dict)
    assert (error["type"], error["message"]) == ("ValueError", "boom")
    assert "ValueError: boom" in error["traceback"]


async def test_state_of_a_session(service: httpx.AsyncClient) -> None:
    session_id = await _session(service)
    await _run(service, "x = 5", session_id=session_id)
    assert (await _run(service, "x", session_id=session_id))["result"] == "5"
    other = await _run(service, "x")
    assert isinstance(other["error"], dict)
    assert other["error"]["type"] == "NameError"


async def test_bytes_and_surrogates(service: httpx.AsyncClient) -> None:
    output = await _run(service, "import sys; sys.stdout.buffer.write(b'\\xff\\xfe ok')")
    assert output["stdout"] == "\ufffd\ufffd ok"
    assert (await _run(service, "'\\ud800'"))["result"] == "'\\ud800'"


async def test_time_limit_of_a_cell_ends_its_session(service: httpx.AsyncClient) -> None:
    session_id = await _session(service)
    result = await _run(service, "while True: pass", timeout_seconds=0.3, session_id=session_id)
    assert (result["status"], result["session_ended"]) == ("timeout", True)
    gone = await service.post("/execute", json={"code": "6*7", "session_id": session_id})
    assert (gone.status_code, gone.json()["reason"]) == (410, "timeout")
    assert (await _run(service, "6*7"))["result"] == "42"


async def test_crash_of_a_session(service: httpx.AsyncClient) -> None:
    session_id = await _session(service)
    result = await _run(service, "import os; os.kill(os.getpid(), 11)", session_id=session_id)
    assert (result["status"], result["signal"]) == ("crashed", "SIGSEGV")
    gone = await service.post("/execute", json={"code": "6*7", "session_id": session_id})
    assert (gone.status_code, gone.json()["reason"]) == (410, "crashed")


async def _until_running(service: httpx.AsyncClient, session_id: str) -> None:
    async with asyncio.timeout(10):
        while (await service.get(f"/sessions/{session_id}")).json()["cells"] < 1:  # noqa: ASYNC110  # another task's state
            await asyncio.sleep(0.01)


async def test_hang_up_leaves_no_slot_in_use(service: httpx.AsyncClient) -> None:
    body = {"code": "while True: pass", "timeout_seconds": 20}
    with pytest.raises(httpx.ReadTimeout):
        await service.post("/execute", json=body, timeout=0.3)
    async with asyncio.timeout(10):
        while (await _slots_in_use(service)) > 0:  # noqa: ASYNC110  # another process's state
            await asyncio.sleep(0.05)
    assert (await _run(service, "6*7"))["result"] == "42"


async def _slots_in_use(service: httpx.AsyncClient) -> float:
    text = (await service.get("/metrics")).text
    return next(
        float(line.split()[-1]) for line in text.splitlines() if line.startswith("sandbox_slots_")
    )


async def test_html_of_a_value(service: httpx.AsyncClient) -> None:
    result = await _run(service, SHOWS)
    assert result["result"] == "V!"
    assert result["outputs"] == [{"kind": "result", "data": {"text/html": "<b>ü</b>"}}]


async def test_reset_of_a_session(service: httpx.AsyncClient) -> None:
    session_id = await _session(service)
    await _run(service, "x = 5", session_id=session_id)
    assert (await service.post(f"/sessions/{session_id}/reset")).status_code == 200
    error = (await _run(service, "x", session_id=session_id))["error"]
    assert isinstance(error, dict)
    assert error["type"] == "NameError"


async def test_reset_ends_a_run_and_keeps_the_session(service: httpx.AsyncClient) -> None:
    session_id = await _session(service)
    spin = {"session_id": session_id, "timeout_seconds": 20, "execution_id": "spin"}
    run = asyncio.create_task(_run(service, "while True: pass", **spin))
    await _until_running(service, session_id)
    assert (await service.post(f"/sessions/{session_id}/reset")).status_code == 200
    ended = await run
    assert (ended["status"], ended["session_ended"]) == ("cancelled", False)
    assert (await _run(service, "6*7", session_id=session_id))["result"] == "42"


async def test_cancellation_of_a_run(service: httpx.AsyncClient) -> None:
    session_id = await _session(service)
    spin = {"session_id": session_id, "timeout_seconds": 20, "execution_id": "spin"}
    run = asyncio.create_task(_run(service, "while True: pass", **spin))
    await _until_running(service, session_id)
    assert (await service.post("/executions/spin/cancel")).status_code == 200
    ended = await run
    assert (ended["status"], ended["session_ended"]) == ("cancelled", True)
    gone = await service.post("/execute", json={"code": "6*7", "session_id": session_id})
    assert (gone.status_code, gone.json()["reason"]) == (410, "cancelled")


async def test_limit_over_the_bound(service: httpx.AsyncClient) -> None:
    body = {"code": "6*7", "limits": {"memory_bytes": 1 << 50}}
    answer = await service.post("/execute", json=body)
    assert (answer.status_code, answer.json()["maximum"]) == (422, 512 << 20)


async def test_interpreter_lists_its_packages(service: httpx.AsyncClient) -> None:
    listed = (await service.get("/packages")).json()["packages"]
    assert all(each["name"] and each["version"] for each in listed)


async def test_protections_stand_on_health_by_name(service: httpx.AsyncClient) -> None:
    report = (await service.get("/health")).json()
    assert report["details"]["protections"]["landlock"]["state"] == "active"
