"""The user's folder: unseen by default, read or changed by a setting, and nothing beyond it."""

import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sandbox_runner import client
from sandbox_runner.client import RunnerSession
from sandbox_runner.launch import RunnerProcess
from sandbox_runner.settings import SettingsError, load

StartRunner = Callable[..., RunnerProcess]
MODES = [{}, {"subprocesses": "1"}, {"private_mounts": "0", "tmpfs": "0"}]


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "closed" / "workspace"
    folder.mkdir(parents=True)
    folder.parent.chmod(0o700)  # as a clone in somebody's home
    (folder / "data.csv").write_text("a,b\n1,2\n")
    (tmp_path / "secret").write_text("canary")
    (folder / "out").symlink_to(tmp_path / "secret")
    (folder / "up").symlink_to("..")
    (folder / "system").symlink_to("/etc/passwd")
    yield folder
    assert (tmp_path / "secret").read_text() == "canary"
    assert stat.S_IMODE(folder.parent.stat().st_mode) == 0o700


def _start(start_runner: StartRunner, folder: Path, mode: str, **settings: str) -> RunnerProcess:
    if os.geteuid() == 0 and settings.get("private_mounts") == "0":
        settings.pop("private_mounts")  # root needs them to reach a closed folder
    environment = {"SANDBOX_WORKSPACE": mode} if mode else {}
    runner = start_runner(
        workspace_dir=str(folder), pool="1", slots="4", environment=environment, **settings
    )
    if not client.hello(runner.socket).is_safe:
        pytest.skip("this kernel cannot confine a session")
    return runner


def _fails(session: RunnerSession, code: str) -> str:
    done = session.run(code).done
    assert done.error is not None, (code, done.result)
    return done.error.type


@pytest.mark.parametrize("mode", ["", "off"])
def test_workspace_is_unseen_by_default(
    start_runner: StartRunner, workspace: Path, mode: str
) -> None:
    with RunnerSession(_start(start_runner, workspace, mode).socket) as session:
        assert _fails(session, "open('workspace/data.csv')") == "FileNotFoundError"
        assert _fails(session, f"open({str(workspace / 'data.csv')!r})") in {
            "FileNotFoundError",
            "PermissionError",
        }
        assert session.run("import os\nos.environ.get('WORKSPACE')").done.result is None
        assert session.files().entries == ()


@pytest.mark.parametrize("settings", MODES, ids=str)
def test_read_only_workspace_is_read_and_never_changed(
    start_runner: StartRunner, workspace: Path, settings: dict[str, str]
) -> None:
    before = sorted(os.listdir(workspace))  # noqa: PTH208  # names are enough
    runner = _start(start_runner, workspace, "ro", **settings)
    with RunnerSession(runner.socket) as session:
        assert session.run("open('workspace/data.csv').read()").done.result == "'a,b\\n1,2\\n'"
        for path in ("os.environ['WORKSPACE']", repr(str(workspace))):
            listed = session.run(f"import os\nsorted(os.listdir({path}))").done.result
            assert listed == repr(before)
        for code in (
            "open('workspace/new', 'w')",
            "open('workspace/data.csv', 'a')",
            "open('workspace/data.csv', 'r+')",
            "os.remove('workspace/data.csv')",
            "os.mkdir('workspace/d')",
            "os.rename('workspace/data.csv', 'workspace/other')",
            "os.rename('workspace/data.csv', 'mine')",
            "os.symlink('x', 'workspace/s')",
            "os.link('workspace/data.csv', 'workspace/second')",
            "os.truncate('workspace/data.csv', 0)",
        ):
            assert _fails(session, code) in {"PermissionError", "OSError"}, code
        session.run("os.chmod('workspace/data.csv', 0o777)\nos.utime('workspace/data.csv', (0, 0))")
    assert sorted(os.listdir(workspace)) == before  # noqa: PTH208  # as above
    assert (workspace / "data.csv").read_text() == "a,b\n1,2\n"
    assert (workspace / "data.csv").stat().st_mtime > 1
    states = {item.name: item.state for item in client.hello(runner.socket).protections}
    assert states["workspace"] == "disabled"


