"""What earlier messages left behind: the ground that a follow-up stands on."""

from dataclasses import dataclass, replace
from typing import Literal

from embedded_model.intents import AskBack, Intent, RunCode, is_action

Awaited = Literal["place", "code", "package"]


@dataclass(frozen=True, slots=True)
class Done:
    """One clause that was understood: its words as read, and what it asked for."""

    text: str
    intents: tuple[Intent, ...]


@dataclass(frozen=True, slots=True)
class Context:
    """A value that grows with each message; nothing is kept between requests."""

    done: tuple[Done, ...] = ()
    last_turn: tuple[Intent, ...] = ()
    pending: tuple[Intent, ...] = ()
    awaited: Awaited | None = None
    code: RunCode | None = None

    @property
    def last(self) -> Done | None:
        """Return the last clause that asked for an action."""
        return self.done[-1] if self.done else None

    def with_clause(self, done: Done) -> "Context":
        """Return the context after one more clause."""
        if not any(is_action(intent) for intent in done.intents):
            return self
        return replace(self, done=(*self.done[-7:], done))

    def with_turn(self, intents: tuple[Intent, ...], codes: tuple[str, ...]) -> "Context":
        """Return the context after a whole message."""
        actions = tuple(intent for intent in intents if is_action(intent))
        questions = [intent for intent in intents if isinstance(intent, AskBack)]
        run = [intent for intent in actions if isinstance(intent, RunCode)]
        seen = run[-1] if run else RunCode(codes[-1]) if codes else self.code
        return replace(
            self,
            last_turn=actions or self.last_turn,
            pending=questions[-1].pending if questions else (),
            awaited=_awaited(questions[-1].question) if questions else None,
            code=seen,
        )


def _awaited(question: str) -> Awaited | None:
    if "city" in question or "zone" in question:
        return "place"
    if "code" in question:
        return "code"
    return "package" if "Which package" in question else None
