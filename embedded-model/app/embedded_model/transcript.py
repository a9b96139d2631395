"""The transcript of a chat: what was asked, what was called, what the tools answered."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Role = Literal["system", "developer", "user", "assistant", "tool", "function"]


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call that was made: the tool's name and its arguments as JSON text."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Message:
    """One message, whatever its wire form was."""

    role: Role
    text: str = ""
    calls: tuple[ToolCall, ...] = ()
    call_id: str | None = None


@dataclass(frozen=True, slots=True)
class CallResult:
    """A call with what its tool answered."""

    call: ToolCall
    text: str


@dataclass(frozen=True, slots=True)
class Turn:
    """The turn in progress: the person's earlier texts, the newest, and the results so far."""

    earlier: tuple[str, ...]
    request: str
    results: tuple[CallResult, ...]


def current_turn(messages: Sequence[Message]) -> Turn:
    """Find the turn that waits for an answer.

    A tool's result that names no call is matched by its place.
    """
    users = [index for index, message in enumerate(messages) if message.role == "user"]
    last = users[-1] if users else -1
    after = messages[last + 1 :]
    texts = [messages[index].text for index in users]
    return Turn(
        earlier=tuple(texts[:-1]),
        request=texts[-1] if texts else "",
        results=_results(after),
    )


def _results(messages: Sequence[Message]) -> tuple[CallResult, ...]:
    calls = [call for message in messages for call in message.calls]
    by_id = {call.id: call for call in calls}
    unnamed = list(calls)
    found: list[CallResult] = []
    for message in messages:
        if message.role not in {"tool", "function"}:
            continue
        call = by_id.get(message.call_id or "") or (unnamed[0] if unnamed else None)
        if call is None:
            continue
        if call in unnamed:
            unnamed.remove(call)
        found.append(CallResult(call, message.text))
    return tuple(sorted(found, key=lambda result: calls.index(result.call)))
