"""Where a turn stands, and how it ends: values that each step returns anew."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from middleware.budget import Budget
from middleware.conversation import (
    CallRecord,
    Message,
    ModelAnswer,
    ToolCall,
    ToolMessage,
    Usage,
)
from middleware.pictures import fitting
from middleware.tool_output import capped

TurnEnd = Literal[
    "stop",
    "length",
    "content_filter",
    "tool_calls",
    "max_steps",
    "repeated_failure",
    "invalid_tool_calls",
]
CallFate = Literal["done", "failed", "refused"]


@dataclass(frozen=True, slots=True)
class TurnOutcome:
    """How a turn ended.

    `client_calls` are calls of the client's own tools, which only it can make; then
    `end` is `tool_calls`.
    """

    text: str
    end: TurnEnd
    records: tuple[CallRecord, ...]
    usage: Usage
    steps: int
    notices: tuple[str, ...] = ()
    client_calls: tuple[ToolCall, ...] = ()


@dataclass(frozen=True, slots=True)
class Made:
    """One call after it was dealt with."""

    call: ToolCall
    record: CallRecord
    fate: CallFate

    @property
    def key(self) -> tuple[str, str]:
        """What makes two calls the same."""
        return self.call.name, self.call.arguments_text


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a turn stands; each step returns the next one."""

    messages: tuple[Message, ...]
    budget: Budget
    window: int | None = None
    records: tuple[CallRecord, ...] = ()
    usage: Usage = field(default_factory=Usage)
    steps: int = 0
    notices: tuple[str, ...] = ()
    failures: Mapping[tuple[str, str], int] = field(default_factory=dict)

    def after_answer(self, answer: ModelAnswer, notice: str | None) -> "Progress":
        """Return the progress with one more answer paid for."""
        fresh = notice is not None and notice not in self.notices
        return replace(
            self,
            usage=self.usage.plus(answer.usage),
            steps=self.steps + 1,
            budget=self.budget.spend_step(),
            notices=(*self.notices, notice) if fresh and notice else self.notices,
        )

    def with_room_for(self, made: Made) -> Made:
        """Return a call with the pictures that the turn may still show."""
        shown = (picture for record in self.records for picture in record.pictures)
        kept = fitting(made.record.pictures, shown)
        return replace(made, record=replace(made.record, pictures=kept))

    def after_call(self, made: Made, output_characters: int) -> "Progress":
        """Return the progress with a call's result in the transcript."""
        text = capped(made.record.output, output_characters)
        return replace(
            self,
            messages=(*self.messages, ToolMessage(made.call.id, made.call.name, text)),
            records=(*self.records, made.record),
        )

    def after_calls(self, all_made: Sequence[Made]) -> "Progress":
        """Return the progress with one answer's wrong calls counted.

        Once an answer, however many it holds: a model may only be blamed for what it
        was told.
        """
        failures = dict(self.failures)
        for key in {made.key for made in all_made if made.fate != "done"}:
            failures[key] = failures.get(key, 0) + 1
        has_refused = any(made.fate == "refused" for made in all_made)
        budget = self.budget.spend_refusal() if has_refused else self.budget
        return replace(self, budget=budget, failures=failures)

    def ended(self, end: TurnEnd, text: str, calls: tuple[ToolCall, ...] = ()) -> TurnOutcome:
        """Return the outcome of a turn that ends here."""
        return TurnOutcome(text, end, self.records, self.usage, self.steps, self.notices, calls)
