"""The OpenAI API: chat completions, whole or streamed, and the list of models."""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Iterator

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse
from prometheus_client import Counter
from pydantic import ValidationError
from servicekit.raw_body import raw_body

from embedded_model.completion import Completion, Stamp, chunks, complete, whole
from embedded_model.wire import (
    ChatChunk,
    ChatCompletion,
    ChatRequest,
    ErrorBody,
    ErrorDocument,
    Model,
    ModelList,
)
from embedded_model.wiring import Wiring

_STARTED = int(time.time())
COMPLETIONS = Counter(
    "embedded_model_completions_total", "Answers by how they ended", ["finish_reason"]
)


def openai_router() -> APIRouter:
    """Return the routes below /v1."""
    router = APIRouter(prefix="/v1", tags=["openai"])

    @router.post(
        "/chat/completions",
        operation_id="create_chat_completion",
        response_model=ChatCompletion,
        responses={400: {"model": ErrorDocument}},
        openapi_extra=raw_body(ChatRequest),
    )
    async def create_chat_completion(request: Request) -> Response:
        """Answer a chat, with tool calls where the person asked for something to be done."""
        wiring: Wiring = request.state.wiring
        try:
            asked = ChatRequest.model_validate_json(await request.body())
        except ValidationError as error:
            return _refusal(error)
        stamp = Stamp(
            id=f"chatcmpl-{secrets.token_hex(12)}",
            created=int(time.time()),
            model=wiring.model_name,
            call_id=lambda: f"call_{secrets.token_hex(12)}",
        )
        today = wiring.clock().date()
        # A long message takes a moment to read; other requests go on meanwhile.
        completion = await asyncio.to_thread(complete, asked, today, stamp)
        COMPLETIONS.labels(finish_reason=completion.finish_reason).inc()
        if not asked.stream:
            return JSONResponse(whole(completion, stamp).model_dump(mode="json"))
        include_usage = asked.stream_options is not None and asked.stream_options.include_usage
        return StreamingResponse(
            _events(completion, stamp, include_usage=include_usage),
            media_type="text/event-stream",
            headers={"cache-control": "no-cache", "x-accel-buffering": "no"},
        )

    @router.get("/models", operation_id="list_models")
    async def list_models(request: Request) -> ModelList:
        """List the one model."""
        return ModelList(data=(_model(request),))

    @router.get(
        "/models/{model}", operation_id="get_model", responses={404: {"model": ErrorDocument}}
    )
    async def get_model(request: Request, model: str) -> Response:
        """Describe the model."""
        own = _model(request)
        if model != own.id:
            sentence = f"The model '{model}' does not exist; there is '{own.id}'."
            return _error(404, sentence, param="model", code="model_not_found")
        return JSONResponse(own.model_dump(mode="json"))

    @router.api_route(
        "/{path:path}",
        methods=["GET", "POST", "PUT", "PATCH", "DELETE"],
        include_in_schema=False,
    )
    async def unknown(request: Request) -> Response:
        """Answer for what this server does not have, in OpenAI's form."""
        sentence = f"There is no {request.method} {request.url.path} here."
        return _error(404, sentence, code="unknown_url")

    return router


def _model(request: Request) -> Model:
    wiring: Wiring = request.state.wiring
    return Model(id=wiring.model_name, created=_STARTED)


async def _events(
    completion: Completion, stamp: Stamp, *, include_usage: bool
) -> AsyncIterator[str]:
    for line in _lines(chunks(completion, stamp, include_usage=include_usage)):
        yield line


def _lines(events: Iterator[ChatChunk]) -> Iterator[str]:
    for event in events:
        # Null members are left out, but for those that clients look for in every choice.
        document = event.model_dump(mode="json", exclude_none=True)
        for choice in document["choices"]:
            choice.setdefault("finish_reason", None)
        yield f"data: {_json(document)}\n\n"
    yield "data: [DONE]\n\n"


def _json(document: object) -> str:
    return bytes(JSONResponse(document).body).decode()


def _refusal(error: ValidationError) -> JSONResponse:
    items = error.errors(include_url=False, include_context=False, include_input=False)
    first = items[0]
    if first["type"] == "json_invalid":
        return _error(400, "The body is not valid JSON; check quotes, commas and brackets.")
    place = ".".join(str(part) for part in first["loc"])
    return _error(400, f"Invalid value for '{place}': {first['msg']}.", param=place or None)


def _error(
    status: int, message: str, *, param: str | None = None, code: str | None = None
) -> JSONResponse:
    body = ErrorBody(message=message, type="invalid_request_error", param=param, code=code)
    return JSONResponse(ErrorDocument(error=body).model_dump(), status_code=status)
