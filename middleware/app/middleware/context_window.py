"""Fits a conversation into the model's window, in the open.

A server that is asked too much cuts silently, and often the wrong end (OLLAMA.md,
3). So it is done here first: the oldest tool results go first, then the oldest
exchanges, then the newest results are shortened. The system prompt and what the
user said last are never touched; whatever was done is said in a notice.

Notes
-----
Tokens are estimated from bytes; the estimate errs to the careful side for prose, code,
numbers and base64, and may be wrong by a third for scripts other than Latin.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from middleware.conversation import (
    AssistantMessage,
    Message,
    SystemMessage,
    Tool,
    ToolMessage,
    UserMessage,
)
from middleware.errors import ContextTooLong
from middleware.tool_output import capped

# Of vocabularies of 100,000 tokens and more: prose has 4 to 4.5 bytes a token, code 3 to 4.
_BYTES_PER_TOKEN = 3.6
# Llama takes up to three digits for a token, Qwen and Gemma each one.
_DIGITS_PER_TOKEN = 1.6
# Hashes, keys, base64: nothing in them is a word that a vocabulary could know.
_DENSE = re.compile(r"[A-Za-z0-9+/=_-]{24,}")
_DENSE_BYTES_PER_TOKEN = 1.8
_DIGITS = re.compile(r"[0-9]+")
_TOKENS_PER_MESSAGE = 6
_REMOVED = "[this result was removed to fit the model's window; call the tool again if needed]"
_SHORTENED_CHARACTERS = 1_500


@dataclass(frozen=True, slots=True)
class Fitted:
    """A conversation that fits, and what was done to it."""

    messages: tuple[Message, ...]
    notice: str | None = None


def estimated_tokens(messages: Sequence[Message], tools: Sequence[Tool] = ()) -> int:
    """Estimate what a request costs of the window."""
    offered = sum(
        _text_tokens(tool.name + tool.description + json.dumps(dict(tool.input_schema)))
        for tool in tools
    )
    return offered + sum(_message_tokens(message) for message in messages)


def fit(
    messages: Sequence[Message], tools: Sequence[Tool], *, window: int | None, answer_tokens: int
) -> Fitted:
    """Return the conversation cut to the window.

    Raises
    ------
    ContextTooLong
        When what may not be cut is already too long.
    """
    whole = tuple(messages)
    if window is None:
        return Fitted(whole)
    room = window - answer_tokens - estimated_tokens((), tools)
    if estimated_tokens(whole) <= room:
        return Fitted(whole)
    for cut in (_without_old_results, _without_old_exchanges, _with_short_results):
        whole, has_room = cut(whole, room)
        if has_room:
            return Fitted(whole, _notice(messages, whole))
    needed = estimated_tokens(whole) + window - room
    raise ContextTooLong(
        f"The message needs about {needed} tokens with the tools and the answer, and the model's "
        f"window has {window}. Send a shorter one, or raise MIDDLEWARE_CONTEXT_TOKENS if the "
        f"model has a larger window.",
        estimated_tokens=needed,
        context_tokens=window,
    )


def _text_tokens(text: str) -> int:
    dense = sum(map(len, _DENSE.findall(text)))
    loose = _DENSE.sub("", text) if dense else text
    digits = sum(map(len, _DIGITS.findall(loose)))
    rest = len(loose.encode("utf-8", "replace")) - digits
    tokens = dense / _DENSE_BYTES_PER_TOKEN + digits / _DIGITS_PER_TOKEN + rest / _BYTES_PER_TOKEN
    return int(tokens) + 1


def _message_tokens(message: Message) -> int:
    calls = message.calls if isinstance(message, AssistantMessage) else ()
    inside = sum(_text_tokens(call.name + call.arguments_text) for call in calls)
    return _TOKENS_PER_MESSAGE + _text_tokens(message.text) + inside


def _without_old_results(
    messages: tuple[Message, ...], room: int
) -> tuple[tuple[Message, ...], bool]:
    """Blank tool results, oldest first, but for those of the newest step."""
    newest = max(
        (index for index, message in enumerate(messages) if isinstance(message, AssistantMessage)),
        default=0,
    )
    kept = list(messages)
    excess = estimated_tokens(kept) - room
    for index, message in enumerate(messages[:newest]):
        if excess <= 0:
            break
        if isinstance(message, ToolMessage) and len(message.text) > len(_REMOVED):
            kept[index] = replace(message, text=_REMOVED)
            excess -= _message_tokens(message) - _message_tokens(kept[index])
    return tuple(kept), excess <= 0


def _without_old_exchanges(
    messages: tuple[Message, ...], room: int
) -> tuple[tuple[Message, ...], bool]:
    """Drop whole exchanges before the last user message, oldest first."""
    starts = [index for index, message in enumerate(messages) if isinstance(message, UserMessage)]
    if not starts:
        return messages, estimated_tokens(messages) <= room
    rules = [message for message in messages[: starts[-1]] if isinstance(message, SystemMessage)]
    for start in starts:
        earlier = [
            item for item in messages[start : starts[-1]] if not isinstance(item, SystemMessage)
        ]
        kept = (*rules, *earlier, *messages[starts[-1] :])
        if estimated_tokens(kept) <= room:
            return kept, True
    return (*rules, *messages[starts[-1] :]), False


def _with_short_results(
    messages: tuple[Message, ...], room: int
) -> tuple[tuple[Message, ...], bool]:
    """Shorten what is left of the tool results."""
    shortened = tuple(
        replace(message, text=capped(message.text, _SHORTENED_CHARACTERS))
        if isinstance(message, ToolMessage)
        else message
        for message in messages
    )
    return shortened, estimated_tokens(shortened) <= room


def _notice(before: Sequence[Message], after: Sequence[Message]) -> str:
    gone = len(before) - len(after)
    blanked = sum(
        1 for message in after if isinstance(message, ToolMessage) and message.text == _REMOVED
    )
    parts = [
        f"{blanked} older tool results were removed" if blanked else "",
        f"{gone} older messages were left out" if gone else "",
    ]
    said = " and ".join(part for part in parts if part) or "tool results were shortened"
    return f"To fit the model's window, {said}."
