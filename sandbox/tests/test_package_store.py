"""Package sets and wheels on disk: shared, bounded, removed."""

# ruff: noqa: ASYNC240  # small looks at a local folder, with nothing else on the loop
import hmac
import os
from contextlib import closing
from pathlib import Path

import httpx
import pytest
from sandbox.adapters.owned_folder import FolderError
from sandbox.adapters.package_store import PackageStore
from sandbox.packages.retention import Kept, surplus
from sandbox.packages.tree import TreeLimits
from sandbox.settings import SandboxSettings
from sandbox_support.fake_runner import FakeRunner
from sandbox_support.package_calls import install, listed, open_session, sets, wheels
from sandbox_support.package_index import PackageIndex, package_index, wheel
from sandbox_support.serving import service_settings, serving

from sandbox.app import create_app

# What does not shrink when it is packed, in the size of a small package.
LARGE = os.urandom(400_000)
DOWN, REFUSED = (502, ":package-index-down"), (422, ":package-refused")


@pytest.fixture
def usual(index: PackageIndex) -> dict[str, object]:
    return {"packages_index_url": index.url}


def _store(folder: Path) -> PackageStore:
    return PackageStore(folder, TreeLimits(1, 1), max_bytes=1)


# ---------------------------------------------------------------- whose the folder is


def test_folder_is_held_by_one_service_that_no_other_one_sweeps(tmp_path: Path) -> None:
    first, second = _store(tmp_path), _store(tmp_path)
    first.prepare()
    (tmp_path / "staging" / "on-its-way").mkdir()
    with pytest.raises(FolderError, match="Another sandbox works with"):
        second.prepare()
    assert (tmp_path / "staging" / "on-its-way").is_dir()
    first.close()
    with closing(second):
        second.prepare()
    assert not [*(tmp_path / "staging").iterdir()]


def test_folder_that_others_may_write_to_is_closed_to_them(tmp_path: Path) -> None:
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    with closing(_store(tmp_path / "open")) as store:
        store.prepare()
    assert (tmp_path / "open").stat().st_mode & 0o777 == 0o755


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make what belongs to others")
@pytest.mark.parametrize("name", ["", "sets", "link"])
def test_folder_of_somebody_else_is_refused(tmp_path: Path, name: str) -> None:
    root = tmp_path / "packages"
    (root / "sets").mkdir(parents=True)
    if name == "link":
        root = tmp_path / "link"
        root.symlink_to(tmp_path / "packages")
        os.chown(root, 12345, 12345, follow_symlinks=False)
    else:
        os.chown(root / name, 12345, 12345)
    with closing(_store(root)) as store, pytest.raises(FolderError, match="belongs to user 12345"):
        store.prepare()
    assert {path.name for path in root.iterdir()} <= {"sets", "lock"}


def test_folders_of_two_users_have_two_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SANDBOX_PACKAGES_DIR", raising=False)
    assert SandboxSettings().packages_dir.name == f"sandbox-packages-{os.getuid()}"


# ---------------------------------------------------------------- who sees what


async def test_package_is_listed_with_the_hash_of_its_wheel(
    service: httpx.AsyncClient, index: PackageIndex
) -> None:
    release = index.add("zebrafact")
    await install(service, "zebrafact")
    packages = (await service.get("/packages")).json()["packages"]
    entry = next(each for each in packages if each["name"] == "zebrafact")
    assert entry["sha256"] == release.listing("")["hashes"]["sha256"]  # type: ignore[index]  # as served
    assert entry["size_bytes"] > 0
    assert entry["modules"] == ["zebrafact"]


async def test_sessions_of_another_user_can_read_a_set_and_list_none(
    service: httpx.AsyncClient, index: PackageIndex, tmp_path: Path
) -> None:
    index.add("zebrafact")
    await install(service, "zebrafact")
    root = tmp_path / "packages"
    modes = {path.name: path.stat().st_mode & 0o777 for path in root.iterdir() if path.is_dir()}
    assert modes == {"sets": 0o711, **dict.fromkeys(("cache", "rules", "staging", "wheels"), 0o700)}
    (made,) = (path for path in (root / "sets").iterdir() if path.is_dir())
    for path in (made, *made.rglob("*")):
        assert path.stat().st_mode & 0o777 == (0o755 if path.is_dir() else 0o644), path


