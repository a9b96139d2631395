"""The decision: from a transcript and the tools on offer to a text or to tool calls."""

import datetime as dt
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, assert_never

from servicekit.logs import get_logger

from embedded_model.answering import difference_sentence, sentence_for
from embedded_model.intents import (
    AskBack,
    Calculate,
    ConvertTime,
    Draw,
    Install,
    Intent,
    ListPackages,
    OutOfScope,
    Refuse,
    RunCode,
    ShowStatus,
    SmallTalk,
    TellTime,
)
from embedded_model.planning import Impossible, PlannedCall, Toolset, plan
from embedded_model.reading.context import Context
from embedded_model.reading.reader import UNREADABLE, Reading, read_message
from embedded_model.small_talk import OUT_OF_SCOPE, PARTLY_OUT_OF_SCOPE, courtesy_answer
from embedded_model.tasks import answer_task, is_task
from embedded_model.transcript import CallResult, Message, Turn, current_turn

_log = get_logger()
_MAX_EARLIER = 40
_MAX_IN_A_LINE = 2


@dataclass(frozen=True, slots=True)
class NewCall:
    """A tool call to make."""

    name: str
    arguments: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Reply:
    """What the model says: a text, or calls, never both."""

    text: str = ""
    calls: tuple[NewCall, ...] = ()


@dataclass(frozen=True, slots=True)
class Wish:
    """How the client wants the reply: at most one call in a step, or none at all."""

    is_calling_allowed: bool = True
    is_parallel: bool = True


def reply_to(
    messages: Sequence[Message], tools: Toolset, today: dt.date, wish: Wish | None = None
) -> Reply:
    """Answer a transcript.

    Notes
    -----
    Nothing is kept between calls: earlier messages of the person are read again, so that a
    follow-up has its ground; the assistant's own texts are not needed for that.
    """
    wish = wish or Wish()
    turn = current_turn(messages)
    if is_task(turn.request):
        return Reply(answer_task(turn.request))
    intents = _read(turn, today)
    plans = tuple(_planned(intent, tools, wish) for intent in intents)
    calls = [step for step in plans if isinstance(step, PlannedCall)]
    waiting = calls[len(turn.results) :] if _is_ours(turn.results, calls) else []
    if waiting:
        chosen = waiting if wish.is_parallel else waiting[:1]
        return Reply(calls=tuple(NewCall(call.name, call.arguments) for call in chosen))
    return Reply(_text(intents, plans, turn.results))


def _read(turn: Turn, today: dt.date) -> tuple[Intent, ...]:
    context = Context()
    for text in turn.earlier[-_MAX_EARLIER:]:
        if not is_task(text):
            context = _reading(text, context, today).context
    if not turn.request.strip():
        return (AskBack("What can I do for you?"),)
    return _reading(turn.request, context, today).intents


def _reading(text: str, context: Context, today: dt.date) -> Reading:
    """Read a message; one that the grammars break on is declined, and never ends the chat.

    Notes
    -----
    Earlier messages are read again in every request: without this, one message that can't
    be read would make every later request of its chat fail as well.
    """
    try:
        return read_message(text, context, today)
    except Exception as error:  # noqa: BLE001  # whatever a stranger's message does to a grammar
        _log.warning("message.unreadable", error=type(error).__name__, characters=len(text))
        return Reading((Refuse(UNREADABLE),), context)


def _planned(intent: Intent, tools: Toolset, wish: Wish) -> Intent | PlannedCall | Impossible:
    match intent:
        case SmallTalk() | OutOfScope() | Refuse() | AskBack():
            return intent
        case _:
            offered = tools if wish.is_calling_allowed else Toolset()
            return plan(intent, offered)


def _is_ours(results: Sequence[CallResult], calls: Sequence[PlannedCall]) -> bool:
    """Say whether the calls made so far are the first of those planned."""
    made = [result.call.name for result in results]
    return made == [call.name for call in calls[: len(made)]]


# --- the text
def _text(
    intents: Sequence[Intent],
    plans: Sequence[Intent | PlannedCall | Impossible],
    results: Sequence[CallResult],
) -> str:
    calls = [step for step in plans if isinstance(step, PlannedCall)]
    if results and not _is_ours(results, calls):
        return "\n\n".join(_strange(result, calls) for result in results)
    remaining = list(results)
    parts: list[str] = []
    told: list[tuple[TellTime, str]] = []
    for step in plans:
        if isinstance(step, PlannedCall) and remaining:
            result = remaining.pop(0)
            parts.append(sentence_for(step.action, step.name, result.text))
            if isinstance(step.action, TellTime) and step.action.wants == "difference":
                told.append((step.action, result.text))
        elif not isinstance(step, PlannedCall):
            parts.append(_remark(step, is_alone=len(intents) == 1))
    if len(told) == 2 and (difference := difference_sentence(told)) is not None:  # noqa: PLR2004  # two clocks
        parts.append(difference)
    return _joined(list(dict.fromkeys(parts))) or OUT_OF_SCOPE


def _joined(parts: Sequence[str]) -> str:
    if len(parts) == 1:
        return parts[0]
    # A sum on its own needs no full stop; beside another sentence it does.
    ended = [part if part.endswith((".", "!", "?", ":", "`")) else f"{part}." for part in parts]
    is_short = all("\n" not in part for part in parts) and len(parts) <= _MAX_IN_A_LINE
    return (" " if is_short else "\n\n").join(ended)


def _strange(result: CallResult, calls: Sequence[PlannedCall]) -> str:
    """Answer for a call that this model would not have made: another model began the turn."""
    for call in calls:
        if call.name == result.call.name and _same(call.arguments, result.call.arguments):
            return sentence_for(call.action, call.name, result.text)
    code = _arguments(result.call.arguments).get("code")
    action = RunCode(code) if isinstance(code, str) else None
    return sentence_for(action, result.call.name, result.text)


def _same(arguments: Mapping[str, Any], text: str) -> bool:
    return dict(arguments) == _arguments(text)


def _arguments(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text or "{}")
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _remark(step: Intent | Impossible, *, is_alone: bool) -> str:
    match step:
        case Impossible(_, ability):
            return f"I can't {ability} now: no tool for that is offered to me in this chat."
        case SmallTalk(courtesy):
            return courtesy_answer(courtesy)
        case OutOfScope():
            return OUT_OF_SCOPE if is_alone else PARTLY_OUT_OF_SCOPE
        case Refuse(sentence) | AskBack(question=sentence):
            return sentence
        case (
            TellTime()
            | ConvertTime()
            | RunCode()
            | Calculate()
            | Draw()
            | Install()
            | ListPackages()
            | ShowStatus()
        ):
            return ""
        case never:
            assert_never(never)
