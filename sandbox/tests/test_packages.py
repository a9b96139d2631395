"""The whole pipeline over a local index: what is installed, what is refused, what stays behind."""

# ruff: noqa: ASYNC240  # small looks at a local folder, with nothing else on the loop
import asyncio
import tempfile
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
from sandbox_support.attack_case import load
from sandbox_support.fake_runner import FakeRunner
from sandbox_support.package_index import PackageIndex, Release, package_index
from sandbox_support.real_runner import real_runner
from sandbox_support.serving import service_settings, serving

from sandbox.app import create_app


@pytest.fixture
def usual(index: PackageIndex) -> dict[str, object]:
    return {"packages_index_url": index.url, "packages_max_set_bytes": 1 << 20}


async def _install(client: httpx.AsyncClient, package: str, **body: object) -> httpx.Response:
    return await client.post("/packages", json={"package": package} | body)


def _sets(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "packages" / "sets").iterdir())


def _assert_nothing_left(folder: Path) -> None:
    assert _sets(folder) == []
    assert list((folder / "packages" / "staging").iterdir()) == []
    assert list((folder / "packages" / "wheels").iterdir()) == []
    unpacked = [*(folder / "packages" / "cache").glob("archive-v0/*")]
    assert unpacked == []


async def test_closure_is_installed_and_new_sessions_see_it(
    service: httpx.AsyncClient, index: PackageIndex, fake_runner: FakeRunner, tmp_path: Path
) -> None:
    index.add("zebrafact", requires=("giraffefact",))
    index.add("giraffefact", "2.1")
    answer = await _install(service, "zebrafact")
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert (body["package"], body["version"]) == ("zebrafact", "1.0")
    assert {(each["name"], each["version"]) for each in body["installed"]} == {
        ("zebrafact", "1.0"),
        ("giraffefact", "2.1"),
    }
    assert all(each["size_bytes"] > 0 and each["sha256"] for each in body["installed"])
    await service.post("/execute", json={"code": "6*7"})
    path = Path(fake_runner.sessions[-1].package_path or "")
    assert path.parent == tmp_path / "packages" / "sets"
    assert (path / "zebrafact.py").read_text() == "VERSION = '1.0'\n"
    assert path.stat().st_mode & 0o777 == 0o755
    listed = (await service.get("/packages")).json()["packages"]
    assert {"numpy", "zebrafact", "giraffefact"} == {each["name"] for each in listed}


async def test_package_of_one_session_is_not_seen_by_others(
    service: httpx.AsyncClient, index: PackageIndex, fake_runner: FakeRunner
) -> None:
    index.add("zebrafact")
    session_id = (await service.post("/sessions")).json()["session_id"]
    answer = await _install(service, "zebrafact", session_id=session_id)
    assert answer.status_code == 200
    held = fake_runner.sessions[0]
    assert held.package_path is not None
    await service.post("/execute", json={"code": "6*7"})
    assert fake_runner.sessions[-1].package_path is None
    own = (await service.get("/packages", params={"session_id": session_id})).json()["packages"]
    assert "zebrafact" in {each["name"] for each in own}
    others = (await service.get("/packages")).json()["packages"]
    assert "zebrafact" not in {each["name"] for each in others}


async def test_next_package_keeps_the_earlier_ones_at_their_version(
    service: httpx.AsyncClient, index: PackageIndex
) -> None:
    index.add("zebrafact", "1.0")
    assert (await _install(service, "zebrafact")).status_code == 200
    index.add("zebrafact", "2.0")
    index.add("giraffefact", requires=("zebrafact",))
    answer = await _install(service, "giraffefact")
    assert [each["name"] for each in answer.json()["installed"]] == ["giraffefact"]
    listed = (await service.get("/packages")).json()["packages"]
    assert {each["name"]: each["version"] for each in listed}["zebrafact"] == "1.0"


