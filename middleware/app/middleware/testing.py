"""The official fakes of this package's ports; a contract test holds them to the real ones."""

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from servicekit.deadline import Deadline
from servicekit.errors import StackError

from middleware.conversation import ModelAnswer, ModelRequest, Tool, ToolCall, ToolResult, Usage
from middleware.errors import ToolUnknown
from middleware.ports import Listener

Reply = ModelAnswer | StackError | Callable[[ModelRequest], ModelAnswer]
Handler = Callable[[dict[str, Any]], ToolResult | Awaitable[ToolResult]]


def says(text: str, *, finish_reason: str = "stop", has_reasoning: bool = False) -> ModelAnswer:
    """Return an answer in words."""
    return ModelAnswer(
        text,
        (),
        finish_reason,  # type: ignore[arg-type]  # tests pass literals
        Usage(10, 5),
        has_reasoning,
    )


def calls(
    *wanted: tuple[str, str], text: str = "", finish_reason: str = "tool_calls"
) -> ModelAnswer:
    """Return an answer that makes calls, each given as (name, arguments text)."""
    made = tuple(
        ToolCall(f"c{place}", name, arguments) for place, (name, arguments) in enumerate(wanted)
    )
    return ModelAnswer(text, made, finish_reason, Usage(10, 5))  # type: ignore[arg-type]  # as above


async def _at_once() -> None:
    """Let nobody wait."""


@dataclass
class ScriptedModel:
    """A `ChatModel` that gives prepared answers, the last one for ever."""

    replies: Sequence[Reply]
    name: str = "scripted"
    requests: list[ModelRequest] = field(default_factory=list)
    deadlines: list[Deadline] = field(default_factory=list)
    failure: StackError | None = None
    window_tokens: int | None = None
    between_words: Callable[[], Awaitable[None]] = _at_once

    async def window(self, deadline: Deadline) -> int | None:
        """Return `window_tokens`."""
        del deadline
        return self.window_tokens

    async def answer(
        self, request: ModelRequest, deadline: Deadline, listener: Listener | None = None
    ) -> ModelAnswer:
        """Return the next prepared answer, or raise it; a listener hears it word by word."""
        self.requests.append(request)
        self.deadlines.append(deadline)
        reply = self.replies[min(len(self.requests), len(self.replies)) - 1]
        if isinstance(reply, StackError):
            raise reply
        answer = reply(request) if callable(reply) else reply
        if listener is not None:
            listener.begin(may_call=bool(request.tools))
            for word in re.findall(r"\s*\S+|\s+", answer.text):
                listener.add(word)
                await self.between_words()
        return answer

    async def check(self) -> None:
        """Raise `failure` when there is one."""
        if self.failure is not None:
            raise self.failure


@dataclass
class HangingModel:
    """A `ChatModel` that never answers and records how it was ended."""

    name: str = "hanging"
    was_asked: asyncio.Event = field(default_factory=asyncio.Event)
    was_cancelled: asyncio.Event = field(default_factory=asyncio.Event)

    async def window(self, deadline: Deadline) -> int | None:
        """Have none."""
        del deadline
        return None

    async def answer(
        self, request: ModelRequest, deadline: Deadline, listener: Listener | None = None
    ) -> ModelAnswer:
        """Wait for ever."""
        del request, deadline, listener
        self.was_asked.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.was_cancelled.set()
        raise AssertionError

    async def check(self) -> None:
        """Be well."""


@dataclass
class FakeToolbox:
    """A `Toolbox` in memory; each handler gets the arguments and returns the result."""

    handlers: Mapping[str, tuple[Tool, Handler]]
    failure: StackError | None = None
    made: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    async def tools(self, deadline: Deadline, *, is_fresh: bool = False) -> tuple[Tool, ...]:
        """Return the tools."""
        del deadline, is_fresh
        if self.failure is not None:
            raise self.failure
        return tuple(tool for tool, _ in self.handlers.values())

    async def call(self, name: str, arguments: dict[str, Any], deadline: Deadline) -> ToolResult:
        """Run the tool's handler."""
        del deadline
        if name not in self.handlers:
            raise ToolUnknown(f"There is no tool {name!r}.")
        self.made.append((name, arguments))
        result = self.handlers[name][1](arguments)
        return result if isinstance(result, ToolResult) else await result

    async def check(self) -> None:
        """Raise `failure` when there is one."""
        if self.failure is not None:
            raise self.failure


def toolbox_of(*tools: tuple[Tool, Handler]) -> FakeToolbox:
    """Return a toolbox of these tools."""
    return FakeToolbox({tool.name: (tool, handler) for tool, handler in tools})


def tool(
    name: str,
    properties: Mapping[str, Any] | None = None,
    *,
    required: Iterable[str] = (),
    description: str = "",
) -> Tool:
    """Return a tool with an object schema."""
    schema = {
        "type": "object",
        "properties": dict(properties or {}),
        "required": list(required),
        "additionalProperties": False,
    }
    return Tool(name, description or f"The tool {name}", schema)
