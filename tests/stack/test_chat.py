"""Real questions to the real chain: what is called, what it gives, what is answered."""

import base64
import random
import re
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from stack_support.running_stack import CELL_SECONDS, RunningStack


def names(answer: dict[str, Any]) -> list[str]:
    return [call["name"] for call in answer["tool_calls"]]


def shown_times(zone: str) -> set[str]:
    """Give HH:MM in a zone, now and a little before: the clock goes on during a test."""
    now = datetime.now(UTC)
    moments = [now - timedelta(seconds=20), now, now + timedelta(seconds=1)]
    return {moment.astimezone(ZoneInfo(zone)).strftime("%H:%M") for moment in moments}


def has_time(text: str, zone: str) -> bool:
    return any(each in text for each in shown_times(zone))


def test_time_question_is_answered_with_the_time_in_utc(stack: RunningStack) -> None:
    answer = stack.chat("What time is it?")

    assert names(answer) == ["get_current_time"]
    output = answer["tool_calls"][0]["output"]
    found = re.search(r"\d{4}-\d{2}-\d{2} \d{2}:\d{2} UTC", output)
    assert found, output
    said = datetime.strptime(found[0], "%Y-%m-%d %H:%M UTC").replace(tzinfo=UTC)
    assert abs(datetime.now(UTC) - said) < timedelta(minutes=2)
    assert has_time(answer["response"], "UTC")
    assert answer["finish_reason"] == "stop"
    assert set(answer["usage"]) >= {"prompt_tokens", "completion_tokens", "total_tokens"}


@pytest.mark.parametrize(
    ("question", "zones"),
    [
        ("What time is it in Tokyo and in New York?", ["Asia/Tokyo", "America/New_York"]),
        ("tell me the time in Nairobi and in Lima please", ["Africa/Nairobi", "America/Lima"]),
    ],
)
def test_two_zones_in_one_question_are_both_answered(
    stack: RunningStack, question: str, zones: list[str]
) -> None:
    answer = stack.chat(question)

    assert [call["arguments"].get("timezone") for call in answer["tool_calls"]] == zones
    for call, zone in zip(answer["tool_calls"], zones, strict=True):
        assert not call["is_error"]
        assert has_time(call["output"], zone), call["output"]
        assert has_time(answer["response"], zone), answer["response"]


def test_print_of_a_big_power_runs_and_its_output_is_answered(stack: RunningStack) -> None:
    answer = stack.chat("run print(2**100)")

    assert names(answer) == ["execute_code"]
    assert answer["tool_calls"][0]["arguments"]["code"].strip() == "print(2**100)"
    assert str(2**100) in answer["tool_calls"][0]["output"]
    assert str(2**100) in answer["response"]


def test_arithmetic_is_computed_by_code(stack: RunningStack) -> None:
    chance = random.Random()
    first, second, third = (chance.randrange(1000, 99_999) for _ in range(3))

    answer = stack.chat(f"what is {first} * {second} + {third}?")

    assert names(answer) == ["execute_code"]
    shown = answer["response"].replace(",", "").replace(" ", "")
    assert str(first * second + third) in shown, answer


def test_arithmetic_in_words_is_computed_by_code(stack: RunningStack) -> None:
    answer = stack.chat("How much is twelve times 13?")

    assert names(answer) == ["execute_code"]
    assert "156" in answer["response"]


def test_code_that_raises_comes_back_as_an_error_that_the_answer_names(
    stack: RunningStack,
) -> None:
    answer = stack.chat("Run this:\n```python\nvalues = {}\nprint(values['absent'])\n```")

    (call,) = answer["tool_calls"]
    assert call["is_error"] is True
    assert "KeyError" in call["output"]
    assert "KeyError" in answer["response"]


def test_code_that_loops_for_ever_ends_at_its_limit(stack: RunningStack) -> None:
    answer = stack.chat("run this code: `while True: pass`")

    (call,) = answer["tool_calls"]
    assert call["is_error"] is True
    assert CELL_SECONDS * 1000 <= call["duration_ms"] < (CELL_SECONDS + 5) * 1000
    assert re.search(r"time|limit", call["output"], re.IGNORECASE), call["output"]


def test_code_that_floods_stdout_gives_a_bounded_answer(stack: RunningStack) -> None:
    answer = stack.chat("run this:\n```python\nfor n in range(3_000_000):\n    print(n)\n```")

    (call,) = answer["tool_calls"]
    assert 0 < len(call["output"]) < 100_000
    assert call["output"].lstrip().startswith("0\n1\n2\n"), call["output"][:80]
    assert len(answer["response"]) < 100_000


def test_long_output_keeps_head_and_tail_and_marks_the_gap(stack: RunningStack) -> None:
    code = "print('first line')\nprint('middle ' * 20000)\nprint('last line')"

    answer = stack.chat(f"run this:\n```python\n{code}\n```")

    (call,) = answer["tool_calls"]
    assert call["is_error"] is False
    assert call["output"].lstrip().startswith("first line")
    assert call["output"].rstrip().endswith("last line")
    assert len(call["output"]) < 50_000


