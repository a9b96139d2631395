"""The set-up's decisions; the steps themselves are replaced by a list of what would be done."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from launcher.index_settings import IndexSettings
from launcher.setup_env import PACKAGES, Setup

from launcher import setup_env

ROOT = Path(__file__).resolve().parents[2]


class Recorder:
    """Stands in for the commands: leaves behind what they would."""

    def __init__(self) -> None:
        self.steps: list[str] = []
        self.fails_at: str | None = None

    def __call__(self, text: str, command: Any, **_: Any) -> None:
        if self.fails_at is not None and self.fails_at in text:
            raise setup_env.SetupError(f"{text} failed.")
        self.steps.append(text)
        if text.startswith("creates"):
            folder = Path(command[-1])
            shutil.rmtree(folder, ignore_errors=True)
            (folder / "bin").mkdir(parents=True)
            (folder / "bin" / "python").symlink_to(sys.executable)
            version = ".".join(map(str, sys.version_info[:3]))
            (folder / "pyvenv.cfg").write_text(f"version = {version}\n")
        if text == "installs uv":
            (Path(command[0]).parent / "uv").touch()
        if text == "installs dev.lock":
            tools = Path(command[0]).parents[1] / "lib/python3/site-packages/pytest"
            tools.mkdir(parents=True, exist_ok=True)
            (tools / "__init__.py").touch()


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    recorder = Recorder()
    monkeypatch.setattr(setup_env, "_step", recorder)
    monkeypatch.setattr(setup_env, "_say", lambda _: None)
    monkeypatch.setattr(Setup, "_index", lambda _: IndexSettings())
    monkeypatch.setattr(sys, "platform", "linux")
    return recorder


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "a folder with spaces"
    (root / "requirements").mkdir(parents=True)
    for name in ("runtime", "dev", "cells", "bootstrap"):
        (root / "requirements" / f"{name}.lock").write_text(f"{name}==1\n")
    for package in PACKAGES:
        (root / package).mkdir()
        (root / package / "pyproject.toml").write_text("[project]\n")
    return root


ALL = [
    *("creates .venv", "installs uv", "installs runtime.lock", "installs the workspace's packages"),
    *("creates .cells", "installs cells.lock"),
]


def steps(recorder: Recorder) -> list[str]:
    found = [step.partition(" (")[0] for step in recorder.steps]
    recorder.steps.clear()
    return found


def test_first_set_up_does_all_and_the_second_nothing(root: Path, recorder: Recorder) -> None:
    Setup(root).install("runtime")
    assert steps(recorder) == ALL
    Setup(root).install("runtime")
    assert steps(recorder) == []


def test_tests_need_more_and_the_stack_is_content_with_more(root: Path, recorder: Recorder) -> None:
    Setup(root).install("runtime")
    steps(recorder)
    Setup(root).install("dev")
    assert steps(recorder)[0] == "installs dev.lock"
    Setup(root).install("runtime")
    assert steps(recorder) == []


def test_changed_lock_is_installed_and_keeps_the_test_tools(root: Path, recorder: Recorder) -> None:
    Setup(root).install("dev")
    steps(recorder)
    (root / "requirements" / "dev.lock").write_text("dev==2\n")
    Setup(root).install("runtime")
    assert "installs dev.lock" in steps(recorder)


def test_new_uv_is_installed(root: Path, recorder: Recorder) -> None:
    Setup(root).install("runtime")
    steps(recorder)
    (root / "requirements" / "bootstrap.lock").write_text("uv==2\n")
    Setup(root).install("runtime")
    assert "installs uv" in steps(recorder)


def test_set_up_that_was_cut_off_goes_on(root: Path, recorder: Recorder) -> None:
    recorder.fails_at = "installs runtime.lock"
    with pytest.raises(setup_env.SetupError):
        Setup(root).install("runtime")
    steps(recorder)
    recorder.fails_at = None
    Setup(root).install("runtime")
    assert steps(recorder) == ALL[2:]


def test_environment_whose_python_is_gone_is_made_anew(root: Path, recorder: Recorder) -> None:
    Setup(root).install("runtime")
    steps(recorder)
    python = root / ".venv" / "bin" / "python"
    python.unlink()
    python.symlink_to(root / "gone")
    Setup(root).install("runtime")
    assert steps(recorder)[0] == "creates .venv"


def test_moved_folder_is_installed_again(root: Path, recorder: Recorder) -> None:
    Setup(root).install("runtime")
    steps(recorder)
    moved = root.rename(root.with_name("moved"))
    Setup(moved).install("runtime")
    assert "installs the workspace's packages" in steps(recorder)


def test_every_package_of_the_workspace_is_installed() -> None:
    members = {path.parent.name for path in ROOT.glob("*/pyproject.toml")}
    assert members == set(PACKAGES)


def test_locks_name_no_index_and_pin_by_hash() -> None:
    for name in ("runtime", "dev", "cells", "bootstrap"):
        lines = (ROOT / "requirements" / f"{name}.lock").read_text(encoding="utf-8").splitlines()
        pinned = [line for line in lines if line[:1].isalnum()]
        assert pinned
        assert all("==" in line and line.endswith("\\") for line in pinned)
        assert sum("--hash=sha256:" in line for line in lines) >= len(pinned)
        assert not any("://" in line or line.startswith("--") for line in lines)


def test_folder_of_another_user_is_a_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied", ".run/set-up.lock")

    monkeypatch.setattr(Setup, "install", refuse)
    assert setup_env.main(["x", "runtime"]) == 1
    assert ".run/set-up.lock: Permission denied" in capsys.readouterr().err


def test_unknown_kind_is_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert setup_env.main(["x", "everything"]) == 1
    assert "use runtime, dev or lock" in capsys.readouterr().err


def test_script_runs_by_path_with_nothing_installed() -> None:
    base = str(getattr(sys, "_base_executable", sys.executable))
    path = ROOT / "launcher" / "src" / "launcher" / "setup_env.py"
    done = subprocess.run(
        [base, "-S", str(path), "nonsense"],
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 1
    assert "nonsense is no kind of set-up" in done.stderr
