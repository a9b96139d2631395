"""What the model is offered: our tools and the client's, under names that it can use.

Our tools keep their names. A client's tool with the same name is offered under
another and handed back under its own, so that neither hides the other.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from middleware.conversation import AssistantMessage, Message, Tool, ToolCall, ToolMessage
from middleware.tool_schema import normalised

# What OpenAI's API allows for a function's name; others copied it.
_FORBIDDEN = re.compile(r"[^A-Za-z0-9_-]")
_MAX_NAME = 64
_MAX_DESCRIPTION = 2048


@dataclass(frozen=True, slots=True)
class Offer:
    """Tools as offered, and whose they are; the mappings go by the offered name.

    Attributes
    ----------
    tools
        As the model sees them: safe names, normalised schemas.
    own
        Ours as their owner describes them.
    client
        The client's own names of its tools.
    """

    tools: tuple[Tool, ...] = ()
    own: Mapping[str, Tool] = field(default_factory=dict)
    client: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, own: Iterable[Tool], client: Iterable[Tool] = ()) -> "Offer":
        """Return the offer of our tools and the client's."""
        ours: dict[str, Tool] = {}
        for tool in own:
            ours[_free_name(tool.name, ours)] = tool
        theirs: dict[str, Tool] = {}
        for tool in client:
            name = tool.name if tool.name not in ours else f"client_{tool.name}"
            theirs[_free_name(name, {**ours, **theirs})] = tool
        offered = tuple(_as_offered(name, tool) for name, tool in {**ours, **theirs}.items())
        return cls(offered, ours, {name: tool.name for name, tool in theirs.items()})

    @property
    def names(self) -> tuple[str, ...]:
        """All offered names."""
        return tuple(tool.name for tool in self.tools)

    def renamed_for_model(self, messages: Sequence[Message]) -> tuple[Message, ...]:
        """Return the client's history with its calls under the names offered now."""
        offered = {own: name for name, own in self.client.items()}
        return tuple(_renamed(message, offered) for message in messages)

    def renamed_for_client(self, call: ToolCall) -> ToolCall:
        """Return a call of the client's tool under the client's own name."""
        return replace(call, name=self.client[call.name])


def _free_name(name: str, taken: Mapping[str, Tool]) -> str:
    safe = _FORBIDDEN.sub("_", name)[:_MAX_NAME] or "tool"
    candidate, number = safe, 2
    while candidate in taken:
        suffix = f"_{number}"
        candidate, number = safe[: _MAX_NAME - len(suffix)] + suffix, number + 1
    return candidate


def _as_offered(name: str, tool: Tool) -> Tool:
    return Tool(name, tool.description[:_MAX_DESCRIPTION], normalised(tool.input_schema))


def _renamed(message: Message, offered: Mapping[str, str]) -> Message:
    if isinstance(message, ToolMessage):
        return replace(message, name=offered.get(message.name, message.name))
    if isinstance(message, AssistantMessage) and message.calls:
        calls = tuple(
            replace(call, name=offered.get(call.name, call.name)) for call in message.calls
        )
        return replace(message, calls=calls)
    return message
