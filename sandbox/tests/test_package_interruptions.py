"""Installs that are cut short, killed or made to wait: what is left, and who else waits."""

import asyncio
import os
import threading
from pathlib import Path
from types import ModuleType

import httpx
import pytest
from sandbox.adapters import package_store, wheel_cache
from sandbox.adapters.thread_work import in_thread
from sandbox_support.fake_runner import FakeRunner
from sandbox_support.package_calls import install, listed, open_session, sets, wheels
from sandbox_support.package_index import PackageIndex
from sandbox_support.serving import service_settings, serving, until

from sandbox.app import create_app

# What does not shrink when it is packed, in the size of a small package.
LARGE = os.urandom(400_000)


@pytest.fixture
def usual(index: PackageIndex) -> dict[str, object]:
    return {"packages_index_url": index.url}


async def _stalled(index: PackageIndex) -> threading.Event:
    index.add("zebrafact", files={"zebrafact.bin": LARGE})
    index.stall = threading.Event()
    return index.stall


async def test_hang_up_in_the_middle_of_a_download_leaves_nothing(
    service: httpx.AsyncClient, index: PackageIndex, tmp_path: Path
) -> None:
    await install(service, "giraffefact")  # the resolver's start is not what is tried
    stall = await _stalled(index)
    try:
        with pytest.raises(httpx.ReadTimeout):
            await service.post("/packages", json={"package": "zebrafact"}, timeout=2.0)
        staging = tmp_path / "packages" / "staging"
        await until(lambda: not any(staging.iterdir()))
        assert wheels(tmp_path) == sets(tmp_path) == []
    finally:
        stall.set()
    index.stall = None
    assert (await install(service, "zebrafact")).status_code == 200


@pytest.mark.parametrize("step", [(wheel_cache, "write_json"), (package_store, "write_json")])
async def test_hang_up_while_a_thread_writes_leaves_nothing(
    service: httpx.AsyncClient,
    index: PackageIndex,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    step: tuple[ModuleType, str],
) -> None:
    begun, may_go_on = [], threading.Event()
    whole = getattr(*step)

    def held_up(*arguments: object) -> None:
        begun.append(step)
        may_go_on.wait(30)
        whole(*arguments)

    index.add("zebrafact")
    with monkeypatch.context() as patched:
        patched.setattr(*step, held_up)
        asked = asyncio.create_task(install(service, "zebrafact"))
        await until(lambda: begun)
        asked.cancel()  # closes the connection
        behind = asyncio.create_task(install(service, "zebrafact"))
        await asyncio.wait((asked, behind), timeout=0.5)
        assert len(begun) == 1  # the next one does not write beside it
        behind.cancel()
        may_go_on.set()
        folders = [tmp_path / "packages" / name for name in ("staging", "wheels", "sets")]
        await until(lambda: not [path for folder in folders for path in folder.iterdir()])
    assert (await install(service, "zebrafact")).status_code == 200
    (made,) = (tmp_path / "packages" / "sets").glob("*/zebrafact.py")
    assert made.read_text() == "VERSION = '1.0'\n"


async def test_cancelled_work_of_a_thread_is_over_and_taken_back() -> None:
    has_begun, may_go_on = threading.Event(), threading.Event()
    done: list[str] = []

    def work() -> str:
        has_begun.set()
        may_go_on.wait(30)
        done.append("done")
        return "it"

    task = asyncio.create_task(in_thread(work, undo=lambda what: done.append(f"{what} undone")))
    await until(has_begun.is_set)
    for _ in range(3):  # as the scopes do in which MCP requests run
        task.cancel()
        await asyncio.wait((task,), timeout=0.02)
    assert not task.done()
    may_go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert done == ["done", "it undone"]


@pytest.mark.parametrize("changes", [{"packages_timeout_seconds": 2.0}])
async def test_download_that_takes_too_long_is_stopped_and_says_so(
    service: httpx.AsyncClient, index: PackageIndex, tmp_path: Path
) -> None:
    stall = await _stalled(index)
    try:
        answer = await install(service, "zebrafact")
    finally:
        stall.set()
    assert answer.status_code == 502, answer.text
    assert "SANDBOX_PACKAGES_TIMEOUT_SECONDS" in answer.json()["detail"]
    assert wheels(tmp_path) == sets(tmp_path) == []


async def test_what_a_killed_service_left_is_swept_at_the_next_start(
    tmp_path: Path, fake_runner: FakeRunner, index: PackageIndex
) -> None:
    index.add("zebrafact")
    settings = service_settings(tmp_path, fake_runner.socket, packages_index_url=index.url)
    async with serving(create_app(settings)) as client:
        await install(client, "zebrafact")
    (whole,) = sets(tmp_path)
    root = tmp_path / "packages"
    (root / "staging" / "x").mkdir()
    for folder in (root / "sets", root / "wheels"):
        (folder / ("a" * 64)).mkdir()
        (folder / ("a" * 64) / "half.py").write_text("")
        (folder / f"{'b' * 64}.json").write_text("{}")
        (folder / ".x.tmp").write_text("")
    async with serving(create_app(settings)) as client:
        assert sets(tmp_path) == [whole]
        assert len(wheels(tmp_path)) == 1
        left = [*root.glob(f"*/{'b' * 64}.json"), *root.glob("*/.x.tmp")]
        assert not [*left, *(root / "staging").iterdir()]
        assert "zebrafact" in await listed(client)


async def test_installs_of_many_callers_at_once_all_end(
    service: httpx.AsyncClient, index: PackageIndex
) -> None:
    names = [f"zebrafact{letter}x" for letter in "abc"]
    for name in names:
        index.add(name)
    answers = await asyncio.gather(*(install(service, name) for name in names))
    assert {answer.status_code for answer in answers} == {200}
    assert set(names) <= await listed(service)


async def test_session_that_runs_a_cell_holds_up_no_install_of_others(
    service: httpx.AsyncClient, index: PackageIndex, fake_runner: FakeRunner
) -> None:
    for name in ("zebrafact", "giraffefact", "hippofact"):
        index.add(name)
    busy = await open_session(service)
    await install(service, "zebrafact", session_id=busy)
    fake_runner.held.add("6*7")
    running = asyncio.create_task(
        service.post("/execute", json={"code": "6*7", "session_id": busy})
    )
    await until(lambda: "6*7" in fake_runner.started)
    waiting = [
        asyncio.create_task(install(service, "giraffefact", session_id=busy)),
        asyncio.create_task(
            service.delete("/packages/zebrafact", params={"session_id": busy}),
        ),
    ]
    async with asyncio.timeout(10):
        assert (await install(service, "zebrafact", session_id=busy)).json()["already_present"]
        assert (await install(service, "hippofact")).status_code == 200
    assert not any(task.done() for task in (running, *waiting))
    fake_runner.release.set()
    assert [(await task).status_code for task in (running, *waiting)] == [200, 200, 200]
    assert await listed(service, busy) == {"numpy", "giraffefact"}


async def test_session_that_ends_during_its_install_leaves_nothing_of_it(
    service: httpx.AsyncClient, index: PackageIndex, tmp_path: Path
) -> None:
    stall = await _stalled(index)
    session = await open_session(service)
    asked = asyncio.create_task(install(service, "zebrafact", session_id=session))
    await until(lambda: index.downloads)
    await service.delete(f"/sessions/{session}")
    stall.set()
    answer = await asked
    assert (answer.status_code, answer.json().get("reason")) == (410, "deleted"), answer.text
    assert wheels(tmp_path) == sets(tmp_path) == []
