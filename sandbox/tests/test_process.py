"""The service as a process of its own, as it is really started: its settings, loop and server."""

import asyncio
import gc
import os
import signal
import socket
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from sandbox.settings import SandboxSettings
from sandbox_support.fake_runner import FakeRunner
from sandbox_support.package_index import package_index
from servicekit.settings import read_settings

from sandbox import __main__ as main_module


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


@asynccontextmanager
async def _service(
    folder: Path, runner: FakeRunner, **settings: str
) -> AsyncIterator[tuple[asyncio.subprocess.Process, httpx.AsyncClient]]:
    port = _free_port()
    environment = {
        "PATH": os.defpath,
        "SANDBOX_PORT": str(port),
        "SANDBOX_RUNNER_SOCKET": str(runner.socket),
        "SANDBOX_RUNNER_PRELOAD": "numpy",  # the neighbour's variables are no misspellings
        "SANDBOX_PACKAGES_DIR": str(folder / "packages"),
    } | settings
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "sandbox", env=environment, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        async with httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{port}", timeout=30, trust_env=False
        ) as client:
            await _ready(process, client)
            yield process, client
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def _ready(process: asyncio.subprocess.Process, client: httpx.AsyncClient) -> None:
    async with asyncio.timeout(20):
        while process.returncode is None:
            try:
                if (await client.get("/ready")).status_code == 200:
                    return
            except httpx.TransportError:
                pass
            await asyncio.sleep(0.02)
    raise RuntimeError(f"the service ended with {process.returncode}")


async def test_process_serves_runs_and_packages_and_ends_on_sigterm(
    tmp_path: Path, fake_runner: FakeRunner
) -> None:
    with package_index() as index:
        index.add("zebrafact")
        variables = {"PIP_INDEX_URL": index.url}
        async with _service(tmp_path, fake_runner, **variables) as (process, client):
            session_id = (await client.post("/sessions")).json()["session_id"]
            body = {"code": "6*7", "session_id": session_id}
            assert (await client.post("/execute", json=body)).json()["result"] == "42"
            installed = await client.post("/packages", json={"package": "zebrafact"})
            assert installed.status_code == 200, installed.text
            process.send_signal(signal.SIGTERM)
            async with asyncio.timeout(15):
                await process.wait()
    async with asyncio.timeout(5):
        while fake_runner.open_sessions:  # noqa: ASYNC110  # the other process's hang-up
            await asyncio.sleep(0.01)


async def test_hang_up_during_an_install_kills_the_package_tool(
    tmp_path: Path, fake_runner: FakeRunner
) -> None:
    silent = socket.create_server(("127.0.0.1", 0))  # takes connections and never answers
    port = silent.getsockname()[1]
    variables = {"SANDBOX_PACKAGES_INDEX_URL": f"http://127.0.0.1:{port}/simple"}
    with silent:
        async with _service(tmp_path, fake_runner, **variables) as (process, client):
            with pytest.raises(httpx.ReadTimeout):
                await client.post("/packages", json={"package": "zebrafact"}, timeout=1.0)
            async with asyncio.timeout(10):
                while _children(process.pid):  # noqa: ASYNC110  # other processes
                    await asyncio.sleep(0.02)
            staging = tmp_path / "packages" / "staging"
            assert os.listdir(staging) == []  # noqa: PTH208  # a small look


async def test_service_that_is_killed_in_the_middle_of_an_install_leaves_nothing(
    tmp_path: Path, fake_runner: FakeRunner
) -> None:
    packages = tmp_path / "packages"
    with package_index() as index:
        index.add("zebrafact", files={"zebrafact.bin": os.urandom(400_000)})
        index.stall = threading.Event()
        try:
            async with _service(tmp_path, fake_runner, PIP_INDEX_URL=index.url) as (
                process,
                client,
            ):
                install = asyncio.create_task(
                    client.post("/packages", json={"package": "zebrafact"})
                )
                async with asyncio.timeout(20):
                    while not [*packages.glob("staging/*/wheel")]:  # noqa: ASYNC110  # another process
                        await asyncio.sleep(0.01)
                process.kill()
                with pytest.raises(httpx.TransportError):
                    await install
        finally:
            index.stall.set()
        index.stall = None
        assert [*packages.glob("sets/*"), *packages.glob("wheels/*")] == []  # a small look
        async with _service(tmp_path, fake_runner, PIP_INDEX_URL=index.url) as (_, client):
            assert [*packages.glob("staging/*")] == []  # a small look
            again = await client.post("/packages", json={"package": "zebrafact"})
            assert again.status_code == 200, again.text


def _children(pid: int) -> list[str]:
    path = Path(f"/proc/{pid}/task/{pid}/children")
    return path.read_text().split() if path.exists() else []


def test_variables_of_compose_and_of_the_runner_are_not_misspelt() -> None:
    others = {"SANDBOX_WORKSPACE": "ro", "SANDBOX_MEMORY_LIMIT": "4g", "SANDBOX_CPUS": "1.0"}
    assert read_settings(SandboxSettings, others).port == 8001
    with pytest.raises(ValueError, match=r"Did you mean SANDBOX_WORKSPACE\?"):
        read_settings(SandboxSettings, {"SANDBOX_WORKSPCE": "ro"})


def test_what_is_there_at_the_start_is_not_gone_through_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SANDBOX_PACKAGES_DIR", str(tmp_path))
    frozen: list[int] = []
    monkeypatch.setattr(main_module, "run_service", lambda *_: frozen.append(gc.get_freeze_count()))
    before = gc.get_freeze_count()
    try:
        main_module.main()
    finally:
        gc.unfreeze()
    assert frozen[0] > before + 10_000