async def test_name_of_a_set_is_no_other_stores_name(tmp_path: Path) -> None:
    def names(folder: str) -> str:
        with closing(_store(tmp_path / folder)) as store:
            store.prepare()
            return store.name_of("ab" * 32)

    first, again, other = names("one"), names("one"), names("two")
    assert first == again  # also after a restart
    assert len({first, other, "ab" * 32}) == 3
    key = tmp_path / "one" / "key"
    assert key.stat().st_mode & 0o777 == 0o600
    key.write_bytes(b"")  # by a service that was killed at that moment
    assert names("one") not in {first, hmac.new(b"", b"ab" * 32, "sha256").hexdigest()}


async def test_one_request_serves_a_session_and_all_new_ones(
    service: httpx.AsyncClient, index: PackageIndex
) -> None:
    index.add("zebrafact")
    first, other = await open_session(service), await open_session(service)
    answer = await install(service, "zebrafact", session_id=first, also_new_sessions=True)
    assert answer.status_code == 200, answer.text
    assert "zebrafact" in await listed(service, first)
    assert "zebrafact" in await listed(service)
    assert "zebrafact" not in await listed(service, other)


async def test_wheel_is_fetched_and_unpacked_once_for_all_sets(
    service: httpx.AsyncClient, index: PackageIndex, tmp_path: Path
) -> None:
    index.add("zebrafact")
    index.add("giraffefact", requires=("zebrafact",))
    await install(service, "zebrafact", session_id=await open_session(service))
    fetched = index.downloads
    await install(service, "giraffefact", session_id=await open_session(service))
    await install(service, "giraffefact", session_id=await open_session(service))
    assert len(wheels(tmp_path)) == 2
    (one,) = {path.stat().st_ino for path in tmp_path.glob("packages/sets/*/zebrafact.py")}
    assert one in {path.stat().st_ino for path in tmp_path.glob("packages/wheels/*/zebrafact.py")}
    asked = index.requests
    await install(service, "giraffefact", session_id=await open_session(service))
    assert index.requests == asked
    assert index.downloads > fetched


async def test_module_of_another_package_is_not_replaced(
    service: httpx.AsyncClient, index: PackageIndex, tmp_path: Path
) -> None:
    index.add("zebrafact")
    await install(service, "zebrafact")
    index.add("giraffefact", files={"giraffefact.py": b"", "zebrafact.py": b"evil = 1\n"})
    answer = await install(service, "giraffefact")
    assert (answer.status_code, answer.json().get("rule")) == (422, "shadows"), answer.text
    assert len(wheels(tmp_path)) == len(sets(tmp_path)) == 1
    index.add("hippofact", files={"requests/__init__.py": b"evil = 1\n"})
    answer = await install(service, "hippofact")
    assert (answer.json()["rule"], answer.json()["meant"]) == ("shadows", "requests")
    index.add("rhinofact", files={"rhinofact.py": b"", "zebrafact.py": b"VERSION = '1.0'\n"})
    assert (await install(service, "rhinofact")).status_code == 200  # the same content


@pytest.mark.parametrize(
    "path",
    ["api.cpython-311-x86_64-linux-gnu.so", "api.abi3.so", "api/__init__.py", "__init__.so"],
)
async def test_module_is_not_replaced_by_a_file_beside_it(
    service: httpx.AsyncClient, index: PackageIndex, path: str
) -> None:
    index.add("zebrafact", files={"zebrafact/__init__.py": b"", "zebrafact/api.py": b"x = 1\n"})
    await install(service, "zebrafact")
    index.add("giraffefact", files={"giraffefact.py": b"", f"zebrafact/{path}": b"evil"})
    answer = await install(service, "giraffefact")
    assert (answer.status_code, answer.json().get("rule")) == (422, "shadows"), answer.text
    index.add("hippofact", files={"hippofact.py": b"", "zebrafact/plugin.py": b""})
    assert (await install(service, "hippofact")).status_code == 200  # an addition, and no more