def test_plot_comes_back_as_a_picture(stack: RunningStack) -> None:
    answer = stack.chat("plot sin from 0 to 10")
    (call,) = answer["tool_calls"]
    (image,) = call["images"]
    assert image["media_type"] == "image/png"
    assert base64.b64decode(image["data"]).startswith(b"\x89PNG")
    assert answer["response"] == "I plotted sin(x) from 0 to 10."


def test_two_tools_in_one_question_are_called_in_order(stack: RunningStack) -> None:
    answer = stack.chat("What time is it in London, and what is 19*21?")

    assert names(answer) == ["get_timezone_time", "execute_code"]
    assert has_time(answer["response"], "Europe/London")
    assert "399" in answer["response"]


@pytest.mark.parametrize(
    "question", ["hello!", "Thanks a lot", "who are you?", "How are you doing today?"]
)
def test_small_talk_calls_no_tool(stack: RunningStack, question: str) -> None:
    answer = stack.chat(question)

    assert answer["tool_calls"] == []
    assert answer["response"].strip()


def test_what_only_a_language_model_can_do_is_declined_honestly(stack: RunningStack) -> None:
    answer = stack.chat("Write a poem about the autumn rain.")

    assert answer["tool_calls"] == []
    assert "LLM_BASE_URL" in answer["response"]


def test_follow_up_is_understood_from_the_history(stack: RunningStack) -> None:
    first = stack.chat("what time is it in Oslo?")

    second = stack.chat(
        {"role": "user", "content": "what time is it in Oslo?"},
        {"role": "assistant", "content": first["response"]},
        {"role": "user", "content": "and in Sydney?"},
    )

    assert [call["arguments"] for call in second["tool_calls"]] == [
        {"timezone": "Australia/Sydney"}
    ]
    assert has_time(second["response"], "Australia/Sydney")


def test_follow_up_runs_the_earlier_code_again(stack: RunningStack) -> None:
    answer = stack.chat(
        {"role": "user", "content": "run print(11*11)"},
        {"role": "assistant", "content": "121"},
        {"role": "user", "content": "once more please"},
    )

    assert names(answer) == ["execute_code"]
    assert "121" in answer["response"]


def test_package_is_installed_and_can_then_be_imported(stack: RunningStack) -> None:
    installed = stack.chat("please install the package tabulate")
    (call,) = installed["tool_calls"]
    assert call["name"] == "install_package"
    assert call["arguments"]["package"] == "tabulate"
    if call["is_error"] and re.search(r"index", call["output"], re.IGNORECASE):
        pytest.skip(f"no package index can be reached: {call['output'][:200]}")
    assert call["is_error"] is False, call["output"]

    code = "import tabulate as t\nprint('it is', t.__version__)"
    used = stack.chat(f"run this:\n```python\n{code}\n```")
    listed = stack.chat("which packages are installed?")

    assert re.search(r"it is 0\.\d+", used["tool_calls"][0]["output"]), used
    assert names(listed) == ["list_packages"]
    assert re.search(r"\btabulate\b", listed["tool_calls"][0]["output"])


def test_each_run_has_a_session_of_its_own(stack: RunningStack) -> None:
    stack.chat("run this: `kept = 41`")

    answer = stack.chat("run this: `print(kept)`")

    assert "NameError" in answer["tool_calls"][0]["output"]


def test_tools_are_listed_with_their_schemas_and_without_a_prefix(stack: RunningStack) -> None:
    tools = stack.http.get(f"{stack.url('middleware')}/tools").json()["tools"]
    same = stack.http.get(f"{stack.url('mcp-server')}/mcp/tools").json()["tools"]

    assert {tool["name"] for tool in tools} >= {
        "execute_code",
        "execute_python",
        "install_package",
        "list_packages",
        "get_current_time",
        "get_timezone_time",
        "format_time",
        "get_system_status",
        "get_service_metrics",
    }
    assert all(set(tool) == {"name", "description", "input_schema"} for tool in tools)
    assert all(tool["description"] and tool["input_schema"]["type"] == "object" for tool in tools)
    assert {tool["name"] for tool in same} == {tool["name"] for tool in tools}


def test_tool_called_by_name_gives_output_and_structure(stack: RunningStack) -> None:
    outcome = stack.execute("get_timezone_time", timezone="Asia/Kathmandu")

    assert outcome.status_code == 200
    body = outcome.json()
    assert body["success"] is True
    assert body["error"] is None
    assert has_time(body["output"], "Asia/Kathmandu")
    assert body["structured"]["utc_offset"] == "+05:45"


def test_failing_tool_is_an_answer_without_success(stack: RunningStack) -> None:
    outcome = stack.execute("execute_code", code="1/0")

    assert outcome.status_code == 200
    assert outcome.json()["success"] is False
    assert "ZeroDivisionError" in outcome.json()["error"]


@pytest.mark.parametrize("wrapped", [False, True])
def test_gateway_takes_arguments_bare_and_as_params(stack: RunningStack, wrapped: bool) -> None:
    arguments = {"code": "print(6*7)"}

    response = stack.http.post(
        f"{stack.url('mcp-server')}/mcp/tools/execute_code",
        json={"params": arguments} if wrapped else arguments,
    )

    assert response.status_code == 200, response.text
    assert response.json()["success"] is True
    assert "42" in response.json()["output"]
