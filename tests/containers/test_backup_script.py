"""How `make backup` holds writers still, with a `docker` that answers as told."""

import hashlib
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
    "compose run"*" du "*) echo "${KILOBYTES:-0} total" ;;
    "compose run"*) if [ "${CUT:-}" ]; then echo cut; else tar -cf - -T /dev/null; fi ;;
esac
"""
# The pause between two tries is the script's own; a test need not wait for it.
_SLEEP = "#!/bin/sh\n"
_GZIP = '#!/bin/sh\necho gzip >>asked\nexec /usr/bin/gzip "$@"\n'


def backup(
    folder: Path, *, failures: int = 0, path: str = "/usr/bin:/bin", **env: str
) -> tuple[int, str, list[str]]:
    shutil.copytree(ROOT / "docker", folder / "docker")
    for name, text in {"docker": _DOCKER, "sleep": _SLEEP, "gzip": _GZIP}.items():
        program = folder / "bin" / name
        program.parent.mkdir(exist_ok=True)
        program.write_text(text, encoding="utf-8")
        program.chmod(0o755)
    done = subprocess.run(
        ["sh", "docker/backup.sh", "backup", "mine.tar"],
        cwd=folder,
        env={"PATH": f"{folder / 'bin'}:{path}", "FAILURES": str(failures), **env},
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
    order = [line for line in asked if line.startswith(("pause", "unpause", "    tar", "gzip"))]
    words = [line.split()[0] for line in order]
    # What takes long, the compression, is for afterwards.
    assert words == ["pause"] * 3 + ["tar"] + ["unpause"] * 3 + ["gzip"]


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


def tools(folder: Path, *, but: set[str], own: dict[str, str]) -> str:
    """Give a path with the programs of this machine but for some, and some of one's own."""
    folder.mkdir()
    for place in ("/bin", "/usr/bin"):
        for program in Path(place).iterdir():
            if program.name not in but and not (folder / program.name).exists():
                (folder / program.name).symlink_to(program)
    for name, text in own.items():
        (folder / name).unlink(missing_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
        (folder / name).chmod(0o755)
    return str(folder)


_SUMS = {"sha256sum", "shasum"}
_SHASUM = """#!/bin/sh
[ "$*" = "-a 256" ] && exec /usr/bin/sha256sum
"""


def sum_in(backup_file: Path) -> str:
    manifest = subprocess.run(
        ["tar", "-xOf", str(backup_file), "manifest"], capture_output=True, text=True, check=True
    ).stdout
    return manifest.partition("sha256=")[2].strip()


def test_the_sum_is_that_of_the_copy_with_either_program(tmp_path: Path) -> None:
    for name, own in {"here": {}, "there": {"shasum": _SHASUM}}.items():
        folder = tmp_path / name
        folder.mkdir()
        path = tools(tmp_path / f"{name}-tools", but=_SUMS if own else set(), own=own)

        status, said, _ = backup(folder, path=path)

        assert status == 0, said
        copy = subprocess.run(
            ["tar", "-xOf", str(folder / "mine.tar"), "volumes.tar.gz"],
            capture_output=True,
            check=True,
        ).stdout
        assert sum_in(folder / "mine.tar") == hashlib.sha256(copy).hexdigest()


@pytest.mark.parametrize("sha256sum", ["", "#!/bin/sh\nexit 1\n"])
def test_without_a_sum_there_is_no_backup(tmp_path: Path, sha256sum: str) -> None:
    own = {"sha256sum": sha256sum} if sha256sum else {}
    (tmp_path / "asked").touch()

    status, said, asked = backup(tmp_path, path=tools(tmp_path / "tools", but=_SUMS, own=own))

    assert status == 1
    assert ("can't be read" if sha256sum else "neither sha256sum nor shasum") in said
    assert not (tmp_path / "mine.tar").exists()
    # Without the program nobody is held still for nothing.
    assert bool(asked) == bool(sha256sum)


def test_a_disk_without_room_is_told_before_anything_is_paused(tmp_path: Path) -> None:
    status, said, asked = backup(tmp_path, KILOBYTES=str(10**12))

    assert status == 1
    assert "A backup needs room for the data (976562500 MB) and for its compressed copy" in said
    assert not [line for line in asked if line.startswith("pause")]
    assert not list(tmp_path.glob(".backup.*"))
