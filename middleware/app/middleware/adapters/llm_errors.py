"""What the model's server says when it fails, as errors that say what to do."""

from collections.abc import Callable

import openai
from servicekit.errors import StackError

from middleware.endpoint import Endpoint
from middleware.errors import (
    ContextTooLong,
    LlmBusy,
    LlmCutOff,
    LlmFailed,
    LlmModelNotFound,
    LlmModelPulling,
    LlmNoTools,
    LlmRefusedKey,
    LlmRejected,
    LlmTimeout,
    LlmUnreachable,
)
from middleware.model_pull import ModelPull

ReadPull = Callable[[], ModelPull | None]

_MAX_QUOTE = 300
_SHORTEST_KEY = 8
_HOP = "model"
# Where a server sends its stack trace, only what comes last is of use to anybody else.
_TRACE = "Traceback (most recent call last):"


def no_pull() -> ModelPull | None:
    """Know of no pull."""
    return None


class Blame:
    """Builds errors that name the endpoint and the model, never the key.

    Parameters
    ----------
    read_pull
        Tells how far the pull of a model is that is not there yet.
    """

    def __init__(self, endpoint: Endpoint, read_pull: ReadPull = no_pull) -> None:
        self._endpoint = endpoint
        self._read_pull = read_pull
        self._model = endpoint.model
        self._url = endpoint.shown_url
        self._is_embedded = endpoint.kind == "embedded"

    def unreachable(self) -> LlmUnreachable:
        """Blame an address where nobody listens."""
        advice = (
            "Is the embedded model running? `make local` starts it."
            if self._is_embedded
            else "Is it running, and is LLM_BASE_URL right? (In a container, localhost is itself.)"
        )
        return LlmUnreachable(f"No model answers at {self._url}. {advice}", hop=_HOP)

    def slow(self) -> LlmTimeout:
        """Blame a model that did not answer in time."""
        return LlmTimeout(
            f"The model {self._model} did not answer in time. Ask again, use a smaller model, "
            "or raise MIDDLEWARE_CHAT_TIMEOUT_SECONDS.",
            hop=_HOP,
        )

    def model_not_found(self) -> StackError:
        """Blame the name of a model that the server lacks, or say how far its pull is."""
        pull = self._read_pull()
        if pull is not None and pull.is_of(self._model):
            return self._pull_failing(pull) if pull.is_failing else self._pulling(pull)
        return LlmModelNotFound(
            f"The server at {self._url} has no model {self._model!r}. Set LLM_MODEL_NAME to one "
            f"that it has; with Ollama, get it by `ollama pull {self._model}`.",
            hop=_HOP,
        )

    def _pulling(self, pull: ModelPull) -> StackError:
        return LlmModelPulling(
            f"The model {self._model} is still being pulled: {pull.progress}. Ask again then.",
            retry_after_seconds=pull.retry_after_seconds,
            hop=_HOP,
            percent=pull.percent,
        )

    def _pull_failing(self, pull: ModelPull) -> StackError:
        return LlmModelNotFound(
            f"The model {self._model} is not there: its pull has failed {pull.failures} times, and "
            f"is tried again in {max(1, round(pull.next_try_seconds))} s. "
            f"The last time {pull.reason[:_MAX_QUOTE].rstrip('.')}.",
            retry_after_seconds=pull.retry_after_seconds,
            hop=_HOP,
        )

    def refused_key(self) -> LlmRefusedKey:
        """Blame a key that is wrong or missing."""
        what = "refused the key" if self._endpoint.api_key else "wants a key"
        return LlmRefusedKey(
            f"The model's server at {self._url} {what}. Set LLM_API_KEY beside LLM_BASE_URL "
            "(or OPENAI_API_KEY beside OPENAI_BASE_URL).",
            hop=_HOP,
        )

    def forbidden(self) -> LlmRejected:
        """Blame a server that refused without a word."""
        return LlmRejected(
            f"The model's server at {self._url} refused the request with status 403 and no word. "
            "Ollama does so for a host name that it does not know: name its IP address in "
            "LLM_BASE_URL, or let it listen on more than loopback (OLLAMA_HOST=0.0.0.0).",
            hop=_HOP,
        )

    def busy(self, said: str, retry_after: float | None) -> LlmBusy:
        """Blame a full queue."""
        return LlmBusy(
            f"The model's server is busy: {self._quote(said)}. Try again in a moment.",
            retry_after_seconds=retry_after or 1.0,
            hop=_HOP,
        )

    def no_tools(self) -> LlmNoTools:
        """Blame a model that can't call tools."""
        return LlmNoTools(
            f"The model {self._model} can't call tools. Set LLM_MODEL_NAME to one that can, "
            "such as llama3.1 or qwen3.",
            hop=_HOP,
        )

    def too_long(self, said: str) -> ContextTooLong:
        """Blame a conversation larger than the server's window."""
        return ContextTooLong(
            f"The conversation is too long for the model {self._model}: {self._quote(said)}. "
            "Send a shorter one, or set MIDDLEWARE_CONTEXT_TOKENS to the model's window.",
            hop=_HOP,
        )

    def cut_prompt(self, window: int) -> ContextTooLong:
        """Blame a server that cut the conversation to its window and answered the rest."""
        return ContextTooLong(
            f"The conversation did not fit into the window of the model {self._model}, which has "
            f"{window} tokens: its server cut it without a word, so that its answer was thrown "
            "away. Send a shorter one, or give the server a larger window (with Ollama: "
            "OLLAMA_CONTEXT_LENGTH).",
            hop=_HOP,
            context_tokens=window,
        )

    def failed(self, said: str, *, status: int | None = None, is_final: bool = False) -> LlmFailed:
        """Blame the server for anything else; `is_final` when asking again can't help."""
        number = f" with status {status}" if status else ""
        kind = LlmRejected if is_final else LlmFailed
        return kind(
            f"The model's server at {self._url} failed{number}: {self._quote(said)}. "
            "See its log; if this stays so, check LLM_BASE_URL and LLM_MODEL_NAME.",
            hop=_HOP,
        )

    def wrong_address(self) -> LlmRejected:
        """Blame an address where a server is and no chat API."""
        return LlmRejected(
            f"There is no OpenAI-compatible API at {self._url}; for most servers the address ends "
            "with /v1 (LLM_BASE_URL=http://localhost:11434/v1).",
            hop=_HOP,
        )

    def cut_off(self, how: str) -> LlmCutOff:
        """Blame an answer that ended in its middle."""
        return LlmCutOff(
            f"The answer of the model {self._model} was cut off ({self._quote(how)}). Its server "
            "may have crashed or run out of memory; see its log and ask again.",
            hop=_HOP,
        )

    def broken_stream(self, error: Exception) -> LlmFailed:
        """Blame what came for being no answer."""
        return self.failed(f"its answer can't be read ({type(error).__name__})")

    def _quote(self, said: str) -> str:
        if _TRACE in said:
            said = said.rpartition(_TRACE)[2].strip().rpartition("\n")[2]
        text = " ".join(said.split()).rstrip(".")
        key = self._endpoint.api_key or ""
        # A shorter one, such as `ollama`, is no secret but a word of what was said.
        if len(key) >= _SHORTEST_KEY:
            text = text.replace(key, "…")
        return text if len(text) <= _MAX_QUOTE else text[:_MAX_QUOTE] + " …"


