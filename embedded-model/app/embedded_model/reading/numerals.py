"""Numbers in words: "two hundred and five", "three point five", "2 million", "a dozen"."""

from collections.abc import Sequence
from dataclasses import dataclass

_UNITS = {
    word: value
    for value, word in enumerate(
        [
            "zero",
            "one",
            "two",
            "three",
            "four",
            "five",
            "six",
            "seven",
            "eight",
            "nine",
            "ten",
            "eleven",
            "twelve",
            "thirteen",
            "fourteen",
            "fifteen",
            "sixteen",
            "seventeen",
            "eighteen",
            "nineteen",
        ]
    )
}
_TENS = {
    word: 10 * value
    for value, word in enumerate(
        ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"], start=2
    )
} | {"fourty": 40, "ninty": 90}
_SCALES = {
    "thousand": 10**3,
    "million": 10**6,
    "billion": 10**9,
    "trillion": 10**12,
}
_ORDINALS = {
    "first": 1,
    "second": 2,
    "third": 3,
    "fourth": 4,
    "fifth": 5,
    "sixth": 6,
    "seventh": 7,
    "eighth": 8,
    "ninth": 9,
    "tenth": 10,
    "eleventh": 11,
    "twelfth": 12,
    "twentieth": 20,
    "hundredth": 100,
}
NUMBER_WORDS = frozenset(
    {*_UNITS, *_TENS, *_SCALES, "hundred", "dozen", "dozens", "point", *_ORDINALS}
)


@dataclass(frozen=True, slots=True)
class Numeral:
    """A number read from the front of some words, and how many words it took."""

    text: str
    length: int


def ordinal(word: str) -> int | None:
    """Return the number of `8th` or `eighth`; None for other words."""
    if word in _ORDINALS:
        return _ORDINALS[word]
    digits, suffix = word[:-2], word[-2:]
    return int(digits) if digits.isdecimal() and suffix in {"st", "nd", "rd", "th"} else None


def read_numeral(words: Sequence[str]) -> Numeral | None:
    """Read the longest number in words at the front; None when there is none."""
    start = 1 if words and words[0] == "a" and len(words) > 1 and _is_round(words[1]) else 0
    is_bare = not start and bool(words) and _is_round(words[0])  # "hundred minus thirty"
    total, group, index = 0, 1 if start or is_bare else 0, start
    if not (start or is_bare or (words and (words[0] in _UNITS or words[0] in _TENS))):
        return None
    last = "unit" if start or is_bare else ""
    while index < len(words):
        step = _step(words, index, group, total, last)
        if step is None:
            break
        total, group, last, taken = step
        index += taken
    if is_bare and index == start:  # a word that multiplies, with nothing to multiply: "dozens"
        return None
    fraction, taken = _fraction(words[index:])
    return Numeral(f"{total + group}{fraction}", index + taken)


def _is_round(word: str) -> bool:
    return word == "hundred" or word in _SCALES or word == "dozen"


def _step(
    words: Sequence[str], index: int, group: int, total: int, last: str
) -> tuple[int, int, str, int] | None:
    word = words[index]
    if word == "and" and last in {"hundred", "scale"} and index + 1 < len(words):
        after = _step(words, index + 1, group, total, last)
        is_small = words[index + 1] in _UNITS or words[index + 1] in _TENS
        return (*after[:3], after[3] + 1) if after and is_small else None
    if word in _UNITS and last in {"", "tens", "hundred", "scale"}:
        is_teen_after_tens = last == "tens" and _UNITS[word] > 9  # noqa: PLR2004  # one digit
        return None if is_teen_after_tens else (total, group + _UNITS[word], "unit", 1)
    if word in _TENS and last in {"", "hundred", "scale"}:
        return total, group + _TENS[word], "tens", 1
    return _big_step(word, group, total)


def _big_step(word: str, group: int, total: int) -> tuple[int, int, str, int] | None:
    if word == "hundred" and group:
        return total, group * 100, "hundred", 1
    if word in _SCALES and group:
        return total + group * _SCALES[word], 0, "scale", 1
    return None


def _fraction(words: Sequence[str]) -> tuple[str, int]:
    if not words or words[0] != "point":
        return "", 0
    digits = ""
    for word in words[1:]:
        if word not in _UNITS or _UNITS[word] > 9:  # noqa: PLR2004  # one digit
            break
        digits += str(_UNITS[word])
    return (f".{digits}", 1 + len(digits)) if digits else ("", 0)


def hyphen_parts(word: str) -> list[str]:
    """Split `twenty-three`; leave other words whole."""
    parts = word.split("-")
    return parts if len(parts) > 1 and all(part in NUMBER_WORDS for part in parts) else [word]


def scale_of(word: str) -> int | None:
    """Return what `million`, `k` or `dozen` multiplies the digits before it with."""
    return {"hundred": 100, "dozen": 12, "dozens": 12, **_SCALES}.get(word)


def digitised(text: str) -> str:
    """Write numbers in words as digits."""
    words, found, index = text.split(), [], 0
    while index < len(words):
        numeral = read_numeral(words[index:]) if words[index] not in {"a", "point"} else None
        found.append(numeral.text if numeral else words[index])
        index += numeral.length if numeral else 1
    return " ".join(found)
