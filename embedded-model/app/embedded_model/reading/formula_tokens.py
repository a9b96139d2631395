"""From the text of a sum to tokens: numbers in digits and words, signs and their names."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Literal

from embedded_model import lexicon
from embedded_model.reading.numerals import hyphen_parts, ordinal, read_numeral, scale_of

TokenKind = Literal["number", "infix", "postfix", "prefix", "list", "bracket", "constant", "word"]

_LEXEME = re.compile(
    r"(?P<number>(?:\d{1,3}(?:,\d{3})+(?!\d)"
    r"|\d+)(?:\.\d+)?(?:e[+-]?\d+)?(?:st|nd|rd|th)?(?![a-z]*\.\d)"
    r"|\.\d+)"
    r"|(?P<word>[a-zπ]+[a-z0-9'-]*)"
    r"|(?P<sign>\*\*|//|[-+*/^%!()=,√|\[\]{}$€£])"
    r"|(?P<space>\s+)"
)
_LOG_BASE = 3  # "log base 10": three words


@dataclass(frozen=True, slots=True)
class Token:
    """One piece of a formula."""

    kind: TokenKind
    value: str


@cache
def _phrases() -> dict[tuple[str, ...], Token]:
    kinds: dict[str, TokenKind] = {
        "infix": "infix",
        "postfix": "postfix",
        "prefix": "prefix",
        "list": "list",
        "bracket": "bracket",
        "constant": "constant",
    }
    found: dict[tuple[str, ...], Token] = {}
    for section, lines in lexicon.sections("operators").items():
        for line in lines:
            phrase, _, value = line.rpartition(": ")
            found[tuple(phrase.split())] = Token(kinds[section], value)
    return found


@cache
def operator_words() -> frozenset[str]:
    """Return every single word that the formula grammar knows."""
    return frozenset(word for phrase in _phrases() for word in phrase)


def tokens_of(text: str, *, variable: str | None = None) -> tuple[Token, ...] | None:
    """Split the text of a formula into tokens; None when a sign is no formula's."""
    lexemes: list[str] = []
    position = 0
    while position < len(text):
        match = _LEXEME.match(text, position)
        if match is None:
            return None
        position = match.end()
        if match.lastgroup == "word":
            lexemes.extend(hyphen_parts(match.group()))
        elif match.lastgroup != "space" and match.group() not in "$€£":
            lexemes.append(match.group())
    return _without_units(_tokens(lexemes, variable))


def _tokens(lexemes: Sequence[str], variable: str | None) -> list[Token]:
    found: list[Token] = []
    index = 0
    while index < len(lexemes):
        word, before = lexemes[index], found[-1] if found else None
        if word == variable:
            found.append(Token("word", word))
            index += 1
        elif word in {"dozen", "dozens"} and before is not None and before.kind == "number":
            found.extend([Token("infix", "*"), Token("number", "12")])
            index += 1
        else:
            token, taken = _next_token(lexemes[index:], before)
            found.append(token)
            index += taken
    return found


def _next_token(rest: Sequence[str], before: Token | None) -> tuple[Token, int]:  # noqa: PLR0911  # one return a case
    word = rest[0]
    if word[0].isdigit() or word[0] == ".":
        return _digits(rest)
    if word == "factorial" and before is not None and before.kind in {"number", "bracket"}:
        return Token("postfix", "!"), 1
    if (phrase := _phrase(rest)) is not None:
        return phrase
    if (numeral := read_numeral(rest)) is not None:
        return Token("number", numeral.text), numeral.length
    if (fraction := _named_fraction(rest)) is not None:
        return fraction
    is_root = len(rest) > 1 and rest[1] in {"root", "roots"}
    if (rank := ordinal(word)) is not None and (before is not None or is_root):
        return Token("word", f"#{rank}"), 1
    if word in "()[]{}" and len(word) == 1:
        return Token("bracket", "(" if word in "([{" else ")"), 1
    return _sign(word)


def _digits(rest: Sequence[str]) -> tuple[Token, int]:
    word = rest[0]
    if (rank := ordinal(word)) is not None:
        return Token("word", f"#{rank}"), 1
    text = word.replace(",", "")
    text = "0" + text if text.startswith(".") else text
    following = rest[1] if len(rest) > 1 else ""
    scale = {"k": 1000}.get(following) or scale_of(following)
    scale = None if following in {"dozen", "dozens"} else scale
    if scale is None:
        return Token("number", _plain(text)), 1
    value = float(text) * scale
    return Token("number", str(int(value)) if value.is_integer() else str(value)), 2


def _plain(text: str) -> str:
    # Python refuses 007 as an integer.
    return text.lstrip("0") or "0" if text.isdecimal() else text


def _phrase(rest: Sequence[str]) -> tuple[Token, int] | None:
    words = rest[1:] if rest[0] == "the" and len(rest) > 1 else rest
    offset = len(rest) - len(words)
    phrases = _phrases()
    for length in range(min(5, len(words)), 0, -1):
        token = phrases.get(tuple(words[:length]))
        if token is not None:
            return token, length + offset
    return None


_FRACTIONS = {"half": 2, "third": 3, "quarter": 4, "fifth": 5, "tenth": 10}


def _named_fraction(rest: Sequence[str]) -> tuple[Token, int] | None:
    words = [*rest[:3], "", ""]
    if words[0] in {"a", "an", "the", "one"} and words[1] in _FRACTIONS and words[2] == "of":
        return Token("prefix", words[1]), 3
    return None


def _sign(word: str) -> tuple[Token, int]:
    if word in {"+", "-", "*", "/", "//", "**"}:
        return Token("infix", word), 1
    named: dict[str, Token] = {
        "^": Token("infix", "**"),
        "%": Token("postfix", "%"),
        "!": Token("postfix", "!"),
        "√": Token("prefix", "sqrt"),
    }
    return named.get(word, Token("word", word)), 1


def _without_units(tokens: Sequence[Token]) -> tuple[Token, ...]:
    units = {
        token.value
        for before, token in pairwise(tokens)
        if before.kind == "number"
        and token.kind == "word"
        and token.value in lexicon.words("units")
    }
    if len({unit.rstrip("s") for unit in units}) != 1:
        return tuple(tokens)
    return tuple(token for token in tokens if token.value not in units)
