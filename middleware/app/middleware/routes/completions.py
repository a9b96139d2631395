"""The OpenAI-compatible door: `POST /v1/chat/completions` and `GET /v1/models`."""

import json
import time
from collections.abc import AsyncIterator, Coroutine, Iterator
from typing import Any, assert_never

from fastapi import APIRouter, Request
from pydantic import ValidationError
from servicekit.context import current_context
from servicekit.errors import ArgumentsInvalid, StackError
from servicekit.hangup import until_hangup
from servicekit.raw_body import raw_body
from starlette.responses import JSONResponse, Response

from middleware.completion_request import CompletionRequest, wanted
from middleware.conversation import CallBegun, CallRecord
from middleware.routes.turn_stream import KEEP_ALIVE, RunningTurn, TurnStream
from middleware.speech import Piece, Speech
from middleware.turn_progress import TurnOutcome
from middleware.wiring import Wiring

router = APIRouter(prefix="/v1", tags=["openai"])

_FINISH = {"length": "length", "content_filter": "content_filter", "tool_calls": "tool_calls"}


@router.get("/models", operation_id="list_models")
async def list_models(request: Request) -> dict[str, Any]:
    """List the one model that answers here."""
    wiring: Wiring = request.state.wiring
    entry = {"id": wiring.chat.model, "object": "model", "created": 0, "owned_by": "mcp-stack"}
    return {"object": "list", "data": [entry]}


@router.post(
    "/chat/completions",
    operation_id="create_chat_completion",
    openapi_extra=raw_body(CompletionRequest),
)
async def create_completion(request: Request) -> Response:
    """Answer as OpenAI's API does, with this service's tools run inside.

    Calls of the client's own tools come back as `tool_calls`.
    """
    try:
        return await _respond(request)
    except StackError as error:
        return _refusal(error)


async def _respond(request: Request) -> Response:
    body = _parsed(await request.body())
    wiring: Wiring = request.state.wiring
    chat = wiring.chat
    turn = wanted(body, system_prompt=chat.system_prompt)

    def answering(speech: Speech | None = None) -> Coroutine[Any, Any, TurnOutcome]:
        return chat.answer(
            turn.messages,
            current_context().deadline,
            has_tools=turn.has_tools,
            client_tools=turn.client_tools,
            speech=speech,
        )

    head = _Head(chat.model)
    if not body.stream:
        return JSONResponse(head.completion(await until_hangup(request, answering())))
    has_usage = body.stream_options is not None and body.stream_options.include_usage
    running = RunningTurn(answering)
    await running.begin(request)
    return TurnStream(running, _events(running, head, has_usage=has_usage))


class _Head:
    """What all parts of one completion have in common."""

    def __init__(self, model: str) -> None:
        self._fields = {
            "id": f"chatcmpl-{current_context().request_id}",
            "created": int(time.time()),
            "model": model,
        }

    def completion(self, outcome: TurnOutcome) -> dict[str, Any]:
        """Return the whole answer."""
        message: dict[str, Any] = {"role": "assistant", "content": outcome.text}
        if calls := _calls(outcome):
            message["tool_calls"] = calls
        choice = {
            "index": 0,
            "message": message,
            "logprobs": None,
            "finish_reason": _end_of(outcome),
        }
        kind = {"object": "chat.completion", "choices": [choice]}
        return self._fields | kind | {"usage": _usage(outcome)}

    def chunk(self, delta: dict[str, Any], finish: str | None = None) -> str:
        """Return one event of a stream."""
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        return _event(self._fields | {"object": "chat.completion.chunk", "choices": [choice]})

    def usage_chunk(self, outcome: TurnOutcome) -> str:
        """Return the event that tells the tokens."""
        kind = {"object": "chat.completion.chunk", "choices": []}
        return _event(self._fields | kind | {"usage": _usage(outcome)})


async def _events(turn: RunningTurn, head: _Head, *, has_usage: bool) -> AsyncIterator[str]:
    yield head.chunk({"role": "assistant", "content": ""})
    async for heard in turn.heard():
        match heard:
            case Piece(text):
                yield head.chunk({"content": text})
            case CallBegun() | CallRecord():
                # Our own tools are no business of this API's clients, but the line stays open.
                yield KEEP_ALIVE
            case None:
                yield KEEP_ALIVE
            case never:
                assert_never(never)
    try:
        outcome = turn.outcome()
    except StackError as error:
        # The status is gone: the error goes into the stream, and no [DONE] after it.
        yield _event(_error_body(error))
        return
    for event in _outcome_events(outcome, head):
        yield event
    if has_usage:
        yield head.usage_chunk(outcome)
    yield "data: [DONE]\n\n"


def _outcome_events(outcome: TurnOutcome, head: _Head) -> Iterator[str]:
    """Yield what comes behind the text, which was heard."""
    for index, call in enumerate(_calls(outcome)):
        yield head.chunk({"tool_calls": [{"index": index, **call}]})
    yield head.chunk({}, _end_of(outcome))


def _parsed(raw: bytes) -> CompletionRequest:
    try:
        return CompletionRequest.model_validate_json(raw)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise ArgumentsInvalid(f"{place or 'body'}: {first['msg']}.", param=place or None) from None


def _calls(outcome: TurnOutcome) -> list[dict[str, Any]]:
    return [
        {
            "id": call.id,
            "type": "function",
            "function": {"name": call.name, "arguments": call.arguments_text},
        }
        for call in outcome.client_calls
    ]


def _end_of(outcome: TurnOutcome) -> str:
    return _FINISH.get(outcome.end, "stop")


def _usage(outcome: TurnOutcome) -> dict[str, int]:
    return {
        "prompt_tokens": outcome.usage.prompt_tokens,
        "completion_tokens": outcome.usage.completion_tokens,
        "total_tokens": outcome.usage.total_tokens,
    }


def _event(document: dict[str, Any]) -> str:
    return f"data: {json.dumps(document)}\n\n"


def _error_body(error: StackError) -> dict[str, Any]:
    kind = "invalid_request_error" if error.http_status < 500 else "server_error"  # noqa: PLR2004  # HTTP's server errors
    return {
        "error": {
            "message": error.detail,
            "type": kind,
            "param": error.extensions.get("param"),
            "code": error.type,
        }
    }


def _refusal(error: StackError) -> Response:
    """Render an error as OpenAI's clients read it; they know 400, not 422."""
    status = 400 if error.http_status == 422 else error.http_status  # noqa: PLR2004  # HTTP's own numbers
    headers = {}
    if error.retry_after_seconds is not None:
        headers["retry-after"] = str(max(1, round(error.retry_after_seconds)))
    return JSONResponse(_error_body(error), status_code=status, headers=headers)
