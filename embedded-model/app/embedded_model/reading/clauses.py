"""Clauses: courtesy taken off, and the places where a message may be cut."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache

from embedded_model import lexicon
from embedded_model.wording import Word, text_of

CLOSERS = frozenset({"?", "!", ".", ";"})
_JOINS = frozenset({",", "and", "then", "also", "&", "plus", "or", "but", "so"})
_QUOTES = frozenset({'"', "'"})
_MAX_PHRASE = 8
_MAX_PARTS = 12  # nobody says "what is" so often before the question begins


@dataclass(frozen=True, slots=True)
class Atom:
    """Words between two places where a message may be cut."""

    words: tuple[Word, ...]
    before: tuple[Word, ...]  # the marks and joining words in front of it

    @property
    def opens_sentence(self) -> bool:
        """Say whether a sentence ended before it."""
        return not self.before or any(word.text in CLOSERS for word in self.before)


def atoms_of(words: Sequence[Word]) -> tuple[Atom, ...]:
    """Cut a message at its marks and joining words."""
    found: list[Atom] = []
    before: list[Word] = []
    current: list[Word] = []
    for word in words:
        if word.text in CLOSERS or word.text in _JOINS:
            if current:
                found.append(Atom(tuple(current), tuple(before)))
                current, before = [], []
            before.append(word)
        else:
            current.append(word)
    if current:
        found.append(Atom(tuple(current), tuple(before)))
    return tuple(found)


def joined(atoms: Sequence[Atom]) -> tuple[Word, ...]:
    """Join neighbouring atoms with what stood between them."""
    words: list[Word] = []
    for index, atom in enumerate(atoms):
        words.extend((*(atom.before if index else ()), *atom.words))
    return tuple(words)


@cache
def _phrases(section: str) -> frozenset[tuple[str, ...]]:
    return frozenset(tuple(line.split()) for line in lexicon.sections("courtesy")[section])


def _front_length(texts: Sequence[str], section: str) -> int:
    phrases = _phrases(section)
    for length in range(min(_MAX_PHRASE, len(texts)), 0, -1):
        if tuple(texts[:length]) in phrases:
            return length
    return 0


def without_courtesy(words: Sequence[Word]) -> tuple[Word, ...]:
    """Take phrases like "could you please" off the front and "for me" off the end."""
    words = tuple(words)
    changed = True
    while changed and words:
        changed = False
        while words and words[0].text in {",", "-", ":", "'", '"', *CLOSERS, "..."}:
            words, changed = words[1:], True
        while words and words[-1].text in {",", ":", *CLOSERS, *_QUOTES, "..."}:
            words, changed = words[:-1], True
        length = _front_length([word.text for word in words], "front")
        if length:
            words, changed = words[length:], True
        length = _end_length(words)
        if length and length < len(words):
            words, changed = words[:-length], True
    return words


def _end_length(words: Sequence[Word]) -> int:
    phrases = _phrases("end")
    texts = [word.text for word in words]
    for length in range(min(_MAX_PHRASE, len(texts)), 0, -1):
        if tuple(texts[-length:]) in phrases:
            return length
    return 0


def asked_parts(words: Sequence[Word]) -> Iterator[tuple[Word, ...]]:
    """Yield a clause, then what remains of it as "what is", "tell me" … come off its front."""
    seen: set[str] = set()
    queue = [tuple(words)]
    while queue and len(seen) < _MAX_PARTS:
        current = queue.pop(0)
        text = text_of(current)
        if not current or text in seen:
            continue
        seen.add(text)
        yield current
        texts = [word.text for word in current]
        phrases = _phrases("ask")
        queue.extend(
            without_courtesy(current[length:])
            for length in range(min(_MAX_PHRASE, len(texts)), 0, -1)
            if tuple(texts[:length]) in phrases
        )