@pytest.mark.parametrize("settings", MODES, ids=str)
def test_writable_workspace_is_changed_and_nothing_else(
    start_runner: StartRunner, workspace: Path, settings: dict[str, str]
) -> None:
    runner = _start(start_runner, workspace, "rw", **settings)
    with RunnerSession(runner.socket) as session:
        done = session.run(
            "import os\nopen('workspace/result.txt', 'w').write('42')\n"
            "os.makedirs('workspace/d/e')\nopen('workspace/d/e/f', 'w').close()\n"
            "os.rename('workspace/d/e/f', 'workspace/g')\nos.remove('workspace/g')\n"
            "os.rmdir('workspace/d/e')"
        )
        assert done.done.status == "ok", done.done.error
        assert [e.path for e in done.done.files.added] == []  # the lists are of the session's own
        for code in (
            "open('workspace/out').read()",
            "open('workspace/out', 'w')",
            "open('workspace/up/secret').read()",
            "open('workspace/up/new', 'w')",
            "open('workspace/system').read()",
            "os.symlink('/etc/passwd', 'workspace/trap')",
            "os.mkfifo('workspace/fifo')",
            # Whoever started it would be the one who wrote it, and here that may be the user.
            "os.open('workspace/tool', os.O_CREAT | os.O_WRONLY, 0o4755)",
            "os.open('workspace/tool', os.O_CREAT | os.O_WRONLY, 0o2755)",
            f"open({str(workspace.parent / 'beside')!r}, 'w')",
        ):
            refusals = {"PermissionError", "FileNotFoundError", "OSError"}
            assert _fails(session, code) in refusals, code
        assert session.read_file("workspace/data.csv") != b"a,b\n1,2\n"
    assert (workspace / "result.txt").read_text() == "42"
    assert (workspace / "result.txt").stat().st_mode & stat.S_IROTH  # its owner may be another
    assert sorted(p.name for p in workspace.parent.iterdir()) == ["workspace"]


def test_nothing_in_the_workspace_is_run(start_runner: StartRunner, workspace: Path) -> None:
    script = workspace / "script.sh"
    script.write_text("#!/bin/sh\necho ran\n")
    script.chmod(0o755)
    runner = _start(start_runner, workspace, "ro", subprocesses="1")
    with RunnerSession(runner.socket) as session:
        assert session.run("import subprocess\nsubprocess.run(['true']).returncode").done.result
        code = "subprocess.run(['workspace/script.sh'])"
        assert _fails(session, code) == "PermissionError"


def test_fresh_sessions_see_the_workspace_each(start_runner: StartRunner, workspace: Path) -> None:
    runner = _start(start_runner, workspace, "rw")
    with RunnerSession(runner.socket) as session:
        session.run("open('workspace/shared', 'w').write('1')")
    with RunnerSession(runner.socket) as session:
        assert session.run("open('workspace/shared').read()").done.result == "'1'"
        session.reset()
        assert session.run("open('workspace/shared').read()").done.result == "'1'"
    assert (workspace / "shared").exists()  # the slots were wiped, and not what a link leads to


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"SANDBOX_WORKSPACE": "yes"}, "must be off, ro or rw"),
        ({"SANDBOX_WORKSPACE": "rw", "SANDBOX_RUNNER_WORKSPACE_DIR": "here"}, "absolute"),
    ],
)
def test_wrong_setting_is_a_sentence(variables: dict[str, str], words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        load(variables)


def test_missing_folder_is_a_sentence(start_runner: StartRunner, tmp_path: Path) -> None:
    with RunnerProcess(
        tmp_path,
        settings={"workspace_dir": str(tmp_path / "nowhere")},
        environment={"SANDBOX_WORKSPACE": "ro"},
    ) as runner:
        assert runner.process.wait(20) == 78
    assert "there is no folder" in runner.log.read_text()


def test_empty_setting_is_off() -> None:
    assert load({"SANDBOX_WORKSPACE": ""}).workspace_rule is None
