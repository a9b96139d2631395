"""How long to wait before a program is started again."""

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Backoff:
    """Waits that double from a fast first one, and start over after a good run."""

    first_seconds: float = 0.2
    longest_seconds: float = 10.0
    # A program that was ready for this long has recovered.
    good_run_seconds: float = 20.0
    failures: int = 0

    @property
    def wait_seconds(self) -> float:
        """How long to wait now."""
        doublings = min(max(self.failures - 1, 0), 30)
        return min(self.first_seconds * 2.0**doublings, self.longest_seconds)

    def after_death(self, ready_seconds: float | None) -> "Backoff":
        """Count a death after `ready_seconds` of being ready (None: it never was)."""
        if ready_seconds is not None and ready_seconds >= self.good_run_seconds:
            return replace(self, failures=1)
        return replace(self, failures=self.failures + 1)