async def test_same_package_again_asks_no_index(
    service: httpx.AsyncClient, index: PackageIndex
) -> None:
    index.add("zebrafact")
    session_id = (await service.post("/sessions")).json()["session_id"]
    await _install(service, "zebrafact")
    asked = index.requests
    again = await _install(service, "zebrafact")
    assert again.json()["already_present"]
    other = await _install(service, "zebrafact", session_id=session_id)
    assert other.status_code == 200
    assert not other.json()["already_present"]
    assert index.requests == asked


async def test_default_set_lasts_over_a_restart(
    tmp_path: Path, fake_runner: FakeRunner, index: PackageIndex
) -> None:
    index.add("zebrafact")
    settings = service_settings(tmp_path, fake_runner.socket, packages_index_url=index.url)
    async with serving(create_app(settings)) as client:
        await _install(client, "zebrafact")
    (tmp_path / "packages" / "staging" / "half-done").mkdir()
    async with serving(create_app(settings)) as client:
        assert (await _install(client, "zebrafact")).json()["already_present"]
    assert list((tmp_path / "packages" / "staging").iterdir()) == []


async def test_interpreters_own_package_is_already_present(
    service: httpx.AsyncClient, index: PackageIndex
) -> None:
    answer = (await _install(service, "numpy")).json()
    assert (answer["already_present"], answer["version"]) == (True, "2.3.4")
    refused = await _install(service, "numpy", version="1.0")
    assert (refused.status_code, refused.json()["rule"]) == (422, "preinstalled")
    assert index.requests == 0


async def test_interpreters_own_package_is_kept_for_a_closure(
    service: httpx.AsyncClient, index: PackageIndex
) -> None:
    index.add("numpy", "2.3.4")
    index.add("numpy", "2.4.0")
    index.add("zebrafact", requires=("numpy",))
    answer = await _install(service, "zebrafact")
    assert [each["name"] for each in answer.json()["installed"]] == ["zebrafact"]
    index.add("giraffefact", requires=("numpy>=2.4",))
    clash = await _install(service, "giraffefact")
    assert (clash.status_code, clash.json()["rule"]) == (422, "conflict")


@pytest.mark.parametrize(
    ("files", "rule"),
    [
        ({"zebrafact.pth": b"import os\n"}, "pth"),
        ({"sitecustomize.py": b""}, "sitecustomize"),
        ({"usercustomize/__init__.py": b""}, "sitecustomize"),
        ({"zebrafact-1.0.data/data/etc/evil": b""}, "outside"),
        ({"etc/evil": b""}, "outside"),
        ({"large.bin": b"0" * (2 << 20)}, "size"),
    ],
)
async def test_hostile_archive_is_refused_and_leaves_nothing(
    service: httpx.AsyncClient,
    index: PackageIndex,
    tmp_path: Path,
    files: dict[str, bytes],
    rule: str,
) -> None:
    index.add("zebrafact", files=files)
    answer = await _install(service, "zebrafact")
    assert (answer.status_code, answer.json().get("rule")) == (422, rule), answer.text
    _assert_nothing_left(tmp_path)


async def test_archive_bomb_of_many_files_is_stopped_and_leaves_nothing(
    service: httpx.AsyncClient, index: PackageIndex, tmp_path: Path
) -> None:
    index.add("zebrafact", files={f"z/{n}.bin": b"0" * (512 << 10) for n in range(40)})
    answer = await _install(service, "zebrafact")
    assert (answer.status_code, answer.json().get("rule")) == (422, "size"), answer.text
    _assert_nothing_left(tmp_path)


async def test_traversal_in_an_archive_writes_nothing_outside(
    service: httpx.AsyncClient, index: PackageIndex, tmp_path: Path
) -> None:
    index.add("zebrafact", files={"../../evil.py": b"", "/tmp/zebra-evil.py": b"", "ok.py": b""})
    await _install(service, "zebrafact")
    found = [path for path in tmp_path.rglob("*evil.py") if "/cache/" not in path.as_posix()]
    assert found == []
    assert not Path("/tmp/zebra-evil.py").exists()


async def test_file_that_is_not_what_its_hash_says_is_refused(
    service: httpx.AsyncClient, index: PackageIndex, tmp_path: Path
) -> None:
    index.add("zebrafact", sha256="0" * 64)
    answer = await _install(service, "zebrafact")
    assert (answer.status_code, answer.json().get("rule")) == (422, "hash"), answer.text
    _assert_nothing_left(tmp_path)


