"""The model behind an OpenAI-compatible endpoint, by the official client.

Answers are always streamed from the server: a stream says whether the answer
is whole (it has a finish reason) or was cut, a plain answer does not. A server that
ignores `stream` and answers plainly is understood too.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

import httpx
import openai
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from servicekit.deadline import Deadline
from servicekit.errors import StackError
from servicekit.logs import get_logger
from servicekit.spans import span

from middleware.adapters.completion import Assembly, wire_messages, wire_tools
from middleware.adapters.llm_errors import Blame, ReadPull, no_pull, typed
from middleware.adapters.model_server import ModelServer
from middleware.conversation import ModelAnswer, ModelRequest
from middleware.endpoint import Endpoint
from middleware.errors import LlmBusy, LlmCutOff, LlmFailed, LlmUnreachable
from middleware.ports import Listener
from middleware.telemetry import (
    CHAT,
    MODEL_FIRST_CHUNK_SECONDS,
    MODEL_SECONDS,
    MODEL_TOKENS,
    begin_model,
)

log = get_logger()

# Asking the model has no effects, so it may be asked again: a server that restarts is
# back within seconds. The SDK's own retries are off: they know no deadline.
_PAUSES_SECONDS: dict[type[StackError], Sequence[float]] = {
    LlmUnreachable: (0.25, 0.5, 1.0, 2.0, 2.0),
    LlmBusy: (0.5, 1.0, 2.0),
    LlmCutOff: (0.25,),
    LlmFailed: (0.5,),
}
_CONNECT_SECONDS = 5.0
# A bound on memory for an answer that comes in one piece, far above any sane one.
_MAX_BODY_BYTES = 16_000_000


@dataclass(frozen=True, slots=True)
class Sampling:
    """How answers are drawn; a bound on their length is always sent."""

    max_answer_tokens: int = 2048
    temperature: float | None = None


class OpenAiChatModel:
    """A `ChatModel` over the OpenAI chat completions API.

    Parameters
    ----------
    client
        The HTTP client to the endpoint; it is closed by whoever opened it.
    configured_window
        The model's window in tokens, where it is set.
    read_pull
        Tells how far the pull of a model is that is not there yet.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        sampling: Sampling,
        client: httpx.AsyncClient,
        *,
        configured_window: int | None = None,
        read_pull: ReadPull = no_pull,
    ) -> None:
        self._endpoint = endpoint
        self._sampling = sampling
        self._blame = Blame(endpoint, read_pull)
        self._server = ModelServer(endpoint, client, self._blame, configured_window)
        self._client = _official_client(endpoint, client)
        # OpenAI's newer models refuse the name that everybody else needs.
        self._bound_name = "max_tokens"
        begin_model(self.name)

    @property
    def name(self) -> str:
        """The model's name."""
        return self._endpoint.model

    async def answer(
        self, request: ModelRequest, deadline: Deadline, listener: Listener | None = None
    ) -> ModelAnswer:
        """Return one whole answer; see the port."""
        tried = 0
        while True:
            if listener is not None:
                listener.begin(may_call=bool(request.tools))
            try:
                return await self._measured(request, deadline, listener)
            except StackError as error:
                # What somebody has read can't be said anew in other words.
                if listener is not None and listener.has_heard:
                    raise
                pause = _pause(error, tried)
                # A pause that eats the time for the answer is no help.
                if pause is None or pause >= deadline.remaining() / 2:
                    raise
                log.warning("llm.retry", error_type=error.type, pause_seconds=pause)
            tried += 1
            await asyncio.sleep(pause)

    async def window(self, deadline: Deadline) -> int | None:
        """Return the model's window; see the port."""
        return await self._server.window(deadline)

    async def check(self) -> None:
        """Return when the endpoint has the model; raise the reason otherwise."""
        await self._server.check()

    async def _measured(
        self, request: ModelRequest, deadline: Deadline, listener: Listener | None
    ) -> ModelAnswer:
        begun = time.monotonic()
        error_type = ""
        try:
            answer = await self._traced(request, deadline, listener)
            self._refuse_cut_prompt(answer)
        except StackError as error:
            error_type = error.type
            raise
        except asyncio.CancelledError:
            error_type = "cancelled"
            raise
        finally:
            MODEL_SECONDS.labels(CHAT, self.name, error_type).observe(time.monotonic() - begun)
        MODEL_TOKENS.labels("input", self.name).observe(answer.usage.prompt_tokens)
        MODEL_TOKENS.labels("output", self.name).observe(answer.usage.completion_tokens)
        return answer

    async def _traced(
        self, request: ModelRequest, deadline: Deadline, listener: Listener | None
    ) -> ModelAnswer:
        attributes = {"gen_ai.operation.name": CHAT, "gen_ai.request.model": self.name}
        with span(f"{CHAT} {self.name}", "client", attributes) as asking:
            answer = await self._asked(request, deadline, listener)
            asking.note(
                {
                    "gen_ai.response.finish_reason": answer.finish_reason,
                    "gen_ai.usage.input_tokens": answer.usage.prompt_tokens,
                    "gen_ai.usage.output_tokens": answer.usage.completion_tokens,
                }
            )
            return answer

    async def _asked(
        self, request: ModelRequest, deadline: Deadline, listener: Listener | None
    ) -> ModelAnswer:
        try:
            async with asyncio.timeout(deadline.remaining()):
                return await self._streamed(request, deadline, listener)
        except (TimeoutError, openai.APITimeoutError) as error:
            # Time was left: it was the connection that timed out, not the answer.
            if deadline.remaining() > 1.0 and isinstance(error, openai.APITimeoutError):
                raise self._blame.unreachable() from None
            raise self._blame.slow() from None
        except openai.BadRequestError as error:
            if self._bound_name == "max_tokens" and "max_completion_tokens" in str(error.message):
                self._bound_name = "max_completion_tokens"
                return await self._asked(request, deadline, listener)
            raise typed(error, self._blame) from None
        except openai.OpenAIError as error:
            raise typed(error, self._blame) from None
        except (ValueError, httpx.HTTPError, httpx.StreamError) as error:
            raise self._blame.broken_stream(error) from None

    async def _streamed(
        self, request: ModelRequest, deadline: Deadline, listener: Listener | None
    ) -> ModelAnswer:
        begun = time.monotonic()
        stream: openai.AsyncStream[
            ChatCompletionChunk
        ] = await self._client.chat.completions.create(
            **self._body(request),
            stream=True,
            stream_options={"include_usage": True},
            extra_headers=self._headers(),
            timeout=cast("Any", httpx.Timeout(deadline.remaining(), connect=_CONNECT_SECONDS)),
        )
        assembly = Assembly()
        # Leaving the block closes the connection, which stops the server's work.
        async with stream:
            try:
                if "event-stream" not in stream.response.headers.get("content-type", ""):
                    body = await self._plain_body(stream.response.aiter_bytes())
                    return Assembly.of_completion(_completion(body)).answer(self._blame)
                async for chunk in stream:
                    if assembly.is_untouched:
                        MODEL_FIRST_CHUNK_SECONDS.labels(CHAT, self.name).observe(
                            time.monotonic() - begun
                        )
                    text = assembly.add(chunk)
                    if text and listener is not None:
                        listener.add(text)
            except openai.APITimeoutError:
                raise
            except (openai.APIConnectionError, httpx.TransportError) as error:
                # It had begun to answer: a cut, not an absence.
                raise self._blame.cut_off(type(error.__cause__ or error).__name__) from None
        return assembly.answer(self._blame)

    async def _plain_body(self, pieces: AsyncIterator[bytes]) -> bytes:
        body = bytearray()
        async for piece in pieces:
            body += piece
            if len(body) > _MAX_BODY_BYTES:
                said = f"its answer has more than {_MAX_BODY_BYTES} bytes"
                raise self._blame.failed(said, is_final=True)
        return bytes(body)

    def _refuse_cut_prompt(self, answer: ModelAnswer) -> None:
        """Raise when the server filled its window and answered the rest of the prompt."""
        window = self._server.cutting_window
        if window is not None and answer.usage.prompt_tokens >= window:
            raise self._blame.cut_prompt(window)

    def _body(self, request: ModelRequest) -> dict[str, Any]:
        bound = self._sampling.max_answer_tokens
        body: dict[str, Any] = {
            "model": self.name,
            "messages": wire_messages(request.messages),
            self._bound_name: min(request.answer_tokens or bound, bound),
        }
        if request.tools:
            body["tools"] = wire_tools(request.tools)
        if self._sampling.temperature is not None:
            body["temperature"] = self._sampling.temperature
        if request.is_retry_without_thinking:
            body["reasoning_effort"] = "none"
        return body

    def _headers(self) -> dict[str, Any]:
        return {} if self._endpoint.api_key else {"Authorization": openai.Omit()}


