"""What the runner says of itself when it is greeted: see `protocol`, whose part this is."""

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

from sandbox_runner.frames import ProtocolError
from sandbox_runner.message_fields import string

ProtectionState: TypeAlias = Literal["active", "degraded", "disabled", "unavailable"]


@dataclass(frozen=True, slots=True)
class Protection:
    """One line of defence and the state it was found in at start."""

    name: str
    state: ProtectionState
    detail: str = ""


@dataclass(frozen=True, slots=True)
class SlotUse:
    """How full the house is."""

    size: int
    in_use: int


@dataclass(frozen=True, slots=True)
class Bounds:
    """The most that a session may ask for; names and units as in `protocol.Limits`."""

    memory_bytes: int
    processes: int
    output_bytes: int
    file_bytes: int
    disk_bytes: int
    disk_entries: int
    timeout_seconds: float


@dataclass(frozen=True, slots=True)
class HelloEvent:
    """The runner's answer to `Hello`.

    Attributes
    ----------
    is_safe
        Whether it can confine a session.
    runs_code
        Whether it runs any: it is safe, or a setting accepts that it is not.
    started_seconds
        When the runner started, in seconds since 1970.
    """

    protocol: int
    python: str
    protections: tuple[Protection, ...]
    is_safe: bool
    runs_code: bool
    preloaded: tuple[str, ...]
    slots: SlotUse
    bounds: Bounds
    started_seconds: float


def parse_hello(message: dict[str, Any]) -> HelloEvent:
    """Return the answer to a greeting.

    Raises
    ------
    ProtocolError, KeyError, TypeError
        Its fields are not those of such an answer.
    """
    return HelloEvent(
        protocol=int(message["protocol"]),
        python=string(message, "python"),
        protections=tuple(_parse_protection(item) for item in message["protections"]),
        is_safe=message["is_safe"] is True,
        runs_code=message["runs_code"] is True,
        preloaded=tuple(str(name) for name in message["preloaded"]),
        slots=SlotUse(**message["slots"]),
        bounds=Bounds(**message["bounds"]),
        started_seconds=float(message["started_seconds"]),
    )


def _parse_protection(raw: dict[str, Any]) -> Protection:
    protection = Protection(**raw)
    if protection.state not in get_args(ProtectionState):
        raise ProtocolError(f"unknown protection state {protection.state!r}")
    return protection
