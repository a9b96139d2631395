"""What `/chat` takes and gives; the one place where a request becomes a conversation."""

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, Field
from servicekit.wire.base import WireModel

from middleware.conversation import (
    AssistantMessage,
    Message,
    SystemMessage,
    UserMessage,
)
from middleware.errors import LastMessageNotUser, MessagesEmpty, ModelNotServed, RoleUnknown
from middleware.sound_text import is_sound

ROLES = ("system", "user", "assistant")
MAX_CHAT_SECONDS = 3600.0


def _refuse_half_characters(text: str) -> str:
    if not is_sound(text):
        raise ValueError("holds half of a surrogate pair; send whole characters")
    return text


class ChatMessage(WireModel):
    """One message of a conversation."""

    # The role is a plain string here, so that an unknown one gets a problem type of its own.
    role: Annotated[str, Field(description="who says it", json_schema_extra={"enum": list(ROLES)})]
    content: Annotated[
        str, Field(description="what is said"), AfterValidator(_refuse_half_characters)
    ]


class ChatRequest(WireModel):
    """A conversation to answer; the last message is the user's."""

    messages: Annotated[
        tuple[ChatMessage, ...],
        Field(
            max_length=10_000,
            json_schema_extra={"minItems": 1},
            examples=[[{"role": "user", "content": "What time is it?"}]],
        ),
    ]
    model: Annotated[
        str | None, Field(description="the model in use, or nothing; another is refused")
    ] = None
    timeout_seconds: Annotated[
        float | None,
        Field(
            gt=0,
            le=MAX_CHAT_SECONDS,
            description="answer within so many seconds; the service's own bound holds as well",
        ),
    ] = None
    stream: Annotated[
        bool,
        Field(
            description="answer by server-sent events while it is made: `text`, "
            "`tool_call_started` and `tool_call`, then `answer` with what is otherwise the whole "
            "response, or `problem`"
        ),
    ] = False


class PictureShown(BaseModel):
    """A picture that a tool gave, such as a plot."""

    media_type: Annotated[str, Field(description="image/png, image/jpeg, image/gif or image/webp")]
    data: Annotated[str, Field(description="base64")]


class ToolCallShown(BaseModel):
    """One tool call of the turn."""

    name: str
    arguments: Annotated[
        dict[str, Any] | str,
        Field(description="text only when the model wrote something that is no object"),
    ]
    output: str
    is_error: bool
    duration_ms: float
    images: Annotated[
        list[PictureShown],
        Field(description="left out where there are none", exclude_if=lambda images: not images),
    ] = []


class UsageShown(BaseModel):
    """Tokens of all steps together, as the model's server counted them."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class ChatAnswer(BaseModel):
    """The answer, and the whole turn that led to it."""

    response: str
    tool_calls: Annotated[list[ToolCallShown], Field(description="in the order made")]
    finish_reason: Annotated[
        str,
        Field(
            description="stop, length, content_filter, max_steps, repeated_failure or "
            "invalid_tool_calls"
        ),
    ]
    usage: UsageShown
    steps: Annotated[int, Field(description="answers of the model in this turn")]
    notices: Annotated[list[str], Field(description="what was left out to fit the model's window")]
    model: str
    duration_ms: float
    request_id: str


def conversation_of(request: ChatRequest, *, system_prompt: str, model: str) -> tuple[Message, ...]:
    """Return the conversation that a request stands for, our system prompt first.

    Raises
    ------
    MessagesEmpty, RoleUnknown, LastMessageNotUser, ModelNotServed
    """
    if request.model is not None and request.model != model:
        raise ModelNotServed(
            f"This service uses the model {model!r}. Leave `model` out, or set LLM_MODEL_NAME "
            "where the service is started.",
            model=model,
        )
    if not request.messages:
        raise MessagesEmpty(
            'There is no message. Send at least one: {"role": "user", "content": "…"}.'
        )
    for place, message in enumerate(request.messages):
        if message.role not in ROLES:
            raise RoleUnknown(
                f"Message {place} has the role {message.role[:80]!r}. "
                f"Use one of: {', '.join(ROLES)}.",
                index=place,
            )
    last = request.messages[-1]
    if last.role != "user":
        raise LastMessageNotUser(
            f"The last message is the {last.role}'s, so there is nothing to answer. "
            "End with a message of the user."
        )
    if not last.content.strip():
        raise MessagesEmpty("The last message is empty. Write what is wanted in its `content`.")
    said = tuple(_message(message) for message in request.messages)
    return with_system_prompt(said, system_prompt)


def with_system_prompt(messages: tuple[Message, ...], prompt: str) -> tuple[Message, ...]:
    """Put our system prompt first; the client's own leading ones join it.

    Many chat templates take exactly one system message, and only at the beginning.
    """
    count = 0
    while count < len(messages) and isinstance(messages[count], SystemMessage):
        count += 1
    rules = [prompt, *(message.text for message in messages[:count])]
    text = "\n\n".join(rule.strip() for rule in rules if rule.strip())
    return ((SystemMessage(text),) if text else ()) + messages[count:]


def _message(message: ChatMessage) -> Message:
    kinds: dict[str, type[SystemMessage | UserMessage | AssistantMessage]] = {
        "system": SystemMessage,
        "user": UserMessage,
        "assistant": AssistantMessage,
    }
    return kinds[message.role](message.content)
