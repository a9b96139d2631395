"""Fractions and mixed numbers in words, rewritten as sums: "two and a half" is `(2 + 1/2)`."""

import re

from embedded_model.reading.numerals import (
    NUMBER_WORDS,
    hyphen_parts,
    read_numeral,
    scale_of,
)

_PARTS = {
    "half": 2, "third": 3, "quarter": 4, "fourth": 4, "fifth": 5, "sixth": 6, "seventh": 7,
    "eighth": 8, "ninth": 9, "tenth": 10, "twelfth": 12, "twentieth": 20, "hundredth": 100,
}  # fmt: skip
_PLURALS = {"halves": 2} | {f"{name}s": value for name, value in _PARTS.items()}
_ARTICLES = frozenset({"a", "an"})
_DIGITS = re.compile(r"\d+(?:\.\d+)?")
_SPOKEN = re.compile(rf"\b(?:{'|'.join([*_PARTS, *_PLURALS])})\b")
# What may stand behind "half" when it is a number and not "half of" or "half 90".
_SIGNS = frozenset(
    {"plus", "minus", "times", "divided", "multiplied", "over", "and", "equals", "to", "from", "by"}
) | frozenset("+-*/^),=?")


def with_fractions(text: str) -> str:
    """Rewrite every fraction in words; whatever is none stays as it is.

    Notes
    -----
    "A third of 99" stays, too: the grammar of sums divides there, which is exact where
    a multiplication by 1/3 is not. So do ordinals: "the third", "to the fifth power".
    """
    if not _SPOKEN.search(text):
        return text
    spaced = re.sub(r"([()+*/^,=])", r" \1 ", text.replace("**", " ^ "))
    words = [part for word in spaced.split() for part in _parts_of(word)]
    found: list[str] = []
    index = 0
    while index < len(words):
        written, taken = _mixed(words[index:]) or _fraction(words[index:], found) or (None, 1)
        found.append(words[index] if written is None else written)
        index += taken
    return " ".join(found)


def _parts_of(word: str) -> list[str]:
    """Split "two-thirds" and "one-half" as well as "twenty-three"."""
    parts = word.split("-")
    known = NUMBER_WORDS | _PARTS.keys() | _PLURALS.keys() | _ARTICLES | {"and"}
    is_spoken = len(parts) > 1 and all(part in known for part in parts)
    return parts if is_spoken and _SPOKEN.search(word) else hyphen_parts(word)


def _count(words: list[str]) -> tuple[str, int] | None:
    """Read the number in front of a fraction's name."""
    if words and _DIGITS.fullmatch(words[0]):
        return words[0], 1
    numeral = read_numeral(words) if words and words[0] not in _ARTICLES else None
    return (numeral.text, numeral.length) if numeral else None


def _part(words: list[str]) -> tuple[int, int, int] | None:
    """Read "a half", "one third", "three quarters": above, below, and how many words."""
    if len(words) > 1 and words[0] in _ARTICLES and words[1] in _PARTS:
        return 1, _PARTS[words[1]], 2
    count = _count(words)
    if count is None or len(words) <= count[1] or not count[0].isdecimal():
        return None
    above, name = int(count[0]), words[count[1]]
    below = (_PARTS if above == 1 else _PLURALS).get(name)
    return (above, below, count[1] + 1) if below is not None else None


def _mixed(words: list[str]) -> tuple[str, int] | None:
    whole = _count(words)
    if whole is None or words[whole[1] : whole[1] + 1] != ["and"]:
        return None
    part = _part(words[whole[1] + 1 :])
    if part is None or part[0] >= part[1]:
        return None
    taken = whole[1] + 1 + part[2]
    return f"({whole[0]} + {part[0]}/{part[1]})", taken


def _fraction(words: list[str], before: list[str]) -> tuple[str, int] | None:
    is_ordinal = bool(before) and before[-1] in {"the", "to"} and words[0] in _PARTS
    part = _part(words)
    if part is not None:
        above, below, taken = part
        is_share = words[taken : taken + 1] == ["of"]
        return None if is_share and above == 1 else (f"({above}/{below})", taken)
    if words[0] == "half" and words[1:2] and words[1] in _ARTICLES and len(words) > 2:  # noqa: PLR2004  # half a mile
        scale = scale_of(words[2])
        return (str(scale // 2), 3) if scale else ("(1/2)", 2)
    if words[0] == "half" and not is_ordinal and (len(words) == 1 or words[1] in _SIGNS):
        return "(1/2)", 1
    return None
