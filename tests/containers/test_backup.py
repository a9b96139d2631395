"""A backup brings back what the containers kept, and overwrites nothing that nobody gave up."""

import json
import secrets
from pathlib import Path

import pytest
from stack_support.containers import OURS, Containers

pytestmark = [pytest.mark.stack, pytest.mark.timeout(600)]

# Everything below the folders that are saved: kind, owner, mode and content of each.
_LIST = """
import hashlib, json, os, stat
found = {}
for place, folders, files in os.walk('/volumes'):
    for name in [*folders, *files]:
        path = os.path.join(place, name)
        what = os.lstat(path)
        content = ''
        if stat.S_ISREG(what.st_mode):
            content = hashlib.sha256(open(path, 'rb').read()).hexdigest()
        found[path] = [oct(what.st_mode), what.st_uid, what.st_gid, content]
print('BEGIN' + json.dumps(found))
"""
_SAVED = ("grafana", "packages", "prometheus", "workspace")


def kept(stack: Containers) -> dict[str, list[object]]:
    said = stack.compose("run", "--rm", "--no-deps", "-T", "volume-init", "python3", "-c", _LIST)
    return dict(json.loads(said.partition("BEGIN")[2]))


def make(stack: Containers, *words: str) -> str:
    return stack.run("make", "--no-print-directory", *words, seconds=200)


def wipe(stack: Containers) -> None:
    stack.compose("down", "--volumes", seconds=120)
    delete = "find /volumes -mindepth 2 ! -name README.md -delete"
    stack.compose("run", "--rm", "--no-deps", "-T", "volume-init", "sh", "-c", delete)


@pytest.fixture(scope="module")
def saved(stack: Containers) -> Path:
    """Some data, a backup of it made while the stack runs, and the stack down."""
    mark = secrets.token_hex(8)
    stack.inside("sandbox", f"open('/var/lib/packages/mark', 'w').write('{mark}')")
    stack.run("sh", "-c", f"mkdir -p workspace/mine && echo {mark} >workspace/mine/'a file'")
    said = make(stack, "backup", "TO=backups/mine.tar")
    assert "Backup: backups/mine.tar" in said
    assert all(stack.is_healthy(service) for service in ("middleware", "mcp-server"))
    stack.compose("down", seconds=120)
    return stack.folder / "backups" / "mine.tar"


def test_a_backup_leaves_the_stack_running(stack: Containers) -> None:
    stack.compose("up", "-d", seconds=200)
    stack.wait_healthy(*OURS, "prometheus")

    make(stack, "backup")

    states = {name: stack.inspect(name)["State"] for name in (*OURS, "prometheus")}
    assert {name for name, state in states.items() if state["Paused"]} == set()
    assert stack.answers("what is 2+3?", "5")
    assert len(list((stack.folder / "backups").glob("mcp-stack-*.tar"))) == 1
    assert "is there already" in stack.fails(
        "make", "backup", f"TO={next((stack.folder / 'backups').iterdir())}"
    )


def test_a_backup_is_for_its_owner_alone_and_holds_no_key(saved: Path, stack: Containers) -> None:
    names = stack.run("tar", "-tf", str(saved)).split()

    assert saved.stat().st_mode & 0o077 == 0
    assert names == ["manifest", "models.txt", "volumes.tar.gz"]
    inner = stack.run("sh", "-c", f"tar -xOf '{saved}' volumes.tar.gz | tar -tzf -").split("\n")
    assert {name.split("/")[0] for name in inner if name} == set(_SAVED)


def test_a_restore_overwrites_nothing_without_a_word(saved: Path, stack: Containers) -> None:
    before = kept(stack)

    said = stack.fails("make", "restore", f"FROM={saved}")

    assert "FORCE=1" in said
    assert kept(stack) == before


def test_a_damaged_backup_changes_nothing(saved: Path, stack: Containers) -> None:
    before = kept(stack)
    stack.run("cp", str(saved), "backups/damaged.tar")
    middle = saved.stat().st_size // 2
    with (stack.folder / "backups" / "damaged.tar").open("r+b") as file:
        file.seek(middle)
        file.write(b"\0" * 64)
    stack.run("sh", "-c", f"head -c {middle} '{saved}' >backups/cut.tar")
    forced = stack.with_settings(FORCE="1")

    assert "damaged" in forced.fails("make", "restore", "FROM=backups/damaged.tar")
    assert "cut off" in forced.fails("make", "restore", "FROM=backups/cut.tar")
    assert "no file" in forced.fails("make", "restore", "FROM=backups/none.tar")
    assert kept(stack) == before


def test_a_wiped_stack_has_the_same_data_after_a_restore(saved: Path, stack: Containers) -> None:
    before = kept(stack)
    mine = ("/volumes/packages/mark", "/volumes/workspace/mine", "/volumes/workspace/mine/a file")
    marked = {path: before[path] for path in mine}
    wipe(stack)
    assert not set(kept(stack)) & set(marked)

    make(stack, "restore", f"FROM={saved}")

    restored = kept(stack)
    assert {path: restored.get(path) for path in marked} == marked
    # Of Prometheus' blocks those of the backup's moment; it went on to write for a while.
    assert any(path.startswith("/volumes/prometheus/") for path in restored)


def test_force_puts_the_backup_in_the_place_of_what_is_there(
    saved: Path, stack: Containers
) -> None:
    stack.run("sh", "-c", "echo other >workspace/other")

    make(stack.with_settings(FORCE="1"), "restore", f"FROM={saved}")

    assert not (stack.folder / "workspace" / "other").exists()
    assert (stack.folder / "workspace" / "mine" / "a file").is_file()


def test_the_stack_starts_on_restored_data(saved: Path, stack: Containers) -> None:
    stack.compose("up", "-d", seconds=200)
    stack.wait_healthy(*OURS, "prometheus")

    assert stack.answers("what is 2+3?", "5")
    mark = stack.inside("sandbox", "print(open('/var/lib/packages/mark').read())").strip()
    assert mark in (stack.folder / "workspace" / "mine" / "a file").read_text(encoding="utf-8")
    assert "make down" in stack.fails("make", "restore", f"FROM={saved}")
