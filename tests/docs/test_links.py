"""Links between Markdown files lead somewhere."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import pytest

ROOT = Path(__file__).resolve().parents[2]
_FENCE = re.compile(r"^(```|~~~).*?^\1", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\[[^\]\n]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#{1,6}\s+(.+?)\s*$", re.MULTILINE)


def markdown_files() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "*.md"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    return sorted(
        ROOT / name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()
    )


def links(path: Path) -> Iterator[str]:
    text = _FENCE.sub("", path.read_text(encoding="utf-8"))
    # Inline code may show a link; it is none.
    for match in _LINK.finditer(re.sub(r"`[^`\n]*`", "", text)):
        yield match[1]


def anchors(path: Path) -> set[str]:
    """Give the anchors of a page, as GitHub makes them from its headings."""
    found: set[str] = set()
    for heading in _HEADING.findall(_FENCE.sub("", path.read_text(encoding="utf-8"))):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "")
        slug = re.sub(r"[^\w\- ]", "", plain.lower()).replace(" ", "-")
        number = 0
        while (anchor := f"{slug}-{number}" if number else slug) in found:
            number += 1
        found.add(anchor)
    return found


def test_there_are_pages_to_check() -> None:
    assert ROOT / "README.md" in markdown_files()


@pytest.mark.parametrize("path", markdown_files(), ids=lambda path: str(path.relative_to(ROOT)))
def test_relative_links_lead_to_a_file_and_a_heading(path: Path) -> None:
    broken = []
    for link in links(path):
        if re.match(r"[a-z][a-z0-9+.-]*:", link):
            continue
        target, _, anchor = link.partition("#")
        found = (path.parent / unquote(target)).resolve() if target else path
        if not found.exists() or (anchor and anchor not in anchors(found)):
            broken.append(link)
    assert not broken


def test_every_page_of_docs_is_reached_from_the_readme() -> None:
    reached: set[Path] = set()
    waiting = [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        if page in reached or not page.is_file() or page.suffix != ".md":
            continue
        reached.add(page)
        waiting += [
            (page.parent / unquote(link.partition("#")[0])).resolve()
            for link in links(page)
            if not re.match(r"[a-z][a-z0-9+.-]*:", link)
        ]
    lost = [
        str(path.relative_to(ROOT))
        for path in markdown_files()
        if path.is_relative_to(ROOT / "docs") and path not in reached
    ]
    assert not lost
