"""The words of a message: signs straightened, spelling mended, split into clauses' words."""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache

from rapidfuzz.distance import OSA

from embedded_model import lexicon
from embedded_model.places import is_place_name
from embedded_model.reading.formula_tokens import operator_words
from embedded_model.reading.numerals import NUMBER_WORDS

# What editors and telephones make of the signs on a keyboard.
_SIGNS = str.maketrans(
    {
        "\u201c": '"',
        "\u201d": '"',
        "\u201e": '"',
        "\u00ab": '"',
        "\u00bb": '"',
        "\u2018": "'",
        "\u2019": "'",
        "\u201a": "'",
        "\u00b4": "'",
        "\u00d7": " * ",
        "\u22c5": " * ",
        "\u00b7": " * ",
        "\u2219": " * ",
        "\u2715": " * ",
        "\u00f7": " / ",
        "\u2215": "/",
        "\u2212": "-",
        "\u2013": "-",
        "\u2014": " - ",
        "\u2010": "-",
        "\u2011": "-",
        "\u00b2": "**2",
        "\u00b3": "**3",
        "\u00a0": " ",
        "\u202f": " ",
        "\u2009": " ",
        "\u200b": "",
        "\ufeff": "",
        "\u2026": " ...",
        "\u00bf": " ",
        "\u00a1": " ",
        "\u00bd": " 1/2 ",
        "\u00bc": " 1/4 ",
        "\u00be": " 3/4 ",
        **{chr(0xFF10 + digit): str(digit) for digit in range(10)},
        **{chr(0x0660 + digit): str(digit) for digit in range(10)},
        "\uff0b": "+",
        "\uff0d": "-",
        "\uff0a": "*",
        "\uff0f": "/",
        "\uff1d": "=",
        "\uff08": "(",
        "\uff09": ")",
        "\uff1f": "?",
        "\uff0c": ",",
    }
)
_QUOTES = str.maketrans(
    {
        "\u201c": '"',
        "\u201d": '"',
        "\u201e": '"',
        "\u2018": "'",
        "\u2019": "'",
        "\u201a": "'",
        "\u00a0": " ",
    }
)
_MARK = re.compile(r"§\d+§")
_ENDS = ",;:?!.\"'"
_APOSTROPHES = {
    "whats": "what's",
    "wats": "what's",
    "hows": "how's",
    "todays": "today's",
    "dont": "don't",
    "doesnt": "doesn't",
    "wanna": "want to",
    "tme": "time",
    "tiem": "time",
    "hw": "how",
    "hwo": "how",
    "waht": "what",
    "mutch": "much",
    "teh": "the",
    "hte": "the",
    "adn": "and",
    "gimme": "give me",
    "lemme": "let me",
    "u": "you",
    "ur": "your",
    "r": "are",
    "pls": "please",
    "plz": "please",
    "plss": "please",
    "thx": "thanks",
    "wat": "what",
    "wht": "what",
    "nd": "and",
    "tmrw": "tomorrow",
    "rn": "now",
    "im": "i'm",
    "tommorow": "tomorrow",
    "tommorrow": "tomorrow",
    "id": "i'd",
    "ive": "i've",
    "wanted": "want",
    "gonna": "going to",
    "gotta": "have to",
    "cuz": "because",
    "yrs": "years",
    "hrs": "hours",
    "mins": "minutes",
    "secs": "seconds",
    "pkg": "package",
    "pkgs": "packages",
    "libs": "libraries",
    "lib": "library",
    "pip3": "pip",
    "ty": "thanks",
    "tnx": "thanks",
    "devided": "divided",
    "multiplyed": "multiplied",
    "substract": "subtract",
    "th": "the",
    "cn": "can",
    "lst": "list",
    "&": "and",
    "&&": "and then",
    "calc": "calculate",
    "exec": "execute",
    "eval": "evaluate",
}


@dataclass(frozen=True, slots=True)
class Word:
    """One word or one mark: as typed, and as read (lower case, spelling mended)."""

    raw: str
    text: str


def straighten(text: str) -> str:
    """Turn an editor's signs back into the keyboard's; for prose only, never for code."""
    return unicodedata.normalize("NFC", text).translate(_SIGNS)


def straighten_quotes(code: str) -> str:
    """Turn curly quotes into straight ones."""
    return code.translate(_QUOTES)


def text_of(words: Sequence[Word]) -> str:
    """Join words as read."""
    return " ".join(word.text for word in words)


def raw_of(words: Sequence[Word]) -> str:
    """Join words as typed."""
    return " ".join(word.raw for word in words)


