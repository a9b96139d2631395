"""What the turn needs from the outside: a model to ask and tools to call."""

from typing import Any, Protocol

from servicekit.deadline import Deadline

from middleware.conversation import (
    CallBegun,
    CallRecord,
    ModelAnswer,
    ModelRequest,
    Tool,
    ToolResult,
)


class Listener(Protocol):
    """Hears an answer while it is made; nothing that it does may fail or wait."""

    @property
    def has_heard(self) -> bool:
        """Whether text of the present answer went on already, so that it can't be taken back."""
        ...

    def begin(self, *, may_call: bool) -> None:
        """Begin an answer, or the same one anew; `may_call` where it may be tool calls."""
        ...

    def add(self, piece: str) -> None:
        """Take more text of the present answer."""
        ...

    def calling(self, call: CallBegun) -> None:
        """Take a tool call that begins now; `called` follows when it is over."""
        ...

    def called(self, record: CallRecord) -> None:
        """Take a tool call that is over."""
        ...


class ChatModel(Protocol):
    """A language model that can call tools."""

    @property
    def name(self) -> str:
        """The model's name, as the answer shows it."""
        ...

    async def answer(
        self, request: ModelRequest, deadline: Deadline, listener: Listener | None = None
    ) -> ModelAnswer:
        """Return one whole answer, which the listener hears while it comes.

        Raises
        ------
        StackError
            One of the `Llm…` errors; `LlmTimeout` when the deadline passed.
        """
        ...

    async def window(self, deadline: Deadline) -> int | None:
        """Return the model's window in tokens, as it is now; None where there is none.

        Raises nothing: a server that can't say it gets a careful guess.
        """
        ...

    async def check(self) -> None:
        """Return when a chat with the model works now; raise the reason otherwise."""
        ...


class Toolbox(Protocol):
    """All tools that can be called, wherever they live."""

    async def tools(self, deadline: Deadline, *, is_fresh: bool = False) -> tuple[Tool, ...]:
        """Return the tools that there are; `is_fresh` asks for them in any case.

        Raises
        ------
        GatewayUnreachable, GatewayTimeout
            When nobody can say.
        """
        ...

    async def call(self, name: str, arguments: dict[str, Any], deadline: Deadline) -> ToolResult:
        """Call a tool; its own failure is a result.

        Raises
        ------
        ToolUnknown, ArgumentsInvalid, GatewayUnreachable, ToolUnavailable, ToolTimeout
            When the tool was not there to fail.
        """
        ...

    async def check(self) -> None:
        """Return when there are tools to call now; raise the reason otherwise."""
        ...
