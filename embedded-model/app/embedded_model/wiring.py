"""What the routes are given."""

import datetime
from collections.abc import Callable
from dataclasses import dataclass

Clock = Callable[[], datetime.datetime]


@dataclass(frozen=True, slots=True)
class Wiring:
    """The model's name, and the clock for words like "3pm" that need today's date."""

    model_name: str
    clock: Clock
