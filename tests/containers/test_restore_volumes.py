"""A restore that fails leaves what was there; one that does not, leaves nothing of it."""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("grafana", "packages", "prometheus", "workspace")


def written(place: Path, files: dict[str, str]) -> Path:
    for folder in FOLDERS:
        (place / folder).mkdir(parents=True)
    for name, text in files.items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_text(text, encoding="utf-8")
    return place


def content(place: Path) -> dict[str, str]:
    """Read all that is there: files, and where links point."""
    found = {}
    for path in sorted(place.rglob("*")):
        name = str(path.relative_to(place))
        if path.is_symlink():
            found[name] = f"-> {path.readlink()}"
        elif path.is_file():
            found[name] = path.read_text(encoding="utf-8")
        elif not any(path.iterdir()):
            found[name] = "empty"
    return found


@pytest.fixture
def there(tmp_path: Path) -> Path:
    files = {
        "grafana/grafana.db": "old",
        "packages/sets/.hidden/a": "old",
        "workspace/a file": "old",
        "workspace/.mine": "old",
    }
    return written(tmp_path / "volumes", files)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    place = written(
        tmp_path / "saved",
        {
            "grafana/grafana.db": "new",
            "prometheus/block/index": "n" * 200_000,
            "workspace/grafana/x": "new",
        },
    )
    (place / "workspace" / "link").symlink_to("grafana/x")
    (place / "workspace" / "same").hardlink_to(place / "workspace" / "grafana" / "x")
    (place / "workspace" / "grafana").chmod(0o750)
    return place


def archive(place: Path) -> bytes:
    command = ["tar", "-C", str(place), "-czf", "-", *FOLDERS]
    return subprocess.run(command, capture_output=True, check=True, timeout=30).stdout


def restore(place: Path, data: bytes, *, limit: str = "", path: str = "") -> tuple[int, str]:
    script = f"{limit}\nexec sh '{ROOT}/docker/restore_volumes.sh' '{place}' {' '.join(FOLDERS)}"
    done = subprocess.run(
        ["sh", "-c", script],
        input=data,
        env={"PATH": f"{path}:/usr/bin:/bin", "REAL": "/bin"},
        capture_output=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stderr.decode()


def test_what_was_saved_takes_the_place_of_what_is_there(there: Path, saved: Path) -> None:
    status, said = restore(there, archive(saved))

    assert status == 0, said
    assert content(there) == content(saved)
    assert (there / "workspace" / "same").samefile(there / "workspace" / "grafana" / "x")
    assert (there / "workspace" / "grafana").stat().st_mode & 0o777 == 0o750
    assert restore(there, archive(saved))[0] == 0
    assert content(there) == content(saved)


@pytest.mark.parametrize("limit", ["ulimit -f 100", "ulimit -f 0"])
def test_a_disk_that_gets_full_leaves_what_was_there(there: Path, saved: Path, limit: str) -> None:
    before = content(there)

    status, _ = restore(there, archive(saved), limit=limit)

    assert status != 0
    assert content(there) == before


def test_a_backup_that_is_cut_off_leaves_what_was_there(there: Path, saved: Path) -> None:
    before = content(there)

    assert restore(there, archive(saved)[:-200])[0] != 0
    assert content(there) == before


# Fails, or waits to be killed, at the move that NTH is.
_MOVE = """#!/bin/sh
echo x >>"$0.moves"
[ "$(wc -l <"$0.moves")" -ne NTH ] || { END; }
exec /bin/mv "$@"
"""


def moving(folder: Path, nth: int, end: str) -> str:
    folder.mkdir()
    (folder / "mv").write_text(_MOVE.replace("NTH", str(nth)).replace("END", end))
    (folder / "mv").chmod(0o755)
    return str(folder)


def test_a_change_of_places_that_fails_is_undone_or_done(
    there: Path, saved: Path, tmp_path: Path
) -> None:
    before, after, ends = content(there), content(saved), []
    first = archive(there)

    for nth in range(1, 40):
        status, said = restore(
            there, archive(saved), path=moving(tmp_path / f"bin{nth}", nth, "exit 1")
        )
        if status == 0:
            break
        ends.append(content(there))
        assert ends[-1] in (before, after), said
        if ends[-1] == after:  # the first folder was done, so all were
            assert restore(there, first)[0] == 0

    assert status == 0
    assert len(ends) > 10  # there are some fifteen moves
    assert before in ends


def test_a_restore_that_was_killed_is_made_good_by_the_next(
    there: Path, saved: Path, tmp_path: Path
) -> None:
    before = content(there)
    for nth in (1, 3, 7):
        path = moving(tmp_path / f"bin{nth}", nth, "touch $0.waits; sleep 30")
        killed = subprocess.Popen(
            ["sh", str(ROOT / "docker" / "restore_volumes.sh"), str(there), *FOLDERS],
            stdin=subprocess.PIPE,
            env={"PATH": f"{path}:/usr/bin:/bin"},
            start_new_session=True,
        )
        assert killed.stdin is not None
        killed.stdin.write(archive(saved))
        killed.stdin.close()
        end = time.monotonic() + 30
        while not Path(path, "mv.waits").exists() and time.monotonic() < end:
            time.sleep(0.01)
        os.killpg(killed.pid, signal.SIGKILL)
        assert killed.wait(30) == -signal.SIGKILL
        assert content(there) != before

        # What it can't unpack changes nothing, so what was there at first is there again.
        assert restore(there, b"no backup")[0] != 0
        assert content(there) == before
