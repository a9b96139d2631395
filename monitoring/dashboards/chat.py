"""Chat and LLM: how turns end, how long they take, and what the model does in them."""

from dashboards.board import Board
from dashboards.panel import Panel, Query, or_none, that_happened

_SECONDS = "gen_ai_client_operation_duration_seconds"
_FIRST = "gen_ai_client_operation_time_to_first_chunk"
_TOKENS = "gen_ai_client_token_usage"


def _quantile(share: float, metric: str, *, by: str = "", match: str = "") -> str:
    """Return the expression for a quantile of a histogram over the panel's own interval."""
    labels = f"le, {by}" if by else "le"
    return (
        f"histogram_quantile({share}, sum by ({labels}) "
        f"(rate({metric}_bucket{match}[$__rate_interval])))"
    )


BOARD = Board(
    uid="mcp-chat",
    title="Chat and LLM",
    description="How turns end, how long they take, and what the model does in them.",
    panels=(
        Panel(
            title="Turns by outcome",
            description="Turns that ended, per minute, by how. `stop` is an answer; names "
            "with a hyphen are the types of docs/reference/errors.md.",
            unit="short",
            queries=(
                Query(
                    that_happened(
                        "sum by (outcome) (rate(chat_turns_total[$__rate_interval])) * 60",
                        "chat_turns_total",
                        "outcome",
                    ),
                    "{{outcome}}",
                ),
            ),
            no_value="no chat yet",
            is_stacked=True,
            width=12,
        ),
        Panel(
            title="Duration of turns",
            description="How long turns took, tools and all steps of the model included.",
            unit="s",
            queries=(
                Query(_quantile(0.5, "chat_turn_seconds"), "p50"),
                Query(_quantile(0.95, "chat_turn_seconds"), "p95"),
                Query(_quantile(0.99, "chat_turn_seconds"), "p99"),
            ),
            no_value="no chat yet",
            width=12,
        ),
        Panel(
            title="Durations seen",
            description="How many turns took how long; two bands show two kinds of chats.",
            unit="short",
            queries=(
                Query(
                    "sum by (le) (increase(chat_turn_seconds_bucket[$__rate_interval]))", "{{le}}"
                ),
            ),
            no_value="no chat yet",
            kind="heatmap",
        ),
        Panel(
            title="Steps of a turn",
            description="Answers of the model that one turn took. Many steps mean tools that "
            "fail or a model that does not come to an end.",
            unit="short",
            queries=(
                Query(
                    "sum(rate(chat_steps_sum[$__rate_interval]))"
                    " / sum(rate(chat_steps_count[$__rate_interval]))",
                    "mean",
                ),
                Query(_quantile(0.95, "chat_steps"), "p95"),
            ),
            no_value="no chat yet",
            decimals=1,
        ),
        Panel(
            title="Tool calls in chats",
            description="Calls that the model made, per minute. `invented` is a tool that "
            "does not exist.",
            unit="short",
            queries=(
                Query(
                    or_none(
                        "sum by (tool_name, status) "
                        "(rate(chat_tool_calls_total[$__rate_interval])) * 60"
                        " and on (tool_name, status) chat_tool_calls_total > 0",
                        "tool_name",
                    ),
                    "{{tool_name}} {{status}}",
                ),
            ),
            no_value="no tool was called",
            is_stacked=True,
        ),
        Panel(
            title="Requests to the model",
            description="Requests per second, by model.",
            unit="reqps",
            queries=(
                Query(
                    f"sum by (gen_ai_request_model) (rate({_SECONDS}_count[$__rate_interval]))",
                    "{{gen_ai_request_model}}",
                ),
            ),
            no_value="the model was not asked",
        ),
        Panel(
            title="Failures of the model",
            description="Requests per minute that got no answer, by reason; the reasons are "
            "the types of docs/reference/errors.md.",
            unit="short",
            queries=(
                Query(
                    that_happened(
                        "sum by (error_type) "
                        f'(rate({_SECONDS}_count{{error_type!=""}}[$__rate_interval])) * 60',
                        f'{_SECONDS}_count{{error_type!=""}}',
                        "error_type",
                    ),
                    "{{error_type}}",
                ),
            ),
            no_value="The model never failed.",
            is_stacked=True,
        ),
        Panel(
            title="Time of one request to the model",
            description="From the request to the last word of the answer.",
            unit="s",
            queries=(
                Query(
                    _quantile(0.5, _SECONDS, by="gen_ai_request_model"),
                    "{{gen_ai_request_model}} p50",
                ),
                Query(
                    _quantile(0.95, _SECONDS, by="gen_ai_request_model"),
                    "{{gen_ai_request_model}} p95",
                ),
            ),
            no_value="the model was not asked",
        ),
        Panel(
            title="Time to the first chunk",
            description="How long the model is silent before it begins: loading, queue, and "
            "reading of the prompt.",
            unit="s",
            queries=(
                Query(
                    _quantile(0.5, _FIRST, by="gen_ai_request_model"),
                    "{{gen_ai_request_model}} p50",
                ),
                Query(
                    _quantile(0.95, _FIRST, by="gen_ai_request_model"),
                    "{{gen_ai_request_model}} p95",
                ),
            ),
            no_value="the model never began an answer",
        ),
        Panel(
            title="Tokens per minute",
            description="Tokens that went in (prompts) and came out (answers).",
            unit="short",
            queries=(
                Query(
                    f"sum by (gen_ai_token_type) (rate({_TOKENS}_sum[$__rate_interval])) * 60",
                    "{{gen_ai_token_type}}",
                ),
            ),
            no_value="no tokens were counted",
        ),
        Panel(
            title="Tokens of one request",
            description="95 of 100 requests had at most so many. Input near the model's "
            "window means that old messages are left out.",
            unit="short",
            queries=(
                Query(
                    _quantile(0.95, _TOKENS, by="gen_ai_token_type"), "{{gen_ai_token_type}} p95"
                ),
            ),
            no_value="no tokens were counted",
        ),
        Panel(
            title="Speed of answers",
            description="Tokens that came out per second of waiting for the model, reading of "
            "the prompt included.",
            unit="short",
            queries=(
                Query(
                    "sum by (gen_ai_request_model) "
                    f'(rate({_TOKENS}_sum{{gen_ai_token_type="output"}}[$__rate_interval]))'
                    " / sum by (gen_ai_request_model) "
                    f'(rate({_SECONDS}_sum{{error_type=""}}[$__rate_interval]))',
                    "{{gen_ai_request_model}} tokens/s",
                ),
            ),
            no_value="no answer yet",
        ),
    ),
)