def _official_client(endpoint: Endpoint, client: httpx.AsyncClient) -> openai.AsyncOpenAI:
    """Return the SDK's client with nothing in it that its environment would add."""
    official = openai.AsyncOpenAI(
        base_url=endpoint.base_url,
        # Empty, not None: None makes the SDK look for OPENAI_API_KEY by itself.
        api_key=endpoint.api_key or "",
        admin_api_key="",
        organization="",
        project="",
        max_retries=0,
        http_client=cast("Any", client),  # the SDK takes httpx's client and declares httpx2's
        _enforce_credentials=False,
    )
    official.organization = None
    official.project = None
    # OPENAI_CUSTOM_HEADERS may hold credentials, which belong to OpenAI's address.
    official._custom_headers = {}  # noqa: SLF001  # no public way to refuse the variable
    return official


def _pause(error: StackError, tried: int) -> float | None:
    """Return the seconds to wait before asking again; None when it makes no sense."""
    pauses = _PAUSES_SECONDS.get(type(error), ())
    return max(pauses[tried], error.retry_after_seconds or 0) if tried < len(pauses) else None


def _completion(body: bytes) -> ChatCompletion:
    """Read a plain answer; ValueError when it is none."""
    document = json.loads(body)
    if not isinstance(document, dict) or not isinstance(document.get("choices"), list):
        raise ValueError("no choices")  # noqa: TRY004  # the reader's one kind of failure
    return ChatCompletion.construct(**document)
