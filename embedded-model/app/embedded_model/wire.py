"""The OpenAI chat API on the wire: lenient in what is read, exact in what is written."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

# The ten thousand that the chat API takes, and a turn's tool calls besides.
MAX_MESSAGES = 20_000
MAX_TOOLS = 512


class Reading(BaseModel):
    """A part of a request; unknown fields are ignored, as OpenAI's servers do."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class ReadFunctionCall(Reading):
    """The function of a call in the transcript."""

    name: str
    arguments: str = "{}"


class ReadToolCall(Reading):
    """A call in the transcript."""

    id: str = ""
    function: ReadFunctionCall


class ContentPart(Reading):
    """One part of a message's content; only texts are read."""

    type: str
    text: str | None = None


class ReadMessage(Reading):
    """A message of the transcript."""

    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: str | tuple[ContentPart, ...] | None = None
    tool_calls: tuple[ReadToolCall, ...] | None = None
    tool_call_id: str | None = None

    @property
    def text(self) -> str:
        """Return the text of all text parts."""
        if isinstance(self.content, str):
            return self.content
        return "\n".join(part.text for part in self.content or () if part.text)


class OfferedFunction(Reading):
    """A function on offer."""

    name: Annotated[str, Field(min_length=1)]
    parameters: dict[str, Any] | None = None


class ReadTool(Reading):
    """A tool on offer; other types than functions are ignored."""

    type: str = "function"
    function: OfferedFunction | None = None


class NamedFunction(Reading):
    """The function of a named tool choice."""

    name: str


class NamedChoice(Reading):
    """A tool choice that names one function."""

    type: str = "function"
    function: NamedFunction


class StreamOptions(Reading):
    """Options of a stream."""

    include_usage: bool = False


class ResponseFormat(Reading):
    """The form of the answer."""

    type: str = "text"


class ChatRequest(Reading):
    """The body of `POST /v1/chat/completions`."""

    messages: Annotated[tuple[ReadMessage, ...], Field(min_length=1, max_length=MAX_MESSAGES)]
    model: str | None = None
    stream: bool | None = False
    stream_options: StreamOptions | None = None
    tools: Annotated[tuple[ReadTool, ...] | None, Field(max_length=MAX_TOOLS)] = None
    tool_choice: Literal["none", "auto", "required"] | NamedChoice | None = None
    parallel_tool_calls: bool | None = True
    max_tokens: Annotated[int | None, Field(ge=1)] = None
    max_completion_tokens: Annotated[int | None, Field(ge=1)] = None
    n: Annotated[int | None, Field(ge=1, le=1)] = 1
    stop: str | tuple[str, ...] | None = None
    response_format: ResponseFormat | None = None

    @field_validator("messages")
    @classmethod
    def _has_a_request(cls, messages: tuple[ReadMessage, ...]) -> tuple[ReadMessage, ...]:
        if not any(message.role == "user" for message in messages):
            raise ValueError("there has to be a message with the role user")
        return messages

    @property
    def token_limit(self) -> int | None:
        """Return the bound on the answer's tokens."""
        return self.max_completion_tokens or self.max_tokens


class Writing(BaseModel):
    """A part of an answer."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class FunctionCall(Writing):
    """The function of a call, its arguments as JSON text."""

    name: str | None = None
    arguments: str


class ToolCall(Writing):
    """A call to make."""

    id: str
    type: Literal["function"] = "function"
    function: FunctionCall


class ToolCallDelta(Writing):
    """A piece of a call in a stream."""

    index: int
    id: str | None = None
    type: Literal["function"] | None = None
    function: FunctionCall


FinishReason = Literal["stop", "tool_calls", "length"]


class Usage(Writing):
    """Tokens of the request and of the answer, by this model's own count."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class AnswerMessage(Writing):
    """The message of an answer."""

    role: Literal["assistant"] = "assistant"
    content: str | None = None
    refusal: None = None
    tool_calls: tuple[ToolCall, ...] | None = None


class Choice(Writing):
    """The one choice of an answer."""

    index: int = 0
    message: AnswerMessage
    logprobs: None = None
    finish_reason: FinishReason


class ChatCompletion(Writing):
    """A whole answer."""

    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    choices: tuple[Choice, ...]
    usage: Usage
    system_fingerprint: str | None = None


class Delta(Writing):
    """What a chunk adds."""

    role: Literal["assistant"] | None = None
    content: str | None = None
    tool_calls: tuple[ToolCallDelta, ...] | None = None


class ChunkChoice(Writing):
    """The one choice of a chunk."""

    index: int = 0
    delta: Delta
    logprobs: None = None
    finish_reason: FinishReason | None = None


class ChatChunk(Writing):
    """One event of a stream."""

    id: str
    object: Literal["chat.completion.chunk"] = "chat.completion.chunk"
    created: int
    model: str
    choices: tuple[ChunkChoice, ...]
    usage: Usage | None = None


class Model(Writing):
    """A model on offer."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str = "mcp-stack"


class ModelList(Writing):
    """All models on offer: one."""

    object: Literal["list"] = "list"
    data: tuple[Model, ...]


class ErrorBody(Writing):
    """An error as OpenAI's clients read it."""

    message: str
    type: str
    param: str | None = None
    code: str | None = None


class ErrorDocument(Writing):
    """The document around an error."""

    error: ErrorBody
