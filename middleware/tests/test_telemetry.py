"""Series that are there before anything has happened, so that the first time shows."""

import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import get_args

import pytest
from middleware.telemetry import failure_types
from middleware.turn_progress import TurnEnd

_SHOW = """
from prometheus_client import generate_latest
from middleware import telemetry
telemetry.begin_model("a-model")
telemetry.begin_tools(["get_time"])
telemetry.begin_tools(f"renamed_{number}" for number in range(5000))
print(generate_latest().decode())
"""
RULES = Path(__file__).resolve().parents[2] / "monitoring/prometheus/rules/recording.yml"


@cache
def shown() -> list[str]:
    # In a process of its own: in this one others have counted.
    return subprocess.run(
        [sys.executable, "-P", "-c", _SHOW], capture_output=True, text=True, check=True
    ).stdout.splitlines()


@pytest.mark.parametrize(
    "series",
    [
        *(f'chat_turns_total{{outcome="{each}"}}' for each in get_args(TurnEnd)),
        *(f'chat_turns_total{{outcome="{each}"}}' for each in sorted(failure_types())),
        'chat_turns_total{outcome="internal-error"}',
        'chat_turns_total{outcome="cancelled"}',
        'chat_turn_seconds_count{outcome="stop"}',
        'chat_tool_calls_total{status="error",tool_name="invented"}',
        'chat_tool_calls_total{status="ok",tool_name="get_time"}',
        'gen_ai_client_token_usage_sum{gen_ai_request_model="a-model",gen_ai_token_type="output"}',
        *(
            "gen_ai_client_operation_duration_seconds_count"
            f'{{error_type="{each}",gen_ai_operation_name="chat",gen_ai_request_model="a-model"}}'
            for each in ("", "cancelled", "llm-failed", "llm-timeout", "context-too-long")
        ),
    ],
)
def test_series_begins_at_zero(series: str) -> None:
    assert f"{series} 0.0" in shown()


@pytest.mark.parametrize(
    "outcome",
    ["llm-cut-off", "gateway-timeout", "tool-unavailable", "tool-timeout", "chat-timeout"],
)
def test_failures_of_others_are_known_beforehand(outcome: str) -> None:
    assert outcome in failure_types()


def test_what_is_no_failure_of_others_is_not_begun() -> None:
    assert not failure_types() & {"messages-empty", "role-unknown", "model-not-served"}


def test_tools_that_are_renamed_for_ever_make_no_series_for_ever() -> None:
    begun = [line for line in shown() if line.startswith("chat_tool_calls_total{")]

    assert 200 < len(begun) < 600
