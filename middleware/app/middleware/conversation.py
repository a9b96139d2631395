"""The values of a turn: what is said, what is called, what comes back. All frozen."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from middleware.pictures import Picture

FinishReason = Literal["stop", "length", "content_filter", "tool_calls"]


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call as the model wrote it: the arguments are text that nobody has parsed yet."""

    id: str
    name: str
    arguments_text: str


@dataclass(frozen=True, slots=True)
class SystemMessage:
    """The rules of the conversation."""

    text: str


@dataclass(frozen=True, slots=True)
class UserMessage:
    """What the person said."""

    text: str


@dataclass(frozen=True, slots=True)
class AssistantMessage:
    """What the model said, with the calls that it made."""

    text: str
    calls: tuple[ToolCall, ...] = ()


@dataclass(frozen=True, slots=True)
class ToolMessage:
    """What a call gave, as text for the model."""

    call_id: str
    name: str
    text: str


Message = SystemMessage | UserMessage | AssistantMessage | ToolMessage


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool that can be called: `input_schema` is its JSON Schema as its owner wrote it."""

    name: str
    description: str
    input_schema: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ToolResult:
    """How a call ended; `is_error` is the tool's own failure, which the model may correct."""

    text: str
    structured: Any = None
    is_error: bool = False
    pictures: tuple[Picture, ...] = ()


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens as the model's server counted them."""

    prompt_tokens: int = 0
    completion_tokens: int = 0

    @property
    def total_tokens(self) -> int:
        """Both together."""
        return self.prompt_tokens + self.completion_tokens

    def plus(self, other: "Usage") -> "Usage":
        """Return the sum of two."""
        return Usage(
            self.prompt_tokens + other.prompt_tokens,
            self.completion_tokens + other.completion_tokens,
        )


@dataclass(frozen=True, slots=True)
class ModelAnswer:
    """One whole answer of the model; a stream that was cut never becomes one.

    `has_reasoning` says that the model thought aloud in a field beside the answer.
    """

    text: str
    calls: tuple[ToolCall, ...]
    finish_reason: FinishReason
    usage: Usage = field(default_factory=Usage)
    has_reasoning: bool = False

    @property
    def is_empty(self) -> bool:
        """Whether it neither says nor calls anything."""
        return not self.calls and not self.text.strip()


@dataclass(frozen=True, slots=True)
class ModelRequest:
    """What the model is asked in one step.

    Attributes
    ----------
    is_retry_without_thinking
        Asks a model that thought itself into an empty answer to answer without thinking.
    answer_tokens
        What the window leaves free for the answer; None where nothing bounds it.
    """

    messages: tuple[Message, ...]
    tools: tuple[Tool, ...]
    is_retry_without_thinking: bool = False
    answer_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class CallBegun:
    """A call under way, as the caller sees it."""

    name: str
    arguments: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class CallRecord:
    """One call of the turn, as the caller sees it.

    `arguments` is text only when the model wrote something that is no object;
    `is_invented` says that no tool has this name.
    """

    name: str
    arguments: Mapping[str, Any] | str
    output: str
    is_error: bool
    duration_ms: float
    is_invented: bool = False
    pictures: tuple[Picture, ...] = ()
