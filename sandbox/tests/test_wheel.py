"""What a wheel may hold: its directory judged, then hostile archives unpacked for real."""

import asyncio
import contextlib
import io
import json
import os
import stat
import struct
import sys
import tempfile
import zipfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sandbox.adapters.child_process import run_child
from sandbox.adapters.unpack import UnpackOrder, unpack
from sandbox.errors import PackageRefused
from sandbox.packages.tree import Entry, TreeLimits, check_tree
from sandbox.packages.wheel import Member, Plan, check_description, plan_wheel, read_record
from sandbox_runner.landlock import abi_version
from sandbox_support.package_index import archive, record, wheel

LIMITS = TreeLimits(1000, 20)
FILE, FOLDER = stat.S_IFREG | 0o644, stat.S_IFDIR | 0o755
INFO = "zebrafact-1.0.dist-info"
OWN = [Member(f"{INFO}/METADATA", FILE, 1), Member(f"{INFO}/RECORD", FILE, 1)]


def _plan(*members: Member, trusted: bool = False) -> Plan:
    return plan_wheel([*members, *OWN], LIMITS, package="zebrafact", is_trusted=trusted)


def _rule(*members: Member) -> str:
    with pytest.raises(PackageRefused) as refused:
        _plan(*members)
    rule: str = refused.value.extensions["rule"]
    return rule


@pytest.mark.parametrize(
    ("path", "rule"),
    [
        ("../evil.py", "traversal"),
        ("a/../../evil.py", "traversal"),
        ("a/..", "traversal"),
        ("/etc/evil", "traversal"),
        ("//evil", "traversal"),
        ("./evil.py", "traversal"),
        ("a//b.py", "traversal"),
        ("..\\evil.py", "traversal"),
        ("C:/evil.py", "traversal"),
        ("C:evil.py", "traversal"),
        ("zebrafact-1.0.data/purelib/../../evil.py", "traversal"),
        ("", "file-name"),
        ("a\x00.py", "file-name"),
        ("a\nb.py", "file-name"),
        ("a\x1b[2Jb.py", "file-name"),
        ("a\u202eb.py", "file-name"),
        ("a" * 300 + ".py", "file-name"),
        ("a/" * 1500 + "b.py", "file-name"),
        ("evil.pth", "pth"),
        ("zebrafact-1.0.data/purelib/evil.pth", "pth"),
        ("sitecustomize.py", "sitecustomize"),
        ("usercustomize/__init__.py", "sitecustomize"),
        ("sitecustomize.cpython-311-x86_64-linux-gnu.so", "sitecustomize"),
        ("etc/evil", "outside"),
        ("zebrafact-1.0.data/data/etc/evil", "outside"),
        ("zebrafact-1.0.data/platlib/lib/evil", "outside"),
        ("zebrafact-1.0.data/elsewhere/evil", "archive"),
        ("zebrafact-1.0.data/evil", "archive"),
        ("other-1.0.dist-info/METADATA", "archive"),
        (f"{INFO}/METADATA", "archive"),
        (f"{INFO}/METADATA/x", "archive"),
    ],
)
def test_path_in_a_wheel_is_refused_by_its_rule(path: str, rule: str) -> None:
    assert _rule(Member(path, FILE, 1)) == rule


@pytest.mark.parametrize(
    ("member", "rule"),
    [
        (Member("a", stat.S_IFLNK | 0o777, 1), "links"),
        (Member("a", stat.S_IFIFO | 0o644, 1), "links"),
        (Member("a", stat.S_IFCHR | 0o644, 1), "links"),
        (Member("a", FILE | stat.S_ISUID, 1), "links"),
        (Member("a", FILE, 1, flags=1), "archive"),
        (Member("a", FILE, 1, method=14), "archive"),
        (Member("a", FILE, 1001), "size"),
    ],
)
def test_member_of_a_wheel_is_refused_by_its_rule(member: Member, rule: str) -> None:
    assert _rule(member) == rule


def test_wheel_of_too_many_files_is_refused() -> None:
    assert _rule(*(Member(f"z/{n}", FILE, 0) for n in range(20))) == "file-count"