# "St. John's", "9 p.m.", "the U.S.": full stops that end no sentence.
_SHORTENED = re.compile(r"(?i)\b(st|mt|ft|dr|mr|mrs|ms|no|approx)\.(?=\s+\w)")
_INITIALS = re.compile(r"\b(?:[A-Za-z]\.){2,}")
_OFFSET_GAP = re.compile(r"(?i)\b(utc|gmt) ?([+-]) ?(?=\d)")
_BETWEEN_NAMES = re.compile(r"(?<![\w/.])([^\W\d_]{2,})/([^\W\d_]{2,})(?![\w/])")


def _spaced_names(match: re.Match[str]) -> str:
    """Part "tokyo/paris", but leave "Europe/Paris" and "and/or" alone."""
    is_pair = is_place_name(match[1]) and is_place_name(match[2]) and not is_place_name(match[0])
    return f"{match[1]} / {match[2]}" if is_pair else match[0]


def words_of(prose: str) -> tuple[Word, ...]:
    """Split straightened prose into words; closing marks stand alone."""
    prose = _SHORTENED.sub(r"\1", prose)
    prose = _INITIALS.sub(lambda match: match[0].replace(".", ""), prose)
    prose = _BETWEEN_NAMES.sub(_spaced_names, _OFFSET_GAP.sub(r"\1\2", prose))
    spaced = re.sub(r"(?<=[^\W\d]),(?=[^\W\d])|(?<=[\d)]),(?=[^\W\d])", ", ", prose)
    spaced = re.sub(r"(§\d+§)", r" \1 ", spaced)
    spaced = re.sub(r"(?<=[a-z]{2})([?;])(?=[A-Za-z])", r"\1 ", spaced)
    found: list[Word] = []
    for piece in spaced.split():
        found.extend(_split_piece(piece))
    return tuple(found)


def _split_piece(piece: str) -> list[Word]:
    if _MARK.fullmatch(piece):
        return [Word(piece, piece)]
    before: list[Word] = []
    while len(piece) > 1 and piece[0] in "\"'":
        before.append(Word(piece[0], piece[0]))
        piece = piece[1:]
    after: list[Word] = []
    while len(piece) > 1 and piece[-1] in _ENDS and not _is_factorial(piece):
        after.insert(0, Word(piece[-1], piece[-1]))
        piece = piece[:-1]
    return [*before, *_corrected(piece), *after]


def _is_factorial(piece: str) -> bool:
    return piece[-1] == "!" and (piece[-2].isdigit() or piece[-2] == ")")


def _corrected(piece: str) -> list[Word]:
    text = piece.lower()
    text = _APOSTROPHES.get(text) or _stretched(text)
    if " " in text:
        return [Word(piece if index == 0 else "", part) for index, part in enumerate(text.split())]
    return [Word(piece, mend(text))]


def _stretched(text: str) -> str:
    """Shorten what is held for emphasis: `pleeease`, `helloooo`."""
    return re.sub(r"([a-z])\1{2,}", r"\1", text) if text.isalpha() else text


@cache
def _known_words() -> frozenset[str]:
    courtesy = (
        word
        for lines in lexicon.sections("courtesy").values()
        for line in lines
        for word in line.split()
    )
    return frozenset(
        {
            *lexicon.words("vocabulary"),
            *lexicon.words("plain_words"),
            *lexicon.words("units"),
            *lexicon.words("time_words"),
            *(
                word
                for lines in lexicon.sections("talk").values()
                for line in lines
                for word in line.split()
            ),
            *operator_words(),
            *NUMBER_WORDS,
            *courtesy,
        }
    )


@lru_cache(maxsize=4096)
def mend(word: str) -> str:
    """Correct a typing error to a word of the vocabulary; leave all others alone.

    Notes
    -----
    One error (a swap counts as one) in words of four to six letters, two in longer
    ones. A word of three letters is mended only when two letters are swapped.
    """
    if not word.isalpha() or not word.isascii() or word in _known_words() or len(word) < 3:  # noqa: PLR2004  # too short to tell
        return word
    best, best_distance = word, 99
    for candidate in lexicon.ordered_words("vocabulary"):
        allowed = _allowed_errors(word, candidate)
        if allowed < 1:
            continue
        distance = OSA.distance(word, candidate, score_cutoff=allowed)
        if distance <= allowed and distance < best_distance:
            best, best_distance = candidate, distance
    return best


def _allowed_errors(word: str, candidate: str) -> int:
    shorter = min(len(word), len(candidate))
    if shorter <= 4:  # noqa: PLR2004  # a swap or a lost letter, but no other letter
        is_swap = sorted(word) == sorted(candidate)
        is_lost = len(word) != len(candidate) and shorter == 4  # noqa: PLR2004  # as above
        return 1 if is_swap or (is_lost and word[0] == candidate[0]) else 0
    if abs(len(word) - len(candidate)) > 2:  # noqa: PLR2004  # cannot be near
        return 0
    return 2 if shorter >= 7 and word[0] == candidate[0] else 1  # noqa: PLR2004  # long words
