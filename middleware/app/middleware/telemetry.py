"""The middleware's own metrics; names of the model's follow OpenTelemetry's gen_ai conventions."""

from collections.abc import Iterable
from typing import get_args

from prometheus_client import Counter, Histogram
from servicekit.errors import (
    DeadlineExceeded,
    ServiceUnavailable,
    StackError,
    UpstreamUnavailable,
)

from middleware import errors
from middleware.turn_progress import TurnEnd

_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
_TOKENS = (1, 4, 16, 64, 256, 1024, 4096, 16384, 65536, 262144)

CHAT_TURNS = Counter("chat_turns", "Turns by how they ended", ["outcome"])
CHAT_TURN_SECONDS = Histogram(
    "chat_turn_seconds", "Duration of a whole turn", ["outcome"], buckets=_SECONDS
)
CHAT_STEPS = Histogram(
    "chat_steps", "Answers of the model in one turn", buckets=(1, 2, 3, 4, 5, 6, 8, 12, 16, 32, 64)
)
CHAT_TOOL_CALLS = Counter("chat_tool_calls", "Tool calls made in chats", ["tool_name", "status"])
MODEL_SECONDS = Histogram(
    "gen_ai_client_operation_duration_seconds",
    "Duration of one request to the model",
    ["gen_ai_operation_name", "gen_ai_request_model", "error_type"],
    buckets=_SECONDS,
)
MODEL_TOKENS = Histogram(
    "gen_ai_client_token_usage",
    "Tokens of one request to the model",
    ["gen_ai_token_type", "gen_ai_request_model"],
    buckets=_TOKENS,
)
MODEL_FIRST_CHUNK_SECONDS = Histogram(
    "gen_ai_client_operation_time_to_first_chunk",
    "Seconds until the first chunk of an answer",
    ["gen_ai_operation_name", "gen_ai_request_model"],
    buckets=_SECONDS,
)

# The models and tools are few, but a server of somebody else's may rename its tools for ever.
_MOST_TOOLS = 256
CHAT = "chat"
_OTHERS_FAIL = (UpstreamUnavailable, ServiceUnavailable, DeadlineExceeded)
_FAILURES = (
    *_OTHERS_FAIL,
    *(
        each
        for each in vars(errors).values()
        if isinstance(each, type) and issubclass(each, (*_OTHERS_FAIL, errors.ContextTooLong))
    ),
)


def failure_types(prefix: str = "") -> frozenset[str]:
    """Return the types of errors that may end a turn and are not the caller's alone."""
    return frozenset(each.type for each in _FAILURES if each.type.startswith(prefix))


# Prometheus sees by a series' growth how often something happened: one that is born with the first
# event shows nothing of it. So all that can happen begins at zero.
for _outcome in (*get_args(TurnEnd), *failure_types(), StackError.type, "cancelled"):
    CHAT_TURNS.labels(_outcome)
    CHAT_TURN_SECONDS.labels(_outcome)
CHAT_TOOL_CALLS.labels("invented", "error")


def begin_model(model: str) -> None:
    """Let the series of a model begin at zero."""
    for error_type in ("", "cancelled", errors.ContextTooLong.type, *failure_types("llm-")):
        MODEL_SECONDS.labels(CHAT, model, error_type)
    for kind in ("input", "output"):
        MODEL_TOKENS.labels(kind, model)
    MODEL_FIRST_CHUNK_SECONDS.labels(CHAT, model)


_begun: set[str] = set()


def begin_tools(names: Iterable[str]) -> None:
    """Let the series of tools begin at zero; of very many only the first do."""
    for name in names:
        if name in _begun or len(_begun) >= _MOST_TOOLS:
            continue
        _begun.add(name)
        for status in ("ok", "error"):
            CHAT_TOOL_CALLS.labels(name, status)
