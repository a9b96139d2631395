"""Root gives itself up, and the interpreter still works below folders that only root may enter."""

import os
import stat
import sys
import tempfile
import venv
from collections.abc import Iterator
from pathlib import Path

import pytest
from sandbox_runner import client
from sandbox_runner.client import RefusedError, RunnerSession
from sandbox_runner.launch import RunnerProcess

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root has something to give up")


@pytest.fixture(scope="module")
def closed() -> Iterator[RunnerProcess]:
    """A runner whose interpreter, slots and packages all lie in a folder of mode 0700."""
    with tempfile.TemporaryDirectory(prefix="closed-") as name:
        folder = Path(name)
        folder.chmod(0o700)
        venv.create(folder / "venv", with_pip=False, symlinks=True)
        runner = RunnerProcess(folder, python=str(folder / "venv/bin/python"))
        with runner:
            states = {item.name: item.state for item in client.hello(runner.socket).protections}
            if states["private-mounts"] != "active":
                pytest.skip("without mounts a closed interpreter is refused")
            yield runner


def test_late_imports_work_below_a_closed_folder(closed: RunnerProcess) -> None:
    with RunnerSession(closed.socket) as session:
        run = session.run("import os, sys, xml.dom.minidom, sqlite3\nos.getuid(), sys.prefix")
    assert run.done.error is None
    assert run.done.result == f"(64123, '{closed.folder}/venv')"


def test_permissions_of_the_folder_stay_as_they_are(closed: RunnerProcess) -> None:
    client.hello(closed.socket)
    assert stat.S_IMODE(closed.folder.stat().st_mode) == 0o700
    assert f" {closed.folder} " not in Path("/proc/self/mounts").read_text()


def test_package_set_added_later_can_be_used(closed: RunnerProcess) -> None:
    package_set = closed.packages_dir / "sets" / "set-1"
    package_set.mkdir()
    (package_set / "added_later.py").write_text("value = 7")
    with RunnerSession(closed.socket) as session:
        assert session.run("import added_later").done.status == "error"
        session.use_packages(str(package_set))
        assert session.run("import added_later; added_later.value").done.result == "7"
    with RunnerSession(closed.socket, package_path=str(package_set)) as session:
        assert session.run("import added_later; added_later.value").done.result == "7"


def test_package_set_can_not_be_written(closed: RunnerProcess) -> None:
    with RunnerSession(closed.socket) as session:
        run = session.run(f"open({str(closed.packages_dir / 'x')!r}, 'w')")
    assert run.done.error is not None
    assert run.done.error.type in {"PermissionError", "OSError"}


def test_folder_outside_the_package_folder_is_refused(closed: RunnerProcess) -> None:
    with pytest.raises(RefusedError, match="not among"):
        RunnerSession(closed.socket, package_path=str(closed.packages_dir / "../../etc"))


def test_rest_of_the_machine_is_not_there(closed: RunnerProcess) -> None:
    with RunnerSession(closed.socket) as session:
        paths = [str(closed.socket), str(closed.log), str(Path(__file__).resolve()), "/root/.ssh"]
        run = session.run(f"import os\n[p for p in {paths!r} if os.path.exists(p)]")
    assert run.done.result == "[]"
    assert sys.prefix


def test_sets_of_others_can_not_be_found(closed: RunnerProcess) -> None:
    sets = closed.packages_dir / "sets"
    own = sets / "own"
    own.mkdir()
    (own / "mine_alone.py").write_text("value = 8")
    sets.chmod(0o711)
    with RunnerSession(closed.socket, package_path=str(own)) as session:
        assert session.run("import mine_alone; mine_alone.value").done.result == "8"
        done = session.run(f"import os\nos.listdir({str(sets)!r})").done
        assert done.error is not None
        assert done.error.type == "PermissionError"


def test_of_the_packages_folder_only_sets_are_seen(closed: RunnerProcess) -> None:
    (closed.packages_dir / "default.json").write_text("{}")
    (closed.packages_dir / "wheels").mkdir(exist_ok=True)
    (closed.packages_dir / "wheels" / "w").write_text("x")
    with RunnerSession(closed.socket) as session:
        for path in ("default.json", "wheels/w"):
            done = session.run(f"open({str(closed.packages_dir / path)!r}).read()").done
            assert done.error is not None
            assert done.error.type in {"PermissionError", "FileNotFoundError"}
    with pytest.raises(client.RefusedError):
        RunnerSession(closed.socket, package_path=str(closed.packages_dir / "wheels"))