def test_file_where_a_folder_is_needed_is_refused() -> None:
    assert _rule(Member("a", FILE, 1), Member("a/b", FILE, 1)) == "archive"
    assert _rule(Member("a/b", FILE, 1), Member("z.data/purelib/a/b", FILE, 1)) == "archive"


def test_archive_that_does_not_describe_itself_is_no_wheel() -> None:
    with pytest.raises(PackageRefused, match="no wheel"):
        plan_wheel([Member("a.py", FILE, 1)], LIMITS, package="a", is_trusted=False)


def test_plan_places_modules_and_leaves_out_what_no_session_needs() -> None:
    plan = _plan(
        Member("zebrafact/", FOLDER, 0),
        Member("zebrafact/__init__.py", FILE, 1),
        Member("zebrafact/__pycache__/__init__.cpython-311.pyc", FILE, 1),
        Member("fast.cpython-311-x86_64-linux-gnu.so", FILE, 1),
        Member("shared/part/__init__.py", FILE, 1),
        Member("zebrafact-1.0.data/purelib/more.py", FILE, 1),
        Member("zebrafact-1.0.data/scripts/pip", FILE, 1),
        Member("zebrafact-1.0.data/headers/a.h", FILE, 1),
        Member("zebrafact-1.0.data/data/share/man/a.1", FILE, 1),
        Member("bin/python", FILE, 1),
    )
    assert [place for _, place in plan.files if not place.startswith(INFO)] == [
        "zebrafact/__init__.py",
        "fast.cpython-311-x86_64-linux-gnu.so",
        "shared/part/__init__.py",
        "more.py",
    ]
    assert plan.modules() == ("zebrafact", "fast", "more")


def test_start_file_of_a_well_known_package_is_left_out() -> None:
    plan = _plan(Member("a.pth", FILE, 1), Member("etc/a", FILE, 1), trusted=True)
    assert {place for _, place in plan.files} == {f"{INFO}/METADATA", f"{INFO}/RECORD"}


@pytest.mark.parametrize(
    "text",
    [
        "Name: other\nVersion: 1.0\n",
        "Name: zebrafact\nVersion: 2.0\n",
        "Name: zebrafact\nName: other\nVersion: 1.0\n",
        "Version: 1.0\n\nName: zebrafact\n",
        "Name: zebrafact\nVersion: newest\n",
        "",
    ],
)
def test_description_of_another_package_is_refused(text: str) -> None:
    with pytest.raises(PackageRefused) as refused:
        check_description(text, package="zebrafact", version="1.0")
    assert refused.value.extensions["rule"] == "other-package"


def test_description_may_spell_the_name_its_own_way() -> None:
    check_description(
        "name: Zebra_Fact\r\nVERSION: 1.0.0\r\n\r\nx", package="zebra-fact", version="1"
    )


@pytest.mark.parametrize(
    "lines",
    [
        ["a.py,sha256=YQ,1"],  # b.py is not named
        ["a.py,sha256=YQ,1", "b.py,sha256=YQ,1", "../../etc/passwd,sha256=YQ,1"],
        ["a.py,,", "b.py,sha256=YQ,1"],
        ["a.py,md5=YQ,1", "b.py,sha256=YQ,1"],
        ["a.py", "b.py,sha256=YQ,1"],
        ['"a.py,sha256=YQ,1'],
    ],
)
def test_record_that_lies_is_refused(lines: list[str]) -> None:
    files = ["a.py", "b.py", f"{INFO}/RECORD"]
    with pytest.raises(PackageRefused) as refused:
        read_record(lines, files, package="zebrafact", dist_info=INFO)
    assert refused.value.extensions["rule"] == "record"


@pytest.mark.parametrize(
    ("entry", "rule"),
    [
        (Entry("evil.pth", FILE, 1), "pth"),
        (Entry("usercustomize", FOLDER, 0), "sitecustomize"),
        (Entry("etc", FOLDER, 0), "outside"),
        (Entry("x/link", stat.S_IFLNK | 0o777, 1), "links"),
        (Entry("x/pipe", stat.S_IFIFO | 0o644, 0), "links"),
        (Entry("x/suid", FILE | stat.S_ISUID, 1), "links"),
        (Entry("x/a\nb", FILE, 1), "file-name"),
        (Entry("x/large", FILE, 1001), "size"),
    ],
)
def test_tree_with_what_no_session_may_see_is_refused(entry: Entry, rule: str) -> None:
    with pytest.raises(PackageRefused) as refused:
        check_tree([entry], LIMITS, package="x")
    assert refused.value.extensions["rule"] == rule


