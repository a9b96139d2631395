"""What a turn may spend: steps, refused calls, time. Values, never counters."""

from dataclasses import dataclass, replace

from servicekit.deadline import Deadline

# A tool that hangs must leave the model time to say so.
_TOOL_SHARE_OF_REST = 0.75
# An answer may have one of so many equal parts of the window.
_WINDOW_PARTS = 4


@dataclass(frozen=True, slots=True)
class TurnLimits:
    """The bounds of every turn.

    Attributes
    ----------
    max_steps
        Answers of the model in one turn.
    max_refused_calls
        Answers of the model with calls that never reach a tool (invented names, wrong
        arguments) in one turn, over all names together.
    max_same_failures
        In how many answers of one turn the same call may fail before the turn ends.
    max_tool_output_characters
        What the model sees of one tool result.
    max_answer_tokens
        The bound on one answer; a small window bounds it further.
    """

    max_steps: int = 8
    max_refused_calls: int = 4
    max_same_failures: int = 3
    max_tool_output_characters: int = 16_000
    max_answer_tokens: int = 2048

    def answer_tokens(self, window: int | None) -> int:
        """Return what is kept free for one answer; a small window is the conversation's first."""
        return (
            min(self.max_answer_tokens, window // _WINDOW_PARTS)
            if window
            else self.max_answer_tokens
        )


@dataclass(frozen=True, slots=True)
class Budget:
    """What is left of a turn."""

    deadline: Deadline
    steps_left: int
    refusals_left: int

    @classmethod
    def of(cls, limits: TurnLimits, deadline: Deadline) -> "Budget":
        """Return the budget with which a turn begins."""
        return cls(deadline, limits.max_steps, limits.max_refused_calls)

    def spend_step(self) -> "Budget":
        """Return the budget after one more answer of the model."""
        return replace(self, steps_left=self.steps_left - 1)

    def spend_refusal(self) -> "Budget":
        """Return the budget after one more answer with calls that could not be made."""
        return replace(self, refusals_left=self.refusals_left - 1)

    def tool_deadline(self) -> Deadline:
        """Return by when a tool called now must answer."""
        return self.deadline.within(self.deadline.remaining() * _TOOL_SHARE_OF_REST)