async def test_release_of_the_last_hour_is_refused(
    service: httpx.AsyncClient, index: PackageIndex, tmp_path: Path
) -> None:
    index.add("zebrafact", age=timedelta(hours=1))
    answer = await _install(service, "zebrafact")
    assert (answer.status_code, answer.json().get("rule")) == (422, "too-new"), answer.text
    _assert_nothing_left(tmp_path)


async def test_older_release_is_taken_instead_of_a_new_one(
    service: httpx.AsyncClient, index: PackageIndex
) -> None:
    index.add("zebrafact", "1.0")
    index.add("zebrafact", "2.0", age=timedelta(hours=1))
    assert (await _install(service, "zebrafact")).json()["version"] == "1.0"
    exact = await _install(service, "zebrafact", version="2.0")
    assert (exact.status_code, exact.json()["rule"]) == (422, "too-new")


async def test_index_without_dates_is_refused_with_what_an_operator_can_do(
    service: httpx.AsyncClient, index: PackageIndex
) -> None:
    index.add("zebrafact", age=None)
    answer = await _install(service, "zebrafact")
    assert (answer.status_code, answer.json().get("rule")) == (422, "undated"), answer.text
    assert "SANDBOX_PACKAGES_MIN_AGE_DAYS" in answer.json()["operator"]


async def test_yanked_release_is_refused(
    service: httpx.AsyncClient, index: PackageIndex, tmp_path: Path
) -> None:
    index.add("zebrafact", yanked="broken")
    for body in ({}, {"version": "1.0"}):
        answer = await _install(service, "zebrafact", **body)
        assert (answer.status_code, answer.json().get("rule")) == (422, "yanked"), answer.text
    _assert_nothing_left(tmp_path)


async def test_source_only_package_is_refused(
    service: httpx.AsyncClient, index: PackageIndex
) -> None:
    index.releases["zebrafact"] = [Release("zebrafact-1.0.tar.gz", b"no archive")]
    answer = await _install(service, "zebrafact")
    assert (answer.status_code, answer.json().get("rule")) == (422, "no-wheel"), answer.text


async def test_suspicious_dependency_is_refused(
    service: httpx.AsyncClient, index: PackageIndex
) -> None:
    index.add("zebrafact", requires=("reqeusts",))
    index.add("reqeusts")
    answer = await _install(service, "zebrafact")
    assert (answer.status_code, answer.json()["meant"]) == (422, "requests")


async def test_unknown_package_and_version_are_404(
    service: httpx.AsyncClient, index: PackageIndex
) -> None:
    index.add("zebrafact")
    for answer in (
        await _install(service, "giraffefact"),
        await _install(service, "zebrafact", version="9.9"),
    ):
        assert answer.status_code == 404, answer.text
        assert answer.json()["type"].endswith(":package-unknown")


async def test_index_that_is_away_is_a_typed_error(tmp_path: Path, fake_runner: FakeRunner) -> None:
    settings = service_settings(
        tmp_path, fake_runner.socket, packages_index_url="http://127.0.0.1:9/simple"
    )
    async with serving(create_app(settings)) as client:
        answer = await _install(client, "zebrafact")
        assert answer.status_code == 502, answer.text
        assert answer.json()["type"].endswith(":package-index-down")
    _assert_nothing_left(tmp_path)


async def test_install_past_the_deadline_leaves_nothing(
    service: httpx.AsyncClient, index: PackageIndex, tmp_path: Path
) -> None:
    index.add("zebrafact")
    answer = await service.post(
        "/packages", json={"package": "zebrafact"}, headers={"x-deadline-ms": "40"}
    )
    assert answer.status_code in {504, 502}
    _assert_nothing_left(tmp_path)
    assert (await _install(service, "zebrafact")).status_code == 200


