"""`POST /chat`."""

import json
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any, assert_never

from fastapi import APIRouter, Request
from servicekit.context import current_context
from servicekit.errors import StackError
from servicekit.hangup import until_hangup
from servicekit.problems import problem_of
from starlette.responses import Response

from middleware.chat_request import (
    ChatAnswer,
    ChatRequest,
    PictureShown,
    ToolCallShown,
    UsageShown,
    conversation_of,
)
from middleware.conversation import CallBegun, CallRecord
from middleware.routes.turn_stream import KEEP_ALIVE, RunningTurn, TurnStream
from middleware.speech import Piece, Speech
from middleware.turn_progress import TurnOutcome
from middleware.wiring import Wiring

router = APIRouter(tags=["chat"])

_EVENT_STREAM: dict[int | str, dict[str, Any]] = {
    200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}}
}


@router.post("/chat", operation_id="chat", response_model=ChatAnswer, responses=_EVENT_STREAM)
async def chat(request: Request, body: ChatRequest) -> ChatAnswer | Response:
    """Answer a conversation, with tools where they help.

    The answer or a problem comes within the deadline; closing the connection stops
    the model and the tools. With `stream` the answer comes as it is made.
    """
    begun = time.monotonic()
    wiring: Wiring = request.state.wiring
    decision = wiring.chat
    messages = conversation_of(body, system_prompt=decision.system_prompt, model=decision.model)
    deadline = current_context().deadline
    if body.timeout_seconds is not None:
        deadline = deadline.within(body.timeout_seconds)

    def answering(speech: Speech | None = None) -> Coroutine[Any, Any, TurnOutcome]:
        return decision.answer(messages, deadline, speech=speech)

    def rendered(outcome: TurnOutcome) -> ChatAnswer:
        return _answer(outcome, decision.model, time.monotonic() - begun)

    if not body.stream:
        return rendered(await until_hangup(request, answering()))
    running = RunningTurn(answering)
    await running.begin(request)
    return TurnStream(running, _events(running, rendered))


async def _events(
    turn: RunningTurn, rendered: Callable[[TurnOutcome], ChatAnswer]
) -> AsyncIterator[str]:
    async for heard in turn.heard():
        match heard:
            case Piece(text):
                yield _event("text", {"text": text})
            case CallBegun(name, arguments):
                yield _event("tool_call_started", {"name": name, "arguments": dict(arguments)})
            case CallRecord():
                yield _event("tool_call", _shown(heard).model_dump(mode="json"))
            case None:
                yield KEEP_ALIVE
            case never:
                assert_never(never)
    try:
        outcome = turn.outcome()
    except StackError as error:
        # The status is gone: the problem goes into the stream.
        yield _event("problem", problem_of(error, current_context().request_id))
        return
    yield _event("answer", rendered(outcome).model_dump(mode="json"))


def _event(name: str, document: dict[str, Any]) -> str:
    return f"event: {name}\ndata: {json.dumps(document)}\n\n"


def _shown(record: CallRecord) -> ToolCallShown:
    arguments = record.arguments
    return ToolCallShown(
        name=record.name,
        arguments=arguments if isinstance(arguments, str) else dict(arguments),
        output=record.output,
        is_error=record.is_error,
        duration_ms=round(record.duration_ms, 1),
        images=[
            PictureShown(media_type=picture.media_type, data=picture.data)
            for picture in record.pictures
        ],
    )


def _answer(outcome: TurnOutcome, model: str, seconds: float) -> ChatAnswer:
    return ChatAnswer(
        response=outcome.text,
        tool_calls=[_shown(record) for record in outcome.records],
        finish_reason=outcome.end,
        usage=UsageShown(
            prompt_tokens=outcome.usage.prompt_tokens,
            completion_tokens=outcome.usage.completion_tokens,
            total_tokens=outcome.usage.total_tokens,
        ),
        steps=outcome.steps,
        notices=list(outcome.notices),
        model=model,
        duration_ms=round(seconds * 1000, 1),
        request_id=current_context().request_id,
    )
