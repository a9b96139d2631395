"""What must not stand in a committed file: registries, machine paths, bare suppressions."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# Spelt in pieces, so that this file does not name what it forbids.
REGISTRIES = [
    ".".join(parts)
    for parts in (
        ("pypi", "org"),
        ("files", "pythonhosted", "org"),
        ("registry", "npmjs", "org"),
        ("proxy", "golang", "org"),
        ("deb", "debian", "org"),
    )
]
MACHINE_PATHS = re.compile(r"(?<![\w.~/$}])/(?:root|work|farm)/\w")


def _tracked() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True
    )
    return [ROOT / name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


def _texts() -> list[tuple[Path, str]]:
    found = []
    for path in _tracked():
        try:
            found.append((path, path.read_text(encoding="utf-8")))
        except UnicodeDecodeError:
            continue
    return found


def test_no_file_names_a_package_registry() -> None:
    named = [
        f"{path.relative_to(ROOT)}: {host}"
        for path, text in _texts()
        for host in REGISTRIES
        if host in text
    ]
    assert not named


def test_no_file_names_a_path_of_one_machine() -> None:
    named = [
        f"{path.relative_to(ROOT)}: {found.group()}"
        for path, text in _texts()
        if (found := MACHINE_PATHS.search(text)) and path != Path(__file__)
    ]
    assert not named


@pytest.mark.parametrize(
    "lock", sorted((ROOT / "requirements").glob("*.lock")), ids=lambda p: p.name
)
def test_lock_pins_every_version_by_hash_and_names_no_index(lock: Path) -> None:
    text = lock.read_text(encoding="utf-8")
    assert "--index-url" not in text
    assert "--find-links" not in text
    assert "://" not in "\n".join(line.split("#")[0] for line in text.splitlines())
    requirements = [line for line in text.splitlines() if re.match(r"^[a-z0-9]", line)]
    assert requirements
    for line in requirements:
        assert re.match(r"^[a-z0-9._-]+==\S+( ;.*)? \\$", line), line


def test_suppressions_carry_their_code_and_their_reason() -> None:
    bare = re.compile(r"#\s*(?:type: ignore(?!\[)|noqa(?!:))")
    reasonless = re.compile(r"#\s*(?:type: ignore\[[\w, -]+\]|noqa: [A-Z0-9, ]+)\s*$")
    found = []
    for path, text in _texts():
        if path.suffix != ".py" or path == Path(__file__) or "tests" in path.parts:
            continue
        for number, line in enumerate(text.splitlines(), 1):
            if bare.search(line) or reasonless.search(line):
                found.append(f"{path.relative_to(ROOT)}:{number}")
    assert not found