@pytest.mark.parametrize("name", ["requests/__init__.pyc", "requests.pyc", "requests/__init__.so"])
async def test_module_of_a_well_known_package_is_known_in_any_form(
    service: httpx.AsyncClient, index: PackageIndex, name: str
) -> None:
    index.add("giraffefact", files={name: b"evil"})
    answer = await install(service, "giraffefact")
    assert (answer.json().get("rule"), answer.json().get("meant")) == ("shadows", "requests")


# ---------------------------------------------------------------- removal


async def test_removal_takes_what_only_that_package_needed(
    service: httpx.AsyncClient, index: PackageIndex
) -> None:
    index.add("zebrafact", requires=("hippofact",))
    index.add("giraffefact", requires=("rhinofact",))
    index.add("hippofact")
    index.add("rhinofact")
    for name in ("zebrafact", "giraffefact"):
        assert (await install(service, name)).status_code == 200
    needed = await service.delete("/packages/hippofact")
    assert needed.status_code == 404
    assert "others need it" in needed.json()["detail"]
    assert (await service.delete("/packages/numpy")).status_code == 404
    left = await service.delete("/packages/Zebrafact")
    assert left.status_code == 200, left.text
    assert {each["name"] for each in left.json()["packages"]} == {
        "numpy",
        "giraffefact",
        "rhinofact",
    }
    assert (await service.delete("/packages/giraffefact")).status_code == 200
    assert await listed(service) == {"numpy"}
    assert (await service.delete("/packages/giraffefact")).status_code == 404


async def test_removal_from_a_session_is_its_own_matter(
    service: httpx.AsyncClient, index: PackageIndex
) -> None:
    index.add("zebrafact")
    session = await open_session(service)
    await install(service, "zebrafact", session_id=session, also_new_sessions=True)
    removed = await service.delete("/packages/zebrafact", params={"session_id": session})
    assert removed.status_code == 200, removed.text
    assert "zebrafact" not in await listed(service, session)
    assert "zebrafact" in await listed(service)


# ---------------------------------------------------------------- space


async def test_disk_that_takes_no_set_is_said_and_nothing_is_left(
    service: httpx.AsyncClient, index: PackageIndex, tmp_path: Path
) -> None:
    for name in ("zebrafact", "giraffefact"):
        index.add(name)
        await install(service, name, session_id=await open_session(service))
    session = await open_session(service)
    await install(service, "zebrafact", session_id=session)
    staging = tmp_path / "packages" / "staging"
    staging.rmdir()
    staging.write_text("in the way")
    answer = await install(service, "giraffefact", session_id=session)
    assert answer.status_code == 502, answer.text
    assert answer.json()["type"].endswith("package-install-failed")
    assert "disk" in answer.json()["detail"]
    assert len(sets(tmp_path)) == 2
    staging.unlink()
    staging.mkdir()
    assert (await install(service, "giraffefact", session_id=session)).status_code == 200


@pytest.mark.parametrize("changes", [{"packages_max_store_bytes": 1 << 20}])
async def test_sets_unused_for_the_longest_make_room(
    service: httpx.AsyncClient, index: PackageIndex, tmp_path: Path
) -> None:
    for number in range(4):
        name = f"zebrafact{'abcde'[number]}x"
        index.add(name, files={f"{name}.bin": LARGE + name.encode()})
        session = await open_session(service)
        answer = await install(service, name, session_id=session)
        assert answer.status_code == 200, answer.text
        await service.delete(f"/sessions/{session}")
    assert len(wheels(tmp_path)) <= 2
    assert len(sets(tmp_path)) <= 2


@pytest.mark.parametrize("changes", [{"packages_max_store_bytes": 1 << 20}])
async def test_sets_that_sessions_use_are_kept_and_one_too_many_is_refused(
    service: httpx.AsyncClient, index: PackageIndex, tmp_path: Path
) -> None:
    answers = []
    for letter in "abc":
        name = f"zebrafact{letter}x"
        index.add(name, files={f"{name}.bin": LARGE + name.encode()})
        answers.append(await install(service, name, session_id=await open_session(service)))
    assert [answer.status_code for answer in answers] == [200, 200, 422]
    assert answers[2].json()["rule"] == "store-size"
    assert "SANDBOX_PACKAGES_MAX_STORE_BYTES" in answers[2].json()["operator"]
    assert len(wheels(tmp_path)) == len(sets(tmp_path)) == 2


