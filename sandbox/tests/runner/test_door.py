"""Where the runner's socket may lie: nobody else can put one of theirs in its place."""

import os
import stat
from pathlib import Path

import pytest
from sandbox_runner import door
from sandbox_runner.failure import RunnerFailed


def test_missing_folder_is_made_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "new" / "runner.sock"
    with door.bind(str(path), None):
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_group_that_may_enter_is_let_in(tmp_path: Path) -> None:
    # As the containers' volume: the group enters and sees the socket, and writes nothing there.
    tmp_path.chmod(0o2750)
    path = tmp_path / "runner.sock"
    with door.bind(str(path), os.getegid()):
        assert stat.S_IMODE(path.stat().st_mode) == 0o660


@pytest.mark.parametrize("mode", [0o1777, 0o777, 0o770, 0o702])
def test_folder_that_others_may_write_to_is_refused(tmp_path: Path, mode: int) -> None:
    tmp_path.chmod(mode)
    with pytest.raises(RunnerFailed, match="cannot lie in"):
        door.bind(str(tmp_path / "runner.sock"), None)
    assert not (tmp_path / "runner.sock").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_folder_or_link_of_somebody_else_is_refused(tmp_path: Path) -> None:
    theirs, mine, link = (tmp_path / name for name in ("theirs", "mine", "link"))
    theirs.mkdir(0o700)
    mine.mkdir(0o700)
    link.symlink_to(mine)
    os.chown(theirs, 12345, -1)
    os.chown(link, 12345, -1, follow_symlinks=False)
    for folder in (theirs, link):
        with pytest.raises(RunnerFailed, match="cannot lie in"):
            door.bind(str(folder / "runner.sock"), None)
    door.bind(str(mine / "runner.sock"), None).close()
