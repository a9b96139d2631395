"""What the routes are given."""

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass

Clock = Callable[[], dt.datetime]


@dataclass(frozen=True, slots=True)
class Wiring:
    """The model's name, and the clock for words like "3pm" that need today's date."""

    model_name: str
    clock: Clock
