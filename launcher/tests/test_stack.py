import os
import subprocess
import sys
from pathlib import Path

import pytest
from launcher.settings import load_launcher_settings

from launcher import stack


@pytest.fixture
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    # Short enough for a Unix socket, which pytest's own folders may not be.
    folder = tmp_path if len(str(tmp_path)) < 60 else Path("/dev/shm")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(folder))
    return folder


def test_socket_folder_is_private_and_goes_with_the_stack(base: Path) -> None:
    with stack._private_socket_dir() as folder:
        assert folder.parent == base
        assert folder.stat().st_mode & 0o777 == 0o711
        assert len(str(folder / "runner.sock")) < 100
    assert not folder.exists()


def test_folder_of_a_dead_supervisor_is_cleared_and_a_living_ones_kept(base: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", "pass"]) as gone:
        pass
    dead, living, foreign = (base / f"mcp-stack-{name}" for name in ("dead", "live", "else"))
    for folder, owner in ((dead, gone.pid), (living, os.getpid()), (foreign, "")):
        folder.mkdir()
        (folder / "supervisor.pid").write_text(str(owner))
    try:
        with stack._private_socket_dir():
            assert not dead.exists()
            assert living.exists()
            assert foreign.exists()
    finally:
        for folder in (living, foreign):
            (folder / "supervisor.pid").unlink()
            folder.rmdir()


def test_cells_run_in_their_own_environment_and_never_in_ours(tmp_path: Path) -> None:
    settings = load_launcher_settings(tmp_path, {})
    assert stack.cell_python(settings) == getattr(sys, "_base_executable", sys.executable)
    cells = tmp_path / ".cells" / "bin" / "python"
    cells.parent.mkdir(parents=True)
    cells.touch()
    assert stack.cell_python(settings) == str(cells)
    chosen = load_launcher_settings(tmp_path, {"LAUNCHER_CELL_PYTHON": "/opt/python"})
    assert stack.cell_python(chosen) == "/opt/python"
