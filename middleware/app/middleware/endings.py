"""What a turn says when it ends otherwise than by the model's answer."""

from collections.abc import Sequence
from typing import Any

from servicekit.errors import StackError

from middleware.conversation import CallRecord, ModelAnswer
from middleware.errors import LlmAnswerTooLong, LlmEmptyAnswer
from middleware.tool_output import capped

# What a problem document, or a client's transcript, shows of each call that was made.
_RECORD_CHARACTERS = 2_000
_ERROR_CHARACTERS = 600
_HOP = "model"


def cut_call(max_answer_tokens: int) -> LlmAnswerTooLong:
    """Return the error for a tool call that the bound on one answer cut."""
    return LlmAnswerTooLong(
        f"The model's answer was cut at {max_answer_tokens} tokens in the middle of a tool call, "
        "which was not made. Ask for something shorter, or raise MIDDLEWARE_MAX_ANSWER_TOKENS.",
        hop=_HOP,
    )


def empty_answer(answer: ModelAnswer, max_answer_tokens: int) -> StackError:
    """Return the error for an answer that was empty twice."""
    if answer.finish_reason == "length":
        return cut_call(max_answer_tokens)
    return LlmEmptyAnswer(
        "The model gave an empty answer twice. Small models do so when they get a tool call "
        "wrong; ask again in other words, or use a larger model (LLM_MODEL_NAME).",
        hop=_HOP,
    )


def after_steps(text: str, steps: int, calls: int) -> str:
    """Return what is said when the steps are spent."""
    said = f"{text.strip()}\n\n" if text.strip() else ""
    return (
        f"{said}I stopped after {steps} steps without a final answer; {calls} tool calls were made."
    )


def after_same_failures(name: str, times: int, output: str) -> str:
    """Return what is said when the same call keeps failing."""
    return (
        f"I stopped: the same call of {name} failed {times} times. "
        f"The last error was: {capped(output, _ERROR_CHARACTERS)}"
    )


def after_refusals(output: str) -> str:
    """Return what is said when the model keeps making calls that can't be made."""
    return (
        "I stopped: the model kept making tool calls that can't be made. The last one was "
        f"refused with: {capped(output, _ERROR_CHARACTERS)}"
    )


def with_results(text: str, records: Sequence[CallRecord]) -> str:
    """Write our calls of this turn into the text: the client's transcript has no other place."""
    if not records:
        return text
    results = "\n".join(
        f"[{record.name}] {capped(record.output, _RECORD_CHARACTERS)}" for record in records
    )
    return f"{text}\n{results}".strip()


def shown(records: Sequence[CallRecord]) -> list[dict[str, Any]]:
    """Return the calls as a problem document shows them."""
    return [
        {
            "name": record.name,
            "arguments": record.arguments,
            "output": capped(record.output, _RECORD_CHARACTERS),
            "is_error": record.is_error,
            "duration_ms": round(record.duration_ms, 1),
        }
        for record in records
    ]
