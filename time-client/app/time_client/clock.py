"""The port through which the service learns what time it is."""

from datetime import datetime
from typing import Protocol


class Clock(Protocol):
    """A source of the present moment."""

    def now(self) -> datetime:
        """Give the present moment, aware, in UTC."""
        ...
