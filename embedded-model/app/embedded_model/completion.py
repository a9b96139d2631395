"""From a chat request to a completion: the decision of the one route that matters."""

import datetime as dt
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from embedded_model import tokens
from embedded_model.conversation import NewCall, Reply, Wish, reply_to
from embedded_model.planning import OfferedTool, Toolset
from embedded_model.tasks import is_task
from embedded_model.transcript import Message
from embedded_model.transcript import ToolCall as MadeCall
from embedded_model.wire import (
    AnswerMessage,
    ChatChunk,
    ChatCompletion,
    ChatRequest,
    Choice,
    ChunkChoice,
    Delta,
    FinishReason,
    FunctionCall,
    NamedChoice,
    ReadMessage,
    ReadTool,
    ToolCall,
    ToolCallDelta,
    Usage,
)

_TOKENS_PER_MESSAGE = 4  # role and separators, as OpenAI's cookbook counts them


@dataclass(frozen=True, slots=True)
class Stamp:
    """What makes an answer this answer: its id, its time, its model, and ids for calls."""

    id: str
    created: int
    model: str
    call_id: Callable[[], str]


@dataclass(frozen=True, slots=True)
class Completion:
    """An answer before it takes a form on the wire."""

    text: str | None
    calls: tuple[ToolCall, ...]
    finish_reason: FinishReason
    usage: Usage


def complete(request: ChatRequest, today: dt.date, stamp: Stamp) -> Completion:
    """Answer a request."""
    messages = [_message(message) for message in request.messages]
    wish = Wish(
        is_calling_allowed=request.tool_choice != "none",
        is_parallel=request.parallel_tool_calls is not False,
    )
    reply = _formed(reply_to(messages, _toolset(request), today, wish), request)
    text, calls, reason = _limited(reply, request, stamp)
    used = _completion_tokens(text, calls)
    prompt = _prompt_tokens(request)
    usage = Usage(prompt_tokens=prompt, completion_tokens=used, total_tokens=prompt + used)
    return Completion(text, calls, reason, usage)


def _message(message: ReadMessage) -> Message:
    calls = tuple(
        MadeCall(call.id or f"#{index}", call.function.name, call.function.arguments)
        for index, call in enumerate(message.tool_calls or ())
    )
    return Message(message.role, message.text, calls, message.tool_call_id)


def _toolset(request: ChatRequest) -> Toolset:
    offered = tuple(tool.function for tool in request.tools or () if tool.function is not None)
    if isinstance(request.tool_choice, NamedChoice):
        name = request.tool_choice.function.name
        offered = tuple(function for function in offered if function.name == name)
    return Toolset(
        tuple(OfferedTool(function.name, _properties(function.parameters)) for function in offered)
    )


def _properties(parameters: dict[str, object] | None) -> frozenset[str] | None:
    properties = (parameters or {}).get("properties")
    return frozenset(properties) if isinstance(properties, dict) else None


def _formed(reply: Reply, request: ChatRequest) -> Reply:
    """Wrap a text as JSON where the client wants an object and the text is none yet."""
    wants_json = request.response_format is not None and request.response_format.type != "text"
    last = next(message for message in reversed(request.messages) if message.role == "user")
    if reply.calls or not wants_json or is_task(last.text):
        return reply
    return Reply(json.dumps({"response": reply.text}, ensure_ascii=False))


def _limited(
    reply: Reply, request: ChatRequest, stamp: Stamp
) -> tuple[str | None, tuple[ToolCall, ...], FinishReason]:
    limit = request.token_limit
    if reply.calls:
        # The limit bounds texts: half a call is of no use to anyone, and a call that copies the
        # person's own program can't run away as a language model's may.
        return None, tuple(_call(call, stamp) for call in reply.calls), "tool_calls"
    text = _stopped(reply.text, request.stop)
    if limit is not None and tokens.count(text) > limit:
        return tokens.first(text, limit), (), "length"
    return text, (), "stop"


def _call(call: NewCall, stamp: Stamp) -> ToolCall:
    arguments = json.dumps(dict(call.arguments), ensure_ascii=False)
    return ToolCall(id=stamp.call_id(), function=FunctionCall(name=call.name, arguments=arguments))


def _stopped(text: str, stop: str | tuple[str, ...] | None) -> str:
    ends = (stop,) if isinstance(stop, str) else stop or ()
    places = [text.find(end) for end in ends if end and end in text]
    return text[: min(places)] if places else text


def _completion_tokens(text: str | None, calls: tuple[ToolCall, ...]) -> int:
    return tokens.count(text or "") + sum(
        _TOKENS_PER_MESSAGE
        + tokens.count(call.function.name or "")
        + tokens.count(call.function.arguments)
        for call in calls
    )


def _prompt_tokens(request: ChatRequest) -> int:
    messages = sum(_TOKENS_PER_MESSAGE + tokens.count(message.text) for message in request.messages)
    return messages + sum(_tool_tokens(tool) for tool in request.tools or ())


def _tool_tokens(tool: ReadTool) -> int:
    return tokens.count(tool.model_dump_json())


def whole(completion: Completion, stamp: Stamp) -> ChatCompletion:
    """Return the answer as one document."""
    message = AnswerMessage(content=completion.text, tool_calls=completion.calls or None)
    choice = Choice(message=message, finish_reason=completion.finish_reason)
    return ChatCompletion(
        id=stamp.id,
        created=stamp.created,
        model=stamp.model,
        choices=(choice,),
        usage=completion.usage,
    )


def chunks(completion: Completion, stamp: Stamp, *, include_usage: bool) -> Iterator[ChatChunk]:
    """Return the answer as the events of a stream, the finish reason in the last choice."""

    def chunk(delta: Delta, reason: FinishReason | None = None) -> ChatChunk:
        choice = ChunkChoice(delta=delta, finish_reason=reason)
        return ChatChunk(id=stamp.id, created=stamp.created, model=stamp.model, choices=(choice,))

    yield chunk(Delta(role="assistant", content="" if not completion.calls else None))
    for piece in tokens.pieces(completion.text or ""):
        yield chunk(Delta(content=piece))
    for index, call in enumerate(completion.calls):
        head = FunctionCall(name=call.function.name, arguments="")
        yield chunk(
            Delta(
                tool_calls=(ToolCallDelta(index=index, id=call.id, type="function", function=head),)
            )
        )
        for piece in _argument_pieces(call.function.arguments):
            rest = ToolCallDelta(index=index, function=FunctionCall(arguments=piece))
            yield chunk(Delta(tool_calls=(rest,)))
    yield chunk(Delta(), completion.finish_reason)
    if include_usage:
        yield ChatChunk(
            id=stamp.id,
            created=stamp.created,
            model=stamp.model,
            choices=(),
            usage=completion.usage,
        )


def _argument_pieces(arguments: str) -> Iterator[str]:
    size = 64
    for start in range(0, len(arguments), size):
        yield arguments[start : start + size]
