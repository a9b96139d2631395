"""Files of a session and the lists of what a run changed, over the runner's own socket."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from sandbox_runner import client
from sandbox_runner.client import CellRun, RunnerSession
from sandbox_runner.file_messages import (
    FileChanges,
    FileDeleted,
    FileEnd,
    FileOpened,
    FileRefused,
    FileWritten,
    ReadFile,
    WriteFile,
)
from sandbox_runner.launch import RunnerProcess
from sandbox_runner.protocol import Cancel, Reset, ResetDone
from sandbox_runner.slot_changes import ChangeWatch
from sandbox_support.session_processes import warden_of, worker_of

StartRunner = Callable[..., RunnerProcess]
MIB = 1 << 20


def lists(run: CellRun) -> tuple[list[str], list[str], list[str]]:
    files = run.done.files
    added, changed, deleted = (
        [entry.path for entry in part] for part in (files.added, files.changed, files.deleted)
    )
    return added, changed, deleted


def reason(answer: object) -> str:
    assert isinstance(answer, FileRefused), answer
    assert answer.detail.endswith(".")
    return answer.reason


# ---------------------------------------------------------------- what a run changed


def test_run_lists_what_it_added_changed_and_deleted(session: RunnerSession) -> None:
    first = session.run("import os\nopen('a', 'w').write('1')\nopen('b', 'w').write('22')")
    assert lists(first) == (["a", "b"], [], [])
    assert [entry.size_bytes for entry in first.done.files.added] == [1, 2]
    assert abs(first.done.files.added[0].modified - time.time()) < 60
    second = session.run("open('a', 'a').write('3')\nos.remove('b')\nopen('c', 'w').close()")
    assert lists(second) == (["c"], ["a"], ["b"])
    assert lists(session.run("1")) == ([], [], [])


def test_writes_in_quick_succession_all_show(session: RunnerSession) -> None:
    session.run("def put(n): open('same', 'w').write(str(n))")
    session.run("put(0)")
    for number in range(1, 10):
        assert lists(session.run(f"put({number})")) == ([], ["same"], [])
    assert lists(session.run("open('same').read()")) == ([], [], [])


def test_replaced_renamed_and_linked_files_are_told_apart(session: RunnerSession) -> None:
    session.run("import os\nos.makedirs('d/e')\nopen('d/e/f', 'w').write('x')")
    assert lists(session.run("os.rename('d/e/f', 'g')")) == (["g"], [], ["d/e/f"])
    replaced = session.run("open('t', 'w').write('y')\nos.replace('t', 'g')")
    assert lists(replaced) == ([], ["g"], [])
    linked = session.run("os.symlink('/etc/passwd', 'l')")
    assert [(e.path, e.kind) for e in linked.done.files.added] == [("l", "link")]


def test_run_that_was_killed_lists_its_files_too(session: RunnerSession) -> None:
    run = session.run("open('left', 'w').write('x')\nwhile True: pass", 0.3)
    assert run.done.status == "timeout"
    assert lists(run) == (["left"], [], [])


def test_odd_names_come_through_whole(session: RunnerSession) -> None:
    run = session.run(
        "names = [b'new\\nline', b'\\xff\\xfe', 'ü'.encode(), b'a' * 255, b'-rf', b'\"q']\n"
        "for name in names: open(name, 'w').close()"
    )
    found = {os.fsencode(entry.path) for entry in run.done.files.added}
    assert found == {b"new\nline", b"\xff\xfe", "ü".encode(), b"a" * 255, b"-rf", b'"q'}
    assert session.read_file(os.fsdecode(b"\xff\xfe")) == b""


def test_list_is_cut_and_says_so(session: RunnerSession) -> None:
    run = session.run("for n in range(3000): open(f'f{n:04}', 'w').close()")
    assert len(run.done.files.added) == 100
    assert run.done.files.added[0].path == "f0000"
    assert run.done.files.is_truncated
    quiet = session.run("1")
    assert lists(quiet) == ([], [], [])
    assert not quiet.done.files.is_truncated


@pytest.mark.parametrize("tmpfs", ["1", "0"])
def test_looks_are_bounded_whatever_was_written(start_runner: StartRunner, tmpfs: str) -> None:
    mounts = "1" if os.geteuid() == 0 else "0"
    runner = start_runner(pool="1", tmpfs=tmpfs, private_mounts=mounts, disk_entries="1000000")
    if not client.hello(runner.socket).is_safe:
        pytest.skip("this kernel cannot confine a session")
    cases = {
        "entries": "for n in range(60000): open(f'{n}', 'w').close()",
        "deep": "import os\nfor n in range(3000):\n    os.mkdir('d')\n    os.chdir('d')\n",
        "sparse": "open('s', 'wb').truncate(60 << 20)\nopen('n' * 200, 'w').close()",
        "closed": "import os\nos.mkdir('x', 0o300)\nopen('x/in', 'w').close()",
    }
    for name, code in cases.items():
        with RunnerSession(runner.socket) as session:
            started = time.monotonic()
            run = session.run(code, 20)
            spent = time.monotonic() - started - run.done.duration_ms / 1000
            assert spent < 3, (name, spent)  # the look is bounded by a quarter of a second
            if name == "closed":
                assert lists(run)[0] == ["x/in"]
            if name in {"entries", "deep"}:
                assert run.done.files.is_truncated, name


def test_hidden_folder_counts_where_the_disk_is_watched(start_runner: StartRunner) -> None:
    mounts = "1" if os.geteuid() == 0 else "0"
    runner = start_runner(pool="1", tmpfs="0", private_mounts=mounts, disk_entries="200")
    if not client.hello(runner.socket).is_safe:
        pytest.skip("this kernel cannot confine a session")
    hidden = (
        "import os, time\nos.mkdir('x', 0o300)\nfor n in range(500): open(f'x/{n}', 'w').close()"
    )
    wide = "import os\nfor n in range(1500): os.mkdir(f'd{n}')\n"
    deep = "import os\nfor n in range(400):\n    os.mkdir('d')\n    os.chdir('d')\n"
    for code in (hidden, wide, deep):
        with RunnerSession(runner.socket) as session:
            run = session.run(code + "\nimport time\ntime.sleep(3)", 5)
            assert run.done.status == "killed", code
            assert run.done.error is not None
            assert run.done.error.type == "DiskLimit"


# ---------------------------------------------------------------- the files themselves


def test_file_comes_and_goes_byte_by_byte(session: RunnerSession) -> None:
    content = os.urandom(3 * MIB + 17)
    written = session.write_file("up/there/data.bin", content)
    assert isinstance(written, FileWritten)
    assert (written.is_new, written.entry.size_bytes) == (True, len(content))
    check = "import hashlib\nhashlib.sha256(open('up/there/data.bin', 'rb').read()).hexdigest()"
    run = session.run(check)
    assert run.done.result is not None
    assert len(run.done.result) == 66
    assert lists(run) == ([], [], [])  # what was uploaded is no run's doing
    assert session.read_file("up/there/data.bin") == content
    assert isinstance(session.write_file("up/there/data.bin", b""), FileWritten)
    assert session.read_file("up/there/data.bin") == b""
    assert isinstance(session.delete_file("up/there/data.bin"), FileDeleted)
    assert reason(session.read_file("up/there/data.bin")) == "not-found"
    assert [entry.path for entry in session.files().entries] == ["up", "up/there"]


def test_listing_tells_kinds_and_sizes(session: RunnerSession) -> None:
    session.run("import os\nos.mkdir('d')\nopen('d/f', 'w').write('xyz')\nos.symlink('d', 'l')")
    listed = session.files()
    assert [(e.path, e.kind, e.size_bytes) for e in listed.entries] == [
        ("d", "folder", 0),
        ("d/f", "file", 3),
        ("l", "link", 1),
    ]
    assert not listed.is_truncated


BAD_PATHS = [
    *("", "/etc/passwd", "../x", "a/../../x", "a/./b", "a//b", "a/", ".", "..", "nul\0byte"),
    *("x" * 256, "/".join(["d"] * 65), "/".join(["d" * 200] * 6), "half\ud800"),
]


@pytest.mark.parametrize("path", BAD_PATHS, ids=lambda path: repr(path)[:20])
def test_path_that_is_none_is_refused(session: RunnerSession, path: str) -> None:
    assert reason(session.read_file(path)) == "bad-path"
    assert reason(session.write_file(path, b"x")) == "bad-path"
    assert reason(session.delete_file(path)) == "bad-path"
    assert session.run("print(6*7)").stdout == b"42\n"


@pytest.mark.parametrize("path", ["a\nb", "a\rb", "tab\t", "\x7f", "d\n/x"])
def test_new_file_may_not_break_lines(session: RunnerSession, path: str) -> None:
    assert reason(session.write_file(path, b"x")) == "bad-path"
    assert session.files().entries == ()


TRAPS = """
import os
open('plain', 'w').write('x')
os.mkdir('folder')
os.symlink('/etc/passwd', 'link')
os.symlink('/etc', 'linkdir')
os.symlink('..', 'up')
os.symlink('folder', 'inner')
os.symlink('loop', 'loop')
os.link('plain', 'second')
os.close(os.open('closed', os.O_CREAT | os.O_WRONLY, 0))
os.mkdir('closedir', 0)
"""


def test_only_plain_files_with_one_name_are_read(session: RunnerSession) -> None:
    assert session.run(TRAPS).done.status == "ok"
    for path in ("link", "loop", "folder", "plain", "second", "inner", "up", "plain/x"):
        assert reason(session.read_file(path)) == "not-a-file", path
    for path in ("linkdir/passwd", "up/x", "inner/x", "loop/x", "link/x"):
        assert reason(session.read_file(path)) == "not-a-file", path
        assert reason(session.write_file(path, b"x")) == "not-a-file", path
        assert reason(session.delete_file(path)) == "not-a-file", path
    assert reason(session.read_file("closed")) == "unreadable"


def test_what_is_no_file_is_not_written_over(session: RunnerSession) -> None:
    session.run(TRAPS)
    for path in ("link", "loop", "folder"):
        assert reason(session.write_file(path, b"x")) == "not-a-file", path
    # Of a file with two names only the one that is named gets the new content.
    assert reason(session.delete_file("folder")) == "not-a-file"
    assert isinstance(session.write_file("second", b"new"), FileWritten)
    assert session.run("open('plain').read()").done.result == "'x'"
    assert isinstance(session.delete_file("link"), FileDeleted)
    assert not [e for e in session.files().entries if e.path.startswith(".upload")]


def test_file_over_its_bound_and_full_session_are_refused(start_runner: StartRunner) -> None:
    runner = start_runner(pool="1", file_bytes=str(2 * MIB), disk_bytes=str(3 * MIB))
    with RunnerSession(runner.socket) as session:
        assert reason(session.write_file("big", b"x" * (2 * MIB + 1))) == "too-large"
        assert isinstance(session.write_file("fits", b"x" * 2 * MIB), FileWritten)
        assert reason(session.write_file("more", b"x" * 2 * MIB)) == "full"
        assert [entry.path for entry in session.files().entries] == ["fits"]
        assert session.run("open('fits').read(1)").done.result == "'x'"


@pytest.mark.parametrize("tmpfs", ["1", "0"])
def test_session_with_all_its_files_takes_no_more(start_runner: StartRunner, tmpfs: str) -> None:
    mounts = "1" if os.geteuid() == 0 else "0"
    runner = start_runner(
        pool="1", tmpfs=tmpfs, private_mounts=mounts, disk_entries="40", disk_bytes=str(MIB)
    )
    with RunnerSession(runner.socket) as session:
        for number in range(38):
            assert isinstance(session.write_file(f"f{number}", b""), FileWritten)
        answers = [session.write_file(f"g{number}", b"") for number in range(5)]
        assert reason(answers[-1]) == "full"
        assert reason(session.write_file("big", b"x" * 2 * MIB)) == "full"
        assert session.run("print(6*7)").stdout == b"42\n"


def test_upload_that_is_given_up_leaves_nothing(session: RunnerSession) -> None:
    session.run("open('old', 'w').write('old')")
    session.send(WriteFile("old"))
    session.send_piece(b"x" * 1000)
    session.send(Cancel())
    assert reason(session.next_event()) == "cancelled"
    assert [entry.path for entry in session.files().entries] == ["old"]
    assert session.run("open('old').read()").done.result == "'old'"


def test_upload_that_is_overtaken_twice_leaves_the_session_whole(session: RunnerSession) -> None:
    session.send(WriteFile("new"))
    session.send_piece(b"x" * 1000)
    session.send(Reset())
    assert reason(session.next_event()) == "cancelled"
    session.send(Reset())
    session.send_piece(b"x" * 1000)  # it was on its way when the service heard of the refusal
    session.send(Cancel())
    assert [type(session.next_event()), type(session.next_event())] == [ResetDone, ResetDone]
    assert session.files().entries == ()
    assert session.run("print(6*7)").stdout == b"42\n"


def test_download_that_is_given_up_leaves_the_session_whole(session: RunnerSession) -> None:
    session.run("open('big', 'wb').write(bytes(30 << 20))")
    session.send(ReadFile("big"))
    assert isinstance(session.next_event(), FileOpened)
    session.send(Cancel())
    end = session.next_event()
    assert isinstance(end, FileEnd)
    assert not end.is_whole
    assert session.run("print(6*7)").stdout == b"42\n"


def test_slow_reader_costs_no_memory(runner: RunnerProcess, session: RunnerSession) -> None:
    warden = warden_of(worker_of(runner, session)).pid
    session.run("open('big', 'wb').write(bytes(60 << 20))")
    before = _resident_bytes(str(warden))
    session.send(ReadFile("big"))
    assert isinstance(session.next_event(), FileOpened)
    assert _resident_bytes(str(warden)) - before < 8 * MIB
    session.send(Cancel())
    session.next_event()


def _resident_bytes(pid: str) -> int:
    with open(f"/proc/{pid}/statm") as file:  # noqa: PTH123  # a path of the kernel's
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_piece_of_a_file_where_none_is_due_ends_the_session(session: RunnerSession) -> None:
    session.send_piece(b"x")
    with pytest.raises((TypeError, client.RefusedError, EOFError, OSError)):
        session.run("1")


def test_second_write_within_one_tick_of_the_clock_shows(tmp_path: Path) -> None:
    """Newer kernels stamp finer; here the second write gets the very stamp of the first."""
    folder = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        file = tmp_path / "same"
        file.write_text("1")
        stamp = file.stat().st_mtime_ns
        watch = ChangeWatch(folder, has_quota=False)
        assert [entry.path for entry in watch.since_last().added] == ["same"]
        for text in "234":
            file.write_text(text)
            os.utime(file, ns=(stamp, stamp))
            assert [entry.path for entry in watch.since_last().changed] == ["same"]
        assert watch.since_last() == FileChanges()
    finally:
        os.close(folder)


def test_listing_of_names_that_grow_as_json_is_cut_and_the_session_lives(
    session: RunnerSession,
) -> None:
    # 9,900 bytes that are no UTF-8, six characters each as JSON: 14 MiB.
    session.run(
        "import os\nfor n in range(9_900): os.close(os.open(b'%05d' % n + b'\\xff' * 240, 0x41))",
        30.0,
    )
    listed = session.files()
    assert listed.is_truncated
    assert len(listed.entries) > 1000
    assert session.run("6 * 7").done.result == "42"


@pytest.mark.parametrize("path", ["a/b/c", "kept/b/c"])
def test_refused_upload_leaves_no_folder_that_it_made(start_runner: StartRunner, path: str) -> None:
    runner = start_runner(pool="1", slots="2", file_bytes="4096")
    with RunnerSession(runner.socket) as session:
        session.run("import os\nos.mkdir('kept')")
        assert reason(session.write_file(path, b"x" * 5000)) == "too-large"
        assert [entry.path for entry in session.files().entries] == ["kept"]
        session.run("open('kept/f', 'w').close()")
        assert reason(session.write_file("kept/d/f/g" + "/x" * 64, b"x")) == "bad-path"
        assert reason(session.write_file("kept/d\nd/f", b"x")) == "bad-path"
        assert reason(session.write_file("kept/f/d/g", b"x")) == "not-a-file"
        assert [entry.path for entry in session.files().entries] == ["kept", "kept/f"]
        assert not isinstance(session.write_file(path, b"x"), FileRefused)
        assert path in [entry.path for entry in session.files().entries]
