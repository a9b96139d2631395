"""Mermaid diagrams: what breaks one without a word."""

import re
from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parents[2] / "docs"
KINDS = {"flowchart", "sequenceDiagram"}
_BLOCK = re.compile(r"^```mermaid\n(.*?)^```", re.MULTILINE | re.DOTALL)
DIAGRAMS = [
    pytest.param(text, id=f"{path.relative_to(DOCS)} {number}")
    for path in sorted(DOCS.rglob("*.md"))
    for number, text in enumerate(
        re.findall(
            r"^```mermaid\n(.*?)^```", path.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
        ),
        1,
    )
]


def test_the_walk_of_a_chat_is_drawn() -> None:
    assert any("sequence_diagram.md" in str(each.id) for each in DIAGRAMS)


@pytest.mark.parametrize("text", DIAGRAMS)
def test_no_semicolon_ends_a_statement_early(text: str) -> None:
    assert ";" not in text


@pytest.mark.parametrize("text", DIAGRAMS)
def test_first_word_is_a_kind_of_diagram(text: str) -> None:
    assert text.split(maxsplit=1)[0] in KINDS


@pytest.mark.parametrize("text", DIAGRAMS)
def test_a_sequence_names_all_who_take_part(text: str) -> None:
    if text.split(maxsplit=1)[0] != "sequenceDiagram":
        return
    named = set(re.findall(r"^\s*(?:actor|participant)\s+(\w+)", text, flags=re.MULTILINE))
    arrows = re.findall(r"^\s*(\w+)\s*-{1,2}(?:>>|x|\))\s*(\w+):", text, flags=re.MULTILINE)

    assert arrows
    assert {name for arrow in arrows for name in arrow} <= named
