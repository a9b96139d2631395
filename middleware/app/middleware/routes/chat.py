"""`POST /chat`."""

import time

from fastapi import APIRouter, Request
from servicekit.context import current_context
from servicekit.hangup import until_hangup

from middleware.chat_request import (
    ChatAnswer,
    ChatRequest,
    ToolCallShown,
    UsageShown,
    conversation_of,
)
from middleware.turn import TurnOutcome
from middleware.wiring import Wiring

router = APIRouter(tags=["chat"])


@router.post("/chat", operation_id="chat")
async def chat(request: Request, body: ChatRequest) -> ChatAnswer:
    """Answer a conversation, with tools where they help.

    The answer or a problem comes within the deadline; closing the connection stops
    the model and the tools.
    """
    begun = time.monotonic()
    wiring: Wiring = request.state.wiring
    decision = wiring.chat
    messages = conversation_of(body, system_prompt=decision.system_prompt, model=decision.model)
    deadline = current_context().deadline
    if body.timeout_seconds is not None:
        deadline = deadline.within(body.timeout_seconds)
    outcome = await until_hangup(request, decision.answer(messages, deadline))
    return _answer(outcome, decision.model, time.monotonic() - begun)


def _answer(outcome: TurnOutcome, model: str, seconds: float) -> ChatAnswer:
    return ChatAnswer(
        response=outcome.text,
        tool_calls=[
            ToolCallShown(
                name=record.name,
                arguments=dict(record.arguments)
                if not isinstance(record.arguments, str)
                else record.arguments,
                output=record.output,
                is_error=record.is_error,
                duration_ms=round(record.duration_ms, 1),
            )
            for record in outcome.records
        ],
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
