"""The words that the model knows, as data files, and the one place that loads them."""

from collections.abc import Mapping
from functools import cache
from importlib import resources


def _lines(name: str) -> list[str]:
    text = (resources.files(__package__) / f"{name}.txt").read_text(encoding="utf-8")
    return [line for line in text.splitlines() if line.strip() and not line.startswith("#")]


@cache
def words(name: str) -> frozenset[str]:
    """Return all words of a file, separated by any space."""
    return frozenset(word for line in _lines(name) for word in line.split())


@cache
def ordered_words(name: str) -> tuple[str, ...]:
    """Return all words of a file in its order, which is their priority."""
    return tuple(dict.fromkeys(word for line in _lines(name) for word in line.split()))


@cache
def pairs(name: str) -> tuple[tuple[str, str], ...]:
    """Return the `left: right` lines of a file."""
    split = (line.rpartition(": ") for line in _lines(name) if not line.startswith("["))
    return tuple((left.strip(), right.strip()) for left, _, right in split)


@cache
def keyed_lists(name: str) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Return the `key: a, b, c` lines of a file."""
    split = (line.partition(": ") for line in _lines(name))
    return tuple(
        (key.strip(), tuple(item.strip() for item in rest.split(",") if item.strip()))
        for key, _, rest in split
    )


@cache
def sections(name: str) -> Mapping[str, tuple[str, ...]]:
    """Return the `[section]` parts of a file, each a tuple of its lines."""
    found: dict[str, list[str]] = {}
    current: list[str] = []
    for line in _lines(name):
        if line.startswith("[") and line.endswith("]"):
            current = found.setdefault(line[1:-1], [])
        else:
            current.append(line.strip())
    return {section: tuple(lines) for section, lines in found.items()}


@cache
def section_words(name: str, section: str) -> frozenset[str]:
    """Return the words of one section, separated by any space."""
    return frozenset(word for line in sections(name)[section] for word in line.split())


@cache
def section_phrases(name: str, section: str) -> frozenset[str]:
    """Return the lines of one section."""
    return frozenset(sections(name)[section])