# ---------------------------------------------------------------- the real unpacker


def _unpack(folder: Path, content: bytes, **changes: object) -> dict[str, object]:
    (folder / "wheel").write_bytes(content)
    (folder / "tree").mkdir()
    order = UnpackOrder(
        **{
            "parent": os.getpid(),
            "wheel": str(folder / "wheel"),
            "target": str(folder / "tree"),
            "package": "zebrafact",
            "version": "1.0",
            "max_bytes": 1 << 20,
            "max_files": 100,
            "is_trusted": False,
        }
        | changes  # type: ignore[arg-type]  # of the test's choice
    )
    environment = {"PATH": os.defpath, "LANG": "C.UTF-8"}

    async def work() -> dict[str, object]:
        async with asyncio.timeout(30):
            ended = await run_child(
                order.to_words(), environment=environment, folder=folder, max_text_bytes=1 << 16
            )
        assert ended.code == 0, ended.stderr
        report: dict[str, object] = json.loads(ended.stdout)
        return report

    return asyncio.run(work())


def _files(folder: Path) -> list[str]:
    return sorted(
        path.relative_to(folder / "tree").as_posix()
        for path in (folder / "tree").rglob("*")
        if path.is_file()
    )


def _tampered(content: bytes, path: str, *, size: int) -> bytes:
    """Let the archive's directory say another unpacked size than the file has."""
    raw = bytearray(content)
    with zipfile.ZipFile(io.BytesIO(content)) as file:
        start = file.start_dir
        for item in file.infolist():
            if item.filename == path:
                raw[start + 24 : start + 28] = struct.pack("<I", size)
                return bytes(raw)
            start += 46 + len(item.filename) + len(item.extra) + len(item.comment)
    raise KeyError(path)


needs_landlock = pytest.mark.skipif(abi_version() == 0, reason="this kernel has no Landlock")


@needs_landlock
def test_wheel_is_unpacked_as_it_describes_itself(tmp_path: Path) -> None:
    report = _unpack(tmp_path, wheel("zebrafact", files={"zebrafact/__init__.py": b"A = 1\n"}))
    assert report == {"files": 4, "modules": ["zebrafact"]}
    modules = [path for path in _files(tmp_path) if path.startswith("zebrafact/")]
    tag = sys.implementation.cache_tag
    assert modules == ["zebrafact/__init__.py", f"zebrafact/__pycache__/__init__.{tag}.pyc"]
    assert (tmp_path / "tree/zebrafact/__init__.py").read_bytes() == b"A = 1\n"
    assert (tmp_path / "tree/zebrafact").stat().st_mode & 0o777 == 0o755


