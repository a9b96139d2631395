"""A message on its way to intents: its words and code, and the clauses it was cut into."""

import datetime as dt
from dataclasses import dataclass

from embedded_model.intents import Intent
from embedded_model.reading.code_text import Code
from embedded_model.wording import Word


@dataclass(frozen=True, slots=True)
class Clause:
    """A part of a message, and what it asks for when a grammar took the whole of it."""

    words: tuple[Word, ...]
    intents: tuple[Intent, ...]
    is_read: bool
    opens_sentence: bool = True


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a person, its code taken out, on a certain day."""

    words: tuple[Word, ...]
    codes: tuple[Code, ...]
    today: dt.date
