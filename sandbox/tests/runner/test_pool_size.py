"""How many sessions are forked in advance, by what a machine and a control group have of memory."""

from pathlib import Path

import pytest
from sandbox_runner import settings
from sandbox_runner.pool_size import fitting_pool

GIB = 1 << 30


def _machine(root: Path, memory_bytes: int, groups: str = "0::/\n") -> Path:
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/meminfo").write_text(f"MemFree: 1 kB\nMemTotal: {memory_bytes >> 10} kB\n")
    (root / "proc/self/cgroup").write_text(groups)
    return root


def _limit(root: Path, path: str, text: str) -> None:
    file = root / "sys/fs/cgroup" / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"{text}\n")


@pytest.mark.parametrize(("gibibytes", "pool"), [(1, 4), (2, 8), (4, 17), (8, 34), (24, 64)])
def test_machine_gives_a_share_of_its_memory(tmp_path: Path, gibibytes: int, pool: int) -> None:
    assert fitting_pool(64, _machine(tmp_path, gibibytes * GIB)) == pool


@pytest.mark.parametrize(
    ("groups", "files"),
    [
        ("0::/\n", {"memory.max": str(2 * GIB)}),
        ("0::/a/b\n", {"a/memory.max": str(2 * GIB), "a/b/memory.max": "max"}),
        ("3:cpu,memory:/a\n0::/\n", {"memory/a/memory.limit_in_bytes": str(2 * GIB)}),
        # In a container the group's own folder is at the top, whatever its name outside.
        ("3:memory:/docker/x\n", {"memory/memory.limit_in_bytes": str(2 * GIB)}),
    ],
)
def test_limit_of_a_control_group_counts(
    tmp_path: Path, groups: str, files: dict[str, str]
) -> None:
    root = _machine(tmp_path, 64 * GIB, groups)
    for path, text in files.items():
        _limit(root, path, text)
    assert fitting_pool(64, root) == 27


def test_limit_that_is_none_does_not_count(tmp_path: Path) -> None:
    root = _machine(tmp_path, 64 * GIB, "3:memory:/\n0::/\n")
    _limit(root, "memory.max", "max")
    _limit(root, "memory/memory.limit_in_bytes", str(2**63 - 4096))
    assert fitting_pool(64, root) == 64


def test_words_that_are_none_of_a_control_group_are_passed_over(tmp_path: Path) -> None:
    root = _machine(tmp_path, 64 * GIB)
    (root / "proc/self/cgroup").write_bytes(b"0\n\xff:memory\n3:memory:/\xff\n0::/\n")
    assert fitting_pool(64, root) == 64


def test_machine_that_says_nothing_has_a_few(tmp_path: Path) -> None:
    assert fitting_pool(64, tmp_path) == 4


def test_pool_that_is_set_is_taken_as_it_is() -> None:
    assert settings.load({"SANDBOX_RUNNER_POOL": "80"}).pool == 80
    assert settings.load({"SANDBOX_RUNNER_SLOTS": "3"}).pool == 3
    assert 4 <= settings.load({}).pool <= 64
    with pytest.raises(settings.SettingsError, match="POOL is 9, more than"):
        settings.load({"SANDBOX_RUNNER_SLOTS": "8", "SANDBOX_RUNNER_POOL": "9"})