@needs_landlock
@pytest.mark.parametrize(
    ("content", "rule"),
    [
        (b"", "archive"),
        (b"PK\x05\x06" + b"\xff" * 18, "archive"),
        (wheel("zebrafact")[:-40], "archive"),
        (archive({"a.py": b"1"}), "archive"),
        (wheel("zebrafact", files={"../evil.py": b"1"}), "traversal"),
        (wheel("zebrafact", files={"z/link": b"/etc/passwd"}, modes={"z/link": 0o120777}), "links"),
        (wheel("zebrafact", files={"z/b.bin": b"0" * (1 << 20)}), "size"),
        (wheel("zebrafact", files={f"z/{n}": b"" for n in range(100)}), "file-count"),
        (wheel("zebrafact", described_as=("requests", "1.0")), "other-package"),
        (wheel("zebrafact", described_as=("zebrafact", "9.0")), "other-package"),
        (wheel("zebrafact", listed=b""), "record"),
        (wheel("zebrafact", listed=record({"zebrafact.py": b"else"}, INFO)), "record"),
        (_tampered(wheel("zebrafact"), "zebrafact.py", size=1 << 30), "size"),
        (_tampered(wheel("zebrafact"), "zebrafact.py", size=1 << 18), "archive"),
        (
            _tampered(
                wheel("zebrafact", files={"z.bin": b"0" * (64 << 20)}), "z.bin", size=1 << 10
            ),
            "archive",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "wheel",
)  # fmt: skip
def test_hostile_archive_is_refused_by_its_rule(tmp_path: Path, content: bytes, rule: str) -> None:
    report = _unpack(tmp_path, content)
    assert report.get("rule") == rule, report
    written = sum(path.stat().st_size for path in tmp_path.rglob("tree/**/*") if path.is_file())
    assert written <= 1 << 20


@settings(max_examples=150, deadline=None)
@given(
    changes=st.lists(
        st.tuples(st.integers(0, 2000), st.binary(min_size=0, max_size=4)), min_size=1, max_size=4
    )
)
def test_damaged_archive_is_refused_or_unpacked_and_writes_nowhere_else(
    changes: list[tuple[int, bytes]],
) -> None:
    content = bytearray(wheel("zebrafact", files={"z/__init__.py": b"A = 1\n" * 20}))
    for anywhere, new in changes:
        place = anywhere % len(content)
        content[place : place + max(1, len(new))] = new
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "wheel").write_bytes(content)
        (folder / "tree").mkdir()
        order = UnpackOrder(
            parent=0, wheel=str(folder / "wheel"), target=str(folder / "tree"),
            package="zebrafact", version="1.0", max_bytes=1 << 20, max_files=100, is_trusted=False,
        )  # fmt: skip
        with contextlib.suppress(PackageRefused):
            unpack(order)
        assert {path.name for path in folder.iterdir()} == {"wheel", "tree"}
        assert (folder / "wheel").read_bytes() == bytes(content)


@needs_landlock
def test_file_that_is_not_what_the_record_says_is_refused(tmp_path: Path) -> None:
    honest = {"zebrafact.py": b"A = 1\n"}
    listed = record({**honest, f"{INFO}/METADATA": b"x", f"{INFO}/WHEEL": b"y"}, INFO)
    report = _unpack(
        tmp_path, wheel("zebrafact", files={"zebrafact.py": b"A = 2\n"}, listed=listed)
    )
    assert report["rule"] == "record"


@needs_landlock
def test_module_that_can_not_be_compiled_is_left_as_it_is(tmp_path: Path) -> None:
    files = {
        "broken.py": b"def (",
        "deep.py": b"(" * 50_000,
        "long.py": b"A = (" + b"1 + " * 20_000 + b"1)\n",
        "good.py": b"A = 1\n",
        "tests/test_it.py": b"A = 1\n",
    }
    report = _unpack(tmp_path, wheel("zebrafact", files=files))
    assert report["files"] == len(files) + 3
    compiled = {path.split(".")[0] for path in _files(tmp_path) if path.endswith(".pyc")}
    assert "__pycache__/good" in compiled
    assert not {"__pycache__/broken", "__pycache__/deep", "tests/__pycache__/test_it"} & compiled


@needs_landlock
def test_unpacker_writes_nowhere_but_to_its_folder(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (tmp_path / "tree-of-another").mkdir()
    content = wheel("zebrafact", files={"z/a.py": b"1"})
    # A link that somebody put where the unpacker writes leads nowhere.
    (tmp_path / "wheel").write_bytes(content)
    report = _unpack_into_link(tmp_path, elsewhere)
    assert report is None
    assert list(elsewhere.iterdir()) == []


def _unpack_into_link(folder: Path, elsewhere: Path) -> dict[str, object] | None:
    (folder / "tree").mkdir()
    (folder / "tree" / "z").symlink_to(elsewhere)
    order = UnpackOrder(
        parent=os.getpid(), wheel=str(folder / "wheel"), target=str(folder / "tree"),
        package="zebrafact", version="1.0", max_bytes=1 << 20, max_files=100, is_trusted=False,
    )  # fmt: skip

    async def work() -> bool:
        async with asyncio.timeout(30):
            ended = await run_child(
                order.to_words(), environment={"PATH": os.defpath}, folder=folder,
                max_text_bytes=1 << 16,
            )  # fmt: skip
        return ended.code == 0

    return {} if asyncio.run(work()) else None
