"""How far the pull of the model is, as the service that pulls it wrote it down."""

import json
from dataclasses import dataclass
from typing import Any, Literal

# Its writer touches it each second; what is older was left behind by one that is gone.
_MAX_AGE_SECONDS = 30.0
_MIN_RETRY_SECONDS = 2.0
_MAX_RETRY_SECONDS = 60.0
_PHASES = ("waiting", "pulling", "failed")


@dataclass(frozen=True, slots=True)
class ModelPull:
    """A pull that goes on, or that failed and is tried again.

    Attributes
    ----------
    model
        The name of the model that is pulled.
    completed_bytes, total_bytes
        What is there of the parts that are known; both 0 before the first one is.
    reason
        Why the last try failed; empty where none did.
    next_try_seconds
        Seconds to the next try of a pull that failed.
    """

    model: str
    phase: Literal["waiting", "pulling", "failed"]
    completed_bytes: int = 0
    total_bytes: int = 0
    bytes_per_second: float = 0.0
    failures: int = 0
    reason: str = ""
    next_try_seconds: float = 0.0

    @property
    def is_failing(self) -> bool:
        """Whether the last try failed and the next one has not begun."""
        return self.phase == "failed"

    @property
    def percent(self) -> int:
        """How much of what is known is there."""
        return int(100 * self.completed_bytes / self.total_bytes) if self.total_bytes else 0

    @property
    def retry_after_seconds(self) -> float:
        """Return when it makes sense to ask again: at the end of the pull, within a minute."""
        if self.is_failing:
            seconds = self.next_try_seconds
        elif self.bytes_per_second > 0:
            seconds = (self.total_bytes - self.completed_bytes) / self.bytes_per_second
        else:
            seconds = 5.0
        return min(max(seconds, _MIN_RETRY_SECONDS), _MAX_RETRY_SECONDS)

    @property
    def progress(self) -> str:
        """Say how far it is: `37 %, 1.8 of 4.9 GB, about 4 min left`."""
        if not self.total_bytes:
            return "it has just begun"
        unit, size = ("GB", 1e9) if self.total_bytes >= 1e9 else ("MB", 1e6)  # noqa: PLR2004  # the unit itself
        amount = f"{self.completed_bytes / size:.1f} of {self.total_bytes / size:.1f} {unit}"
        return f"{self.percent} %, {amount}{self._rest()}"

    def is_of(self, model: str) -> bool:
        """Whether it pulls this model; a name without a tag means `latest`."""
        return _tagged(self.model) == _tagged(model)

    def _rest(self) -> str:
        if self.bytes_per_second <= 0:
            return ""
        seconds = (self.total_bytes - self.completed_bytes) / self.bytes_per_second
        if seconds < 90:  # noqa: PLR2004  # up to here people count in seconds
            return f", about {max(1, round(seconds))} s left"
        return f", about {round(seconds / 60)} min left"


def read_pull(raw: bytes, *, now: float) -> ModelPull | None:
    """Return the pull that a status file tells of; None when none goes on.

    Parameters
    ----------
    now
        Seconds of the epoch.
    """
    try:
        document = json.loads(raw)
    except (ValueError, RecursionError):
        return None
    if not isinstance(document, dict) or document.get("phase") not in _PHASES:
        return None
    if now - _number(document, "updated_at") > _MAX_AGE_SECONDS:
        return None
    return ModelPull(
        model=str(document.get("model", "")),
        phase=document["phase"],
        completed_bytes=int(_number(document, "completed_bytes")),
        total_bytes=int(_number(document, "total_bytes")),
        bytes_per_second=_number(document, "bytes_per_second"),
        failures=int(_number(document, "failures")),
        reason=str(document.get("reason", "")),
        next_try_seconds=_number(document, "retry_seconds"),
    )


def _number(document: dict[str, Any], name: str) -> float:
    value = document.get(name)
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return max(0.0, min(float(value), 1e18)) if is_number else 0.0  # type: ignore[arg-type]  # a number, as just asked


def _tagged(model: str) -> str:
    return model if ":" in model.rpartition("/")[2] else f"{model}:latest"