def test_surplus_goes_from_the_oldest_and_spares_what_is_shared() -> None:
    kept = Kept(
        {
            "old": (1.0, frozenset("ab")),
            "new": (3.0, frozenset("bc")),
            "busy": (0.0, frozenset("d")),
        },
        {"a": 10, "b": 10, "c": 10, "d": 10, "orphan": 99},
    )
    gone = surplus(kept, busy=frozenset({"busy"}), max_bytes=35)
    assert (gone.sets, gone.wheels, gone.left_bytes) == ({"old"}, {"a", "orphan"}, 30)
    gone = surplus(kept, busy=frozenset({"busy"}), max_bytes=5)
    assert (gone.sets, gone.wheels, gone.left_bytes) == ({"old", "new"}, {*"abc", "orphan"}, 10)


# ---------------------------------------------------------------- the index


async def test_credentials_of_the_index_open_its_pages_and_files(
    tmp_path: Path, fake_runner: FakeRunner, index: PackageIndex
) -> None:
    index.add("zebrafact")
    index.key = "me:p@ss"
    url = index.url.replace("http://", "http://me:p%40ss@")
    settings = service_settings(tmp_path, fake_runner.socket, packages_index_url=url)
    async with serving(create_app(settings)) as client:
        answer = await install(client, "zebrafact")
        assert answer.status_code == 200, answer.text
    manifests = "".join(path.read_text() for path in tmp_path.glob("packages/**/*.json"))
    assert "p%40ss" not in manifests


async def test_index_may_not_send_to_another_port(
    service: httpx.AsyncClient, index: PackageIndex, tmp_path: Path
) -> None:
    index.add("zebrafact")
    with package_index() as other:
        other.add("zebrafact")
        index.moved_to = f"{other.base}/files/zebrafact-1.0-py3-none-any.whl"
        answer = await install(service, "zebrafact")
        assert other.requests == 0
    assert answer.status_code in {422, 502}, answer.text
    assert wheels(tmp_path) == []


@pytest.mark.parametrize(
    ("location", "expected"),
    [
        ("{base}/files/zebrafact-1.0-py3-none-any.whl", DOWN),
        ("http://[half-an-address", REFUSED),
        ("ftp://{host}/zebrafact-1.0-py3-none-any.whl", REFUSED),
        ("file:///etc/passwd", REFUSED),
    ],
    ids=["loop", "broken", "ftp", "file"],
)
async def test_index_that_sends_astray_is_told_by_a_typed_error(
    service: httpx.AsyncClient,
    index: PackageIndex,
    tmp_path: Path,
    location: str,
    expected: tuple[int, str],
) -> None:
    index.add("zebrafact")
    host = index.base.removeprefix("http://")
    index.wheels_moved_to = location.format(base=index.base, host=host)
    answer = await install(service, "zebrafact")
    assert answer.status_code == expected[0], answer.text
    assert answer.json()["type"].endswith(expected[1])
    assert not [*(tmp_path / "packages" / "staging").iterdir()]
    index.wheels_moved_to = None
    assert (await install(service, "zebrafact")).status_code == 200


async def test_folder_of_wheels_is_an_index_too(
    tmp_path: Path, fake_runner: FakeRunner, monkeypatch: pytest.MonkeyPatch, index: PackageIndex
) -> None:
    folder = tmp_path / "our-wheels"
    folder.mkdir()
    (folder / "zebrafact-1.0-py3-none-any.whl").write_bytes(wheel("zebrafact"))
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    settings = service_settings(
        tmp_path, fake_runner.socket, packages_index_url=index.url, packages_min_age_days=0
    )
    async with serving(create_app(settings)) as client:
        answer = await install(client, "zebrafact")
        assert answer.status_code == 200, answer.text
        assert answer.json()["installed"][0]["sha256"]