async def test_two_installs_at_once_both_count(
    service: httpx.AsyncClient, index: PackageIndex
) -> None:
    index.add("zebrafact")
    index.add("giraffefact")
    both = await asyncio.gather(_install(service, "zebrafact"), _install(service, "giraffefact"))
    assert [answer.status_code for answer in both] == [200, 200]
    listed = (await service.get("/packages")).json()["packages"]
    assert {"zebrafact", "giraffefact"} <= {each["name"] for each in listed}


async def test_installed_package_is_imported_by_real_sessions(index: PackageIndex) -> None:
    index.add("zebrafact", "1.5")
    index.add("giraffefact", "2.5")
    with tempfile.TemporaryDirectory(prefix="sb-") as name:
        folder = Path(name)
        async with real_runner(folder, packages_dir=folder / "packages") as real:
            if not real.hello.is_safe:
                pytest.skip("this kernel can't isolate a run")
            settings = service_settings(folder, real.socket, packages_index_url=index.url)
            async with serving(create_app(settings)) as client:
                session_id = (await client.post("/sessions")).json()["session_id"]
                for package in ("zebrafact", "giraffefact"):
                    answer = await _install(client, package, session_id=session_id)
                    assert answer.status_code == 200, answer.text
                held = {"code": "import zebrafact; zebrafact.VERSION", "session_id": session_id}
                assert (await client.post("/execute", json=held)).json()["result"] == "'1.5'"
                fresh = {"code": "import giraffefact; giraffefact.VERSION"}
                missing = (await client.post("/execute", json=fresh)).json()
                assert missing["error"]["type"] == "ModuleNotFoundError"
                await _install(client, "giraffefact")
                assert (await client.post("/execute", json=fresh)).json()["result"] == "'2.5'"


async def test_settings_that_code_leaves_about_steer_no_installation(index: PackageIndex) -> None:
    index.add("zebrafact", "1.5")
    case = load(Path(__file__).parent / "escape" / "cases" / "g02_pip_config_poison.attack")
    with tempfile.TemporaryDirectory(prefix="sb-") as name, package_index() as other:
        other.add("zebrafact", "6.6")
        folder = Path(name)
        names = ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "UV_INDEX_URL", "UV_DEFAULT_INDEX")
        code = case.steps[0].code.replace("http://127.0.0.1:1/", other.url)
        # The case writes pip's form into every file; this is uv's, which it would obey.
        settings_of_uv = f'[[index]]\nname = "other"\nurl = "{other.url}"\n'
        code += "\nfor path in w:\n  if path.endswith('uv.toml'): "
        code += f"open(path, 'w').write({settings_of_uv!r})"
        code += f"\nos.environ.update(dict.fromkeys({names}, {other.url!r}))\nw != []"
        async with real_runner(folder, packages_dir=folder / "packages") as real:
            if not real.hello.is_safe:
                pytest.skip("this kernel can't isolate a run")
            settings = service_settings(folder, real.socket, packages_index_url=index.url)
            async with serving(create_app(settings)) as client:
                poisoned = (await client.post("/sessions")).json()["session_id"]
                body = {"code": code, "session_id": poisoned}
                assert (await client.post("/execute", json=body)).json()["result"] == "True"
                answer = await _install(client, "zebrafact", session_id=poisoned)
                assert answer.json()["installed"][0]["version"] == "1.5", answer.text
                body = {"code": "import zebrafact; zebrafact.VERSION", "session_id": poisoned}
                assert (await client.post("/execute", json=body)).json()["result"] == "'1.5'"
        assert other.requests == 0


async def test_package_of_the_configured_index_is_installed(
    tmp_path: Path, fake_runner: FakeRunner
) -> None:
    """Over the network: whatever index this machine's own settings name."""
    settings = service_settings(tmp_path, fake_runner.socket)
    async with serving(create_app(settings)) as client:
        answer = await _install(client, "six", version="1.17.0")
        if answer.status_code == 502:
            pytest.skip("no package index is reachable from here")
        assert answer.status_code == 200, answer.text
        assert answer.json()["installed"][0]["name"] == "six"
        await client.post("/execute", json={"code": "6*7"})
        path = Path(fake_runner.sessions[-1].package_path or "")
        assert '__version__ = "1.17.0"' in (path / "six.py").read_text()
