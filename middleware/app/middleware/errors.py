"""What can go wrong in a chat: each class has a stable type and its own numbers.

One tree by who is to blame: the request, the model, the tools, the clock.
"""

from servicekit.errors import (
    ArgumentsInvalid,
    DeadlineExceeded,
    NotFound,
    ServiceUnavailable,
    UpstreamUnavailable,
)


class MessagesEmpty(ArgumentsInvalid):
    """A chat without a message, or whose last message says nothing."""

    type = "messages-empty"
    title = "There is nothing to answer"


class RoleUnknown(ArgumentsInvalid):
    """A role that no chat has."""

    type = "role-unknown"
    title = "Unknown role"


class LastMessageNotUser(ArgumentsInvalid):
    """The model has nothing to answer: the last word is not the user's."""

    type = "last-message-not-user"
    title = "The last message must be the user's"


class ModelNotServed(ArgumentsInvalid):
    """The request names a model that this service does not use."""

    type = "model-not-served"
    title = "Another model is in use"


class ContextTooLong(ArgumentsInvalid):
    """The system prompt and the last user message alone exceed the model's window."""

    type = "context-too-long"
    title = "The message is too long for the model"


class LlmUnreachable(UpstreamUnavailable):
    """Nobody listens at the model's address."""

    type = "llm-unreachable"
    title = "The model can't be reached"


class LlmModelNotFound(UpstreamUnavailable):
    """The server is there, the model is not."""

    type = "llm-model-not-found"
    title = "The model is not on its server"


class LlmModelPulling(ServiceUnavailable):
    """The model is being pulled; the detail says how far that is."""

    type = "llm-model-pulling"
    title = "The model is still being pulled"


class LlmRefusedKey(UpstreamUnavailable):
    """The model's server wants another key."""

    type = "llm-refused-key"
    title = "The model's server refused the key"


class LlmNoTools(UpstreamUnavailable):
    """The model can't call tools."""

    type = "llm-no-tools"
    title = "The model can't call tools"


class LlmFailed(UpstreamUnavailable):
    """The model's server answered with an error."""

    type = "llm-failed"
    title = "The model's server failed"


class LlmRejected(LlmFailed):
    """The model's server refused the request; asking again can't help."""


class LlmCutOff(UpstreamUnavailable):
    """The stream of an answer ended before the answer did."""

    type = "llm-cut-off"
    title = "The model's answer was cut off"


class LlmEmptyAnswer(UpstreamUnavailable):
    """The model said nothing, twice."""

    type = "llm-empty-answer"
    title = "The model gave an empty answer"


class LlmAnswerTooLong(UpstreamUnavailable):
    """A tool call exceeded the bound on one answer; half a call must not run."""

    type = "llm-answer-too-long"
    title = "The model's tool call was too long"


class LlmBusy(ServiceUnavailable):
    """The model's server has a full queue."""

    type = "llm-busy"
    title = "The model is busy"


class LlmTimeout(DeadlineExceeded):
    """The model was slow."""

    type = "llm-timeout"
    title = "The model did not answer in time"


class GatewayUnreachable(UpstreamUnavailable):
    """The MCP gateway does not answer, so there are no tools."""

    type = "gateway-unreachable"
    title = "The MCP gateway can't be reached"


class GatewayTimeout(DeadlineExceeded):
    """The MCP gateway was slow."""

    type = "gateway-timeout"
    title = "The MCP gateway did not answer in time"


class ToolUnknown(NotFound):
    """No tool has this name."""

    type = "tool-unknown"
    title = "Unknown tool"


class ToolUnavailable(UpstreamUnavailable):
    """The service behind a tool does not answer."""

    type = "tool-unavailable"
    title = "The tool's service does not answer"


class ToolTimeout(DeadlineExceeded):
    """A tool was slow."""

    type = "tool-timeout"
    title = "The tool did not answer in time"


class ChatTimeout(DeadlineExceeded):
    """The time for the whole turn is over."""

    type = "chat-timeout"
    title = "The chat ran out of time"
