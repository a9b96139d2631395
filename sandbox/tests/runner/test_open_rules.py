"""Paths that rulesets share: held open, and opened anew when another file stands there."""

import os
from pathlib import Path

import pytest
from sandbox_runner.landlock import OpenRule, OpenRules
from sandbox_runner.policy import PathRule


def _opened(rules: OpenRules) -> list[int]:
    return [os.fstat(rule.path).st_ino for rule in rules.current()]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "mime.types"
    path.write_text("old")
    return path


def test_path_that_stays_is_opened_once(path: Path) -> None:
    rules = OpenRules((PathRule(str(path)),))
    assert rules.current() == rules.current()
    rules.close()


def test_file_that_an_upgrade_replaced_is_opened_anew(path: Path) -> None:
    rules = OpenRules((PathRule(str(path)),))
    rules.current()
    descriptors = len(list(Path("/proc/self/fd").iterdir()))
    new = path.with_suffix(".new")
    new.write_text("new")
    new.rename(path)
    assert _opened(rules) == [path.stat().st_ino]
    assert len(list(Path("/proc/self/fd").iterdir())) == descriptors, "the former one is closed"
    rules.close()


def test_what_is_missing_is_left_out_until_it_is_there(path: Path) -> None:
    path.unlink()
    rules = OpenRules((PathRule(str(path)), PathRule(str(path.parent))))
    assert _opened(rules) == [path.parent.stat().st_ino]
    path.write_text("at last")
    assert sorted(_opened(rules)) == sorted([path.parent.stat().st_ino, path.stat().st_ino])
    path.unlink()
    left: tuple[OpenRule, ...] = rules.current()
    assert len(left) == 1
    rules.close()
