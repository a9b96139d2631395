"""How `make backup` holds writers still, with a `docker` that answers as told."""

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# Everything runs; a pause fails as often as FAILURES says; the copy is empty, or cut off.
_DOCKER = """#!/bin/sh
echo "$*" >>asked
case "$*" in
    "compose ps -q"*) echo "id-$4" ;;
    inspect*) echo true ;;
    pause*)
        echo x >>tries
        [ "$(wc -l <tries)" -gt "$FAILURES" ] || { echo "unable to freeze" >&2; exit 1; }
        ;;
    "compose run"*) if [ "${CUT:-}" ]; then echo cut; else printf '' | gzip; fi ;;
esac
"""
# The pause between two tries is the script's own; a test need not wait for it.
_SLEEP = "#!/bin/sh\n"


def backup(folder: Path, *, failures: int = 0, **env: str) -> tuple[int, str, list[str]]:
    shutil.copytree(ROOT / "docker", folder / "docker")
    for name, text in {"docker": _DOCKER, "sleep": _SLEEP}.items():
        path = folder / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
        path.chmod(0o755)
    done = subprocess.run(
        ["sh", "docker/backup.sh", "backup", "mine.tar"],
        cwd=folder,
        env={"PATH": f"{folder / 'bin'}:/usr/bin:/bin", "FAILURES": str(failures), **env},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    asked = (folder / "asked").read_text(encoding="utf-8").splitlines()
    return done.returncode, done.stdout + done.stderr, asked


def test_writers_are_paused_for_the_copy_and_go_on_after_it(tmp_path: Path) -> None:
    status, said, asked = backup(tmp_path)

    assert status == 0, said
    order = [line for line in asked if line.startswith(("pause", "unpause", "compose run"))]
    assert [line.split()[0] for line in order] == ["pause"] * 3 + ["compose"] + ["unpause"] * 3


def test_a_pause_that_fails_is_tried_again(tmp_path: Path) -> None:
    status, said, asked = backup(tmp_path, failures=2)

    assert status == 0, said
    assert not [line for line in asked if line.startswith("stop")]
    assert len([line for line in asked if line.startswith("unpause")]) == 3


def test_what_cannot_be_paused_is_stopped_and_started_again(tmp_path: Path) -> None:
    status, said, asked = backup(tmp_path, failures=5)

    assert status == 0, said
    assert "can't be paused" in said
    assert [line for line in asked if line.startswith(("stop", "start"))] == [
        "stop --time 20 id-prometheus",
        "start id-prometheus",
    ]


@pytest.mark.parametrize("failures", [0, 5])
def test_a_copy_that_fails_leaves_no_file_and_nothing_held(tmp_path: Path, failures: int) -> None:
    status, said, asked = backup(tmp_path, failures=failures, CUT="1")

    assert status == 1
    assert "cut off" in said
    assert not (tmp_path / "mine.tar").exists()
    held = len([line for line in asked if line.startswith(("stop ", "pause "))]) - failures
    assert len([line for line in asked if line.startswith(("start ", "unpause "))]) >= min(held, 3)
    assert not list(tmp_path.glob(".backup.*"))
