"""The OpenAI chat completions API as clients of this service speak it.

Lenient where OpenAI's servers are: unknown fields are ignored, and so are sampling
settings, which belong to whoever runs this service. One model is served, whatever
name is asked for; the answer says which.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from servicekit.errors import ArgumentsInvalid

from middleware.arguments import sound_arguments
from middleware.chat_request import with_system_prompt
from middleware.conversation import (
    AssistantMessage,
    Message,
    SystemMessage,
    Tool,
    ToolCall,
    ToolMessage,
    UserMessage,
)
from middleware.errors import LastMessageNotUser, MessagesEmpty
from middleware.sound_text import sound

# Open WebUI asks for titles, tags and follow-ups with such a prompt and quotes the chat in
# it: what is quoted must be read, never done again.
_HIDDEN_TASK = "### Task:"

Text = Annotated[str, AfterValidator(sound)]


class _Lenient(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class ContentPart(_Lenient):
    """A part of a message; only text is understood."""

    type: str
    text: Text = ""


class FunctionCalled(_Lenient):
    """The function of a call in the history."""

    name: Text
    arguments: Text = ""


class CallMade(_Lenient):
    """A call in the history."""

    id: Text
    function: FunctionCalled


class CompletionMessage(_Lenient):
    """A message of the conversation."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: Text | tuple[ContentPart, ...] | None = None
    tool_calls: tuple[CallMade, ...] | None = None
    tool_call_id: Text = ""

    @property
    def text(self) -> str:
        """All text of the message."""
        if isinstance(self.content, tuple):
            return "\n".join(part.text for part in self.content if part.text)
        return self.content or ""


class FunctionOffered(_Lenient):
    """A function that the client can call."""

    name: Annotated[Text, Field(min_length=1, max_length=256)]
    description: Text | None = None
    parameters: dict[str, Any] | None = None


class ToolOffered(_Lenient):
    """A tool that the client can call."""

    function: FunctionOffered


class StreamOptions(_Lenient):
    """What a stream holds beside the answer."""

    include_usage: bool = False


class CompletionRequest(_Lenient):
    """A request for a completion."""

    messages: Annotated[tuple[CompletionMessage, ...], Field(max_length=10_000)]
    model: str | None = None
    stream: bool | None = False
    stream_options: StreamOptions | None = None
    tools: tuple[ToolOffered, ...] | None = None
    tool_choice: Any = None


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a request asks of the turn."""

    messages: tuple[Message, ...]
    client_tools: tuple[Tool, ...]
    has_tools: bool


def wanted(request: CompletionRequest, *, system_prompt: str) -> Wanted:
    """Return the turn that a request stands for.

    Raises
    ------
    MessagesEmpty, LastMessageNotUser, ArgumentsInvalid
    """
    said = _conversation(request.messages)
    if not said:
        raise MessagesEmpty("There is no message. Send at least one of the user.")
    last = said[-1]
    if not isinstance(last, UserMessage | ToolMessage):
        raise LastMessageNotUser("The last message must be the user's or a tool's.")
    if isinstance(last, UserMessage) and not last.text.strip():
        raise MessagesEmpty("The last message holds no text, and only text is understood.")
    if isinstance(last, UserMessage) and last.text.lstrip().startswith(_HIDDEN_TASK):
        return Wanted(said, (), has_tools=False)
    messages = with_system_prompt(said, system_prompt)
    if request.tool_choice == "none":
        return Wanted(messages, (), has_tools=False)
    return Wanted(messages, _client_tools(request.tools or ()), has_tools=True)


def _client_tools(offered: Sequence[ToolOffered]) -> tuple[Tool, ...]:
    return tuple(
        Tool(
            name=tool.function.name,
            description=tool.function.description or "",
            input_schema=tool.function.parameters or {"type": "object", "properties": {}},
        )
        for tool in offered
    )


def _conversation(messages: Sequence[CompletionMessage]) -> tuple[Message, ...]:
    names: dict[str, str] = {}
    said: list[Message] = []
    for message in messages:
        said.append(_message(message, names))
        names |= {call.id: call.function.name for call in message.tool_calls or ()}
    return tuple(said)


def _message(message: CompletionMessage, names: dict[str, str]) -> Message:
    match message.role:
        case "system" | "developer":
            return SystemMessage(message.text)
        case "user":
            return UserMessage(message.text)
        case "assistant":
            calls = tuple(
                ToolCall(call.id, call.function.name, sound_arguments(call.function.arguments))
                for call in message.tool_calls or ()
            )
            return AssistantMessage(message.text, calls)
        case "tool":
            if message.tool_call_id not in names:
                raise ArgumentsInvalid(
                    "A message of the role tool must follow the call that it answers and name "
                    "its tool_call_id."
                )
            return ToolMessage(message.tool_call_id, names[message.tool_call_id], message.text)
