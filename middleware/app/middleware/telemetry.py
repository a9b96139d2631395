"""The middleware's own metrics; names of the model's follow OpenTelemetry's gen_ai conventions."""

from prometheus_client import Counter, Histogram

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
