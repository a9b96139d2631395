"""Courtesy, questions about the model itself, and about the system."""

from functools import cache

from rapidfuzz import fuzz

from embedded_model import lexicon
from embedded_model.intents import Courtesy, Intent, ShowStatus, SmallTalk

_COURTESIES: tuple[Courtesy, ...] = (
    "greeting", "thanks", "farewell", "mood", "acknowledgement", "identity", "abilities",
)  # fmt: skip
_MIN_FUZZY = 6
_NEAR = 90


def _bare(text: str) -> str:
    return " ".join(
        "".join(char if char.isalnum() or char in "'- " else " " for char in text).split()
    )


@cache
def _phrases() -> dict[str, Intent]:
    found: dict[str, Intent] = {}
    for courtesy in _COURTESIES:
        for phrase in lexicon.sections("talk")[courtesy]:
            found[_bare(phrase)] = SmallTalk(courtesy)
    for line in lexicon.sections("talk_status").get("status", ()):
        found[_bare(line)] = ShowStatus()
    for line in lexicon.sections("talk_status").get("metrics", ()):
        found[_bare(line)] = ShowStatus("metrics")
    return found


def read_talk(text: str) -> Intent | None:
    """Read a text that is nothing but courtesy, or a question about the model or the system."""
    bare = _bare(text)
    exact = _phrases().get(bare)
    if exact is not None or len(bare) < _MIN_FUZZY:
        return exact
    scored = (
        (fuzz.ratio(bare, phrase), phrase)
        for phrase in _phrases()
        if abs(len(phrase) - len(bare)) <= 2 and len(phrase.split()) == len(bare.split())  # noqa: PLR2004  # a typing error or two
    )
    score, phrase = max(scored, default=(0.0, ""))
    return _phrases()[phrase] if score >= _NEAR else None
