"""Keeps one complaint, said over and over, from hiding all others."""

from dataclasses import dataclass, field
from typing import Literal

Verdict = Literal["show", "show-last", "hide"]


@dataclass
class Repeats:
    """Lets a few lines of one kind through in each span of time."""

    most: int = 3
    span_seconds: float = 10.0
    _counts: dict[str, tuple[float, int]] = field(default_factory=dict)

    def judge(self, kind: str, now: float) -> Verdict:
        """Count a line of a kind; `show-last` is the last one before they are hidden."""
        begun, count = self._counts.get(kind, (now, 0))
        if now - begun >= self.span_seconds:
            begun, count = now, 0
        if count == 0 and len(self._counts) > 1000:  # noqa: PLR2004  # kinds are few; a flood of new ones is no reason to grow
            self._counts.clear()
        self._counts[kind] = (begun, count + 1)
        if count + 1 < self.most:
            return "show"
        return "show-last" if count + 1 == self.most else "hide"