def typed(error: openai.OpenAIError, blame: Blame) -> StackError:
    """Return the SDK's error as one of ours."""
    if isinstance(error, openai.APIStatusError):
        retry_after = error.response.headers.get("retry-after", "")
        return of_status(
            error.status_code,
            _message(error) if error.response.content else "",
            blame,
            retry_after=float(retry_after) if retry_after.isdigit() else None,
        )
    if isinstance(error, openai.APITimeoutError):
        return blame.slow()
    if isinstance(error, openai.APIConnectionError):
        return blame.unreachable()
    # The server reported an error in mid-stream.
    return blame.failed(getattr(error, "message", None) or str(error))


def of_status(  # noqa: PLR0911  # one line a status is the readable form of this table
    status: int, said: str, blame: Blame, *, retry_after: float | None = None
) -> StackError:
    """Return the error for an HTTP status and what the server said with it."""
    words = said.lower()
    if status == 403 and not said:  # noqa: PLR2004  # HTTP's own number
        return blame.forbidden()
    if status in {401, 403}:
        return blame.refused_key()
    if status in {429, 503}:
        return blame.busy(said, retry_after)
    if status == 404 and "model" in words:  # noqa: PLR2004  # HTTP's own number
        return blame.model_not_found()
    if status in {404, 405}:
        return blame.wrong_address()
    if "tool" in words and ("not support" in words or "unsupported" in words):
        return blame.no_tools()
    if status == 413 or (status in {400, 422} and ("context" in words or "too long" in words)):  # noqa: PLR2004  # HTTP's own number
        return blame.too_long(said)
    if status == 400 and "model" in words and ("not found" in words or "not exist" in words):  # noqa: PLR2004  # HTTP's own number
        return blame.model_not_found()
    return blame.failed(said, status=status, is_final=status < 500)  # noqa: PLR2004  # HTTP's own number


def _message(error: openai.APIStatusError) -> str:
    body = error.body
    if isinstance(body, dict):
        inner = body.get("error", body)
        # A server of this stack, or a proxy, may answer with a problem (RFC 9457).
        message = inner.get("message", inner.get("detail")) if isinstance(inner, dict) else inner
        if isinstance(message, str) and message:
            return message
    return str(body or error.message)
