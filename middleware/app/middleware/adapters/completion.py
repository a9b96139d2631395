"""The chat completions API's shapes: requests out of our values, answers out of chunks."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, assert_never

from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.chat.chat_completion_chunk import ChoiceDeltaToolCall

from middleware.adapters.llm_errors import Blame
from middleware.conversation import (
    AssistantMessage,
    FinishReason,
    Message,
    ModelAnswer,
    SystemMessage,
    Tool,
    ToolCall,
    ToolMessage,
    Usage,
    UserMessage,
)
from middleware.sound_text import sound
from middleware.thinking import without_thinking

# A bound on memory, far above any sane answer; time is bounded elsewhere.
_MAX_CHARACTERS = 4_000_000
_FINISH: dict[str, FinishReason] = {
    "length": "length",
    "content_filter": "content_filter",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
}
# OpenAI-compatible servers agree on no name for what the model thought.
_REASONING_FIELDS = ("reasoning", "reasoning_content", "thinking")


def wire_messages(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """Return messages as the API wants them."""
    return [_wire_message(message) for message in messages]


def wire_tools(tools: Sequence[Tool]) -> list[dict[str, Any]]:
    """Return tools as the API wants them."""
    return [
        {
            "type": "function",
            "function": {
                "name": tool.name,
                "description": tool.description,
                "parameters": dict(tool.input_schema),
            },
        }
        for tool in tools
    ]


def _wire_message(message: Message) -> dict[str, Any]:
    match message:
        case SystemMessage(text):
            return {"role": "system", "content": text}
        case UserMessage(text):
            return {"role": "user", "content": text}
        case AssistantMessage(text, calls):
            said: dict[str, Any] = {"role": "assistant", "content": text}
            return said | ({"tool_calls": [_wire_call(call) for call in calls]} if calls else {})
        case ToolMessage(call_id, _, text):
            return {"role": "tool", "tool_call_id": call_id, "content": text}
        case never:
            assert_never(never)


def _wire_call(call: ToolCall) -> dict[str, Any]:
    function = {"name": call.name, "arguments": call.arguments_text}
    return {"id": call.id, "type": "function", "function": function}


@dataclass(slots=True)
class _CallPieces:
    """A tool call while its pieces arrive."""

    id: str = ""
    name: str = ""
    arguments: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Assembly:
    """An answer while its chunks arrive; the one value here that grows."""

    text: list[str] = field(default_factory=list)
    calls: list[_CallPieces] = field(default_factory=list)
    places: dict[int, _CallPieces] = field(default_factory=dict)
    finish_reason: str | None = None
    usage: Usage = field(default_factory=Usage)
    has_reasoning: bool = False
    is_untouched: bool = True
    characters: int = 0

    @classmethod
    def of_completion(cls, completion: ChatCompletion) -> "Assembly":
        """Return a plain answer as if it had been streamed."""
        assembly = cls(is_untouched=False)
        assembly._count(completion.usage)
        for choice in (completion.choices or [])[:1]:
            message = choice.message
            assembly.text.append(message.content or "")
            assembly.finish_reason = choice.finish_reason
            assembly.has_reasoning = _reasons(message.model_extra)
            for call in message.tool_calls or ():
                if call.type == "function" or getattr(call, "function", None):
                    function = call.function  # type: ignore[union-attr]  # only this kind has one, whatever it says of itself
                    arguments = function.arguments
                    written = arguments if isinstance(arguments, str) else json.dumps(arguments)
                    assembly.calls.append(_CallPieces(call.id or "", function.name, [written]))
        return assembly

    def add(self, chunk: ChatCompletionChunk) -> str:
        """Take one more chunk, and return its text.

        Raises
        ------
        ValueError
            When the answer is larger than any answer should be.
        """
        self.is_untouched = False
        self._count(chunk.usage)
        text = ""
        for choice in (chunk.choices or [])[:1]:
            delta = choice.delta
            if choice.finish_reason:
                self.finish_reason = choice.finish_reason
            if delta is None:
                continue
            text = delta.content or ""
            self._take(text, self.text)
            self.has_reasoning = self.has_reasoning or _reasons(delta.model_extra)
            for piece in delta.tool_calls or ():
                self._add_call(piece)
        return text

    def answer(self, blame: Blame) -> ModelAnswer:
        """Return the whole answer.

        Raises
        ------
        LlmCutOff
            When there was no finish reason: a server that dies ends its stream cleanly.
        """
        if self.finish_reason is None:
            raise blame.cut_off("the stream ended without a finish reason")
        whole = sound("".join(self.text))
        text = without_thinking(whole)
        calls = tuple(
            ToolCall(sound(pieces.id), sound(pieces.name), sound("".join(pieces.arguments)))
            for pieces in self.calls
        )
        return ModelAnswer(
            text=text,
            calls=calls,
            finish_reason=_FINISH.get(self.finish_reason, "stop"),
            usage=self.usage,
            has_reasoning=self.has_reasoning or text != whole,
        )

    def _add_call(self, piece: ChoiceDeltaToolCall) -> None:
        index = piece.index if isinstance(piece.index, int) else len(self.calls)
        known = self.places.get(index)
        function = piece.function
        # Some servers give every call index 0 and tell them apart by id alone.
        is_another = known is not None and piece.id and known.id and piece.id != known.id
        if known is None or is_another:
            known = _CallPieces()
            self.places[index] = known
            self.calls.append(known)
        known.id = known.id or piece.id or ""
        if function is None:
            return
        known.name = known.name or function.name or ""
        arguments = function.arguments
        if arguments is not None:
            written = arguments if isinstance(arguments, str) else json.dumps(arguments)
            self._take(written, known.arguments)

    def _take(self, text: str, pieces: list[str]) -> None:
        self.characters += len(text)
        if self.characters > _MAX_CHARACTERS:
            raise ValueError(f"more than {_MAX_CHARACTERS} characters")
        if text:
            pieces.append(text)

    def _count(self, usage: Any) -> None:
        if usage is not None:
            self.usage = Usage(usage.prompt_tokens or 0, usage.completion_tokens or 0)


def _reasons(extra: dict[str, Any] | None) -> bool:
    return any((extra or {}).get(name) for name in _REASONING_FIELDS)
