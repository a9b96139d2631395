"""Every direct dependency has its reason in the page on dependencies."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "explanation" / "dependencies.md").read_text(encoding="utf-8")
PROJECTS = sorted(ROOT.glob("*/pyproject.toml"))


def required(project: Path) -> set[str]:
    document = tomllib.loads(project.read_text(encoding="utf-8"))["project"]
    return {Requirement(line).name for line in document["dependencies"]} - {"servicekit"}


def listed_inputs() -> set[str]:
    names = set()
    for path in (ROOT / "requirements").glob("*.in"):
        for line in path.read_text(encoding="utf-8").splitlines():
            if re.match(r"[A-Za-z]", line):
                names.add(Requirement(line.split(" #")[0]).name)
    return names


def is_explained(name: str) -> bool:
    return f"`{name}`" in PAGE or (name.startswith("types-") and "`types-*`" in PAGE)


def test_there_are_projects_to_check() -> None:
    assert len(PROJECTS) >= 8


@pytest.mark.parametrize("project", PROJECTS, ids=lambda path: path.parent.name)
def test_each_dependency_of_a_package_is_explained(project: Path) -> None:
    assert not {name for name in required(project) if not is_explained(name)}


def test_each_dependency_that_is_locked_is_explained() -> None:
    assert not {name for name in listed_inputs() if not is_explained(name)}


def test_nothing_is_explained_that_nobody_needs() -> None:
    rows = re.findall(r"^\| ((?:`[\w-]+`(?:, )?)+) \|", PAGE, flags=re.MULTILINE)
    explained = {name for row in rows for name in re.findall(r"`([\w-]+)`", row)}
    needed = set().union(*map(required, PROJECTS)) | listed_inputs()
    assert not explained - needed
