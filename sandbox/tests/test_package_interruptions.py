"""Installs that are cut short, killed or made to wait: what is left, and who else waits."""

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest
from sandbox_support.fake_runner import FakeRunner
from sandbox_support.package_calls import install, listed, sets, wheels
from sandbox_support.package_index import PackageIndex, package_index
from sandbox_support.serving import service_settings, serving, until

from sandbox.app import create_app

# What does not shrink when it is packed, in the size of a small package.
LARGE = os.urandom(400_000)


@pytest.fixture
def index() -> Iterator[PackageIndex]:
    with package_index() as running:
        yield running


@pytest.fixture
def changes() -> dict[str, object]:
    return {}


@pytest.fixture
async def service(
    tmp_path: Path, fake_runner: FakeRunner, index: PackageIndex, changes: dict[str, object]
) -> AsyncIterator[httpx.AsyncClient]:
    settings = service_settings(
        tmp_path, fake_runner.socket, **({"packages_index_url": index.url} | changes)
    )
    async with serving(create_app(settings)) as client:
        yield client


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
