"""The few Markdown forms that the generated pages need."""

import inspect
import re
from collections.abc import Iterable, Sequence

NOTICE = (
    "<!-- Written by `python docs/generate.py` from the code; "
    "change the code, then run it again. -->\n"
)


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table; a bar or a line break inside a cell does not break it."""
    lines = [_row(header), _row(["---"] * len(header)), *(_row(row) for row in rows)]
    return "\n".join(lines) + "\n"


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(_cell(cell) for cell in cells) + " |"


def _cell(text: str) -> str:
    return re.sub(r"\s*\n\s*", " ", text.strip()).replace("|", "\\|")


def code(text: str) -> str:
    """Return text as inline code; nothing for an empty text."""
    return f"`{text}`" if text else ""


def prose(text: str | None) -> str:
    """Return a docstring's or description's text without its indentation.

    Python 3.13 strips it while compiling and earlier versions do not; the pages are equal.
    """
    # Double back-ticks are reStructuredText's inline code.
    return re.sub(r"``(.+?)``", r"`\1`", inspect.cleandoc(text or ""))


def first_sentence(text: str | None) -> str:
    """Return a docstring's first line."""
    return prose(text).split("\n", 1)[0]


def page(title: str, *parts: str) -> str:
    """Return a whole page under the notice that it is generated."""
    return "\n".join([NOTICE, f"# {title}\n", *(part.rstrip() + "\n" for part in parts)])
