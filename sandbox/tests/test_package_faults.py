"""Disks, settings and neighbours that fail under an install: each is a typed error, and no 500."""

import asyncio
import shutil
from pathlib import Path

import httpx
import pytest
from sandbox.adapters.child_process import Finished
from sandbox.adapters.download import Download
from sandbox.adapters.inventory import CellInventory
from sandbox.adapters.package_index import PackageIndex as IndexSettings
from sandbox.adapters.runner import SocketRunner
from sandbox.adapters.wheel_cache import judge
from sandbox.errors import IndexUnavailable, InstallFailed, PackageRefused
from sandbox.packages.lock import LockedPackage
from sandbox_support.fake_runner import FakeRunner
from sandbox_support.package_calls import install, listed, open_session, sets, wheels
from sandbox_support.package_index import PackageIndex
from servicekit.deadline import Deadline
from servicekit.errors import DeadlineExceeded

ZEBRA = "zebrafact-1.0-py3-none-any.whl"


@pytest.fixture
def index(index: PackageIndex) -> PackageIndex:
    index.add("zebrafact")
    return index


@pytest.fixture
def usual(index: PackageIndex) -> dict[str, object]:
    return {"packages_index_url": index.url, "packages_policy": "ask"}


# ---------------------------------------------------------------- disks


@pytest.mark.parametrize(
    ("in_the_way", "is_folder"), [("cache", False), ("staging", False), ("default.json", True)]
)
async def test_disk_that_takes_nothing_is_said_and_nothing_is_left(
    service: httpx.AsyncClient, tmp_path: Path, in_the_way: str, *, is_folder: bool
) -> None:
    place = tmp_path / "packages" / in_the_way
    if place.is_dir():
        shutil.rmtree(place)
    place.mkdir() if is_folder else place.write_text("")
    answer = await install(service, "zebrafact")
    assert answer.status_code == 502, answer.text
    assert answer.json()["type"].endswith(":package-install-failed")
    assert "SANDBOX_PACKAGES_DIR" in answer.json()["detail"]
    assert wheels(tmp_path) == sets(tmp_path) == []
    assert await listed(service) == {"numpy"}


async def test_disk_that_can_not_be_tidied_undoes_no_install(
    service: httpx.AsyncClient, tmp_path: Path
) -> None:
    await install(service, "zebrafact", session_id=await open_session(service))
    shutil.rmtree(tmp_path / "packages" / "wheels")
    assert (await install(service, "zebrafact")).status_code == 200
    assert await listed(service) == {"numpy", "zebrafact"}


async def test_name_that_can_not_be_noted_is_told_to_wait_all_the_same(
    service: httpx.AsyncClient, tmp_path: Path
) -> None:
    (tmp_path / "packages" / "rules" / "waiting.json").mkdir()
    answer = await install(service, "reqeusts")
    assert (answer.status_code, answer.json()["names"]) == (403, ["reqeusts"])


# ---------------------------------------------------------------- what others say


@pytest.mark.parametrize(
    "report",
    ["", "[" * 100_000, "[]", "{}", '{"modules": 3}', '{"modules": {"a": 1}}', '{"refused": 1}'],
)
def test_report_of_an_unpacker_that_went_wrong_is_no_report(report: str) -> None:
    with pytest.raises(InstallFailed):
        judge(_locked("http://127.0.0.1/"), Finished(0, report, ""))


def test_rule_that_the_unpacker_makes_up_is_none_of_ours() -> None:
    report = '{"refused": "no", "rule": ["size"], "operator": 3}'
    with pytest.raises(PackageRefused) as refused:
        judge(_locked("http://127.0.0.1/"), Finished(0, report, ""))
    assert refused.value.extensions["rule"] == "archive"


@pytest.mark.parametrize(
    "settings",
    [
        {"HTTP_PROXY": "socks5://127.0.0.1:9"},
        {"HTTP_PROXY": "carrier-pigeon://127.0.0.1:9"},
        {"SSL_CERT_FILE": "/nowhere/at-all.pem"},
    ],
    ids=["socks", "unknown", "certificates"],
)
async def test_settings_that_lead_to_no_index_are_a_typed_error(
    tmp_path: Path, settings: dict[str, str]
) -> None:
    scheme = "https" if "SSL_CERT_FILE" in settings else "http"
    index = IndexSettings({"UV_DEFAULT_INDEX": f"{scheme}://127.0.0.1:9/simple"} | settings)
    package = _locked(f"{scheme}://127.0.0.1:9/")
    with pytest.raises(IndexUnavailable, match="proxy and certificate settings"):
        await Download(index, max_bytes=1).fetch(package, tmp_path / "wheel")


async def test_file_with_a_nul_in_its_name_is_refused(tmp_path: Path) -> None:
    index = IndexSettings({"UV_FIND_LINKS": str(tmp_path)})
    package = _locked(f"{tmp_path.as_uri()}/%00/")
    with pytest.raises(PackageRefused):
        await Download(index, max_bytes=1).fetch(package, tmp_path / "wheel")


def _locked(base: str) -> LockedPackage:
    return LockedPackage("zebrafact", "1.0", ZEBRA, f"{base}{ZEBRA}", "a" * 64)


# ---------------------------------------------------------------- who waits for whom


async def test_question_of_another_call_is_waited_for_no_longer_than_ones_own_time(
    fake_runner: FakeRunner,
) -> None:
    inventory = CellInventory(SocketRunner(fake_runner.socket, connect_seconds=0.3))
    fake_runner.is_mute = True
    first = asyncio.create_task(inventory.interpreter(Deadline.after(30)))
    await asyncio.sleep(0)  # it asks
    async with asyncio.timeout(5):
        with pytest.raises(DeadlineExceeded):
            await inventory.interpreter(Deadline.after(0.1))
    assert not first.done()
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
