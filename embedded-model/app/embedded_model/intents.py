"""What a message can ask for: a closed union of values."""

from dataclasses import dataclass, field
from typing import Literal

from embedded_model.formula import Formula

Courtesy = Literal[
    "greeting", "thanks", "farewell", "mood", "acknowledgement", "identity", "abilities"
]

# What a clock is asked for; "phase" is night or day, which the person sees from the time.
Wants = Literal["time", "day", "difference", "phase"]


@dataclass(frozen=True, slots=True)
class TellTime:
    """The time now, in UTC or in a zone; `place` is how the person named it."""

    zone: str | None = None
    place: str | None = None
    wants: Wants = "time"


@dataclass(frozen=True, slots=True)
class ConvertTime:
    """A given moment in another zone or another form."""

    time: str
    zone: str | None = None
    from_zone: str | None = None
    form: str | None = None
    place: str | None = None


@dataclass(frozen=True, slots=True)
class RunCode:
    """Code of the person's own, to the letter."""

    code: str


@dataclass(frozen=True, slots=True)
class Calculate:
    """A question that a line of code answers: a sum, a date.

    `label` names what is asked ("17 * 23"); with `yes` and `no` the code prints a
    truth value. `formula` is kept for a follow-up ("times 2"), and so is `source`, the
    question in full when a follow-up had to complete it.
    """

    code: str
    label: str = ""
    formula: Formula | None = None
    yes: str | None = None
    no: str | None = None
    source: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Draw:
    """A plot, by code of our own."""

    code: str
    label: str
    source: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Install:
    """A package, in a version or the newest."""

    package: str
    version: str | None = None


@dataclass(frozen=True, slots=True)
class ListPackages:
    """Everything installed, or whether certain packages are."""

    asked: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ShowStatus:
    """How the system is, or the figures of its services."""

    of: Literal["status", "metrics"] = "status"


@dataclass(frozen=True, slots=True)
class SmallTalk:
    """Courtesy, and questions about the model itself."""

    courtesy: Courtesy


@dataclass(frozen=True, slots=True)
class OutOfScope:
    """A request that only a language model could meet."""


@dataclass(frozen=True, slots=True)
class Refuse:
    """A request that no tool can do, or that says not to; `sentence` answers it."""

    sentence: str


@dataclass(frozen=True, slots=True)
class AskBack:
    """Not sure enough for a call; on a yes, `pending` is what was meant."""

    question: str
    pending: tuple["Intent", ...] = ()


Action = TellTime | ConvertTime | RunCode | Calculate | Draw | Install | ListPackages | ShowStatus
Remark = SmallTalk | OutOfScope | Refuse | AskBack
Intent = Action | Remark
ACTIONS = (TellTime, ConvertTime, RunCode, Calculate, Draw, Install, ListPackages, ShowStatus)


def is_action(intent: Intent) -> bool:
    """Say whether an intent wants a tool call."""
    return isinstance(intent, ACTIONS)
