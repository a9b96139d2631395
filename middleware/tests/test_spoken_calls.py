"""Calls that a model wrote as text: recovered when they are all there is, else left alone."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from middleware.spoken_calls import spoken_calls
from middleware.thinking import without_thinking

OFFERED = ("execute_code", "get_current_time")
ONE = [("execute_code", {"code": "print(1)"})]
CALL = '{"name": "execute_code", "arguments": {"code": "print(1)"}}'

QWEN = "<function=execute_code>\n<parameter=code>\nprint(1)\n</parameter>\n</function>"
OTHER = '{"name": "get_current_time", "arguments": {}}'


def found(text: str) -> list[tuple[str, dict]]:
    return [(call.name, json.loads(call.arguments_text)) for call in spoken_calls(text, OFFERED)]


@pytest.mark.parametrize(
    "text",
    [
        CALL,
        CALL.replace("arguments", "parameters"),
        f"  {CALL}\n",
        f"```json\n{CALL}\n```",
        f"<tool_call>\n{CALL}\n</tool_call>",
        f"<|python_tag|>{CALL}",
        f"[TOOL_CALLS][{CALL}]",
        f"<think>I should run it.</think>\n{CALL}",
        '{"type": "function", "function": ' + CALL + "}",
        '{"type": "function", "name": "execute_code", "parameters": {"code": "print(1)"}}',
        '{"name": "execute_code", "arguments": "{\\"code\\": \\"print(1)\\"}"}',
        '<function=execute_code>{"code": "print(1)"}</function>',
        f"<tool_call>{QWEN}</tool_call>",
    ],
)
def test_whole_reply_that_is_a_call_is_recovered(text):
    assert found(text) == ONE


@pytest.mark.parametrize(
    "text",
    [
        f"[{CALL}, {OTHER}]",
        f"{CALL}\n{OTHER}",
        f'{CALL}; {{"name": "get_current_time", "parameters": {{}}}}',
        f"<tool_call>{CALL}</tool_call>\n<tool_call>{OTHER}</tool_call>",
    ],
)
def test_several_calls_are_recovered_in_order(text):
    assert found(text) == [*ONE, ("get_current_time", {})]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Hello.",
        f"I will run it: {CALL}",
        f"{CALL} That's the call.",
        f"```json\n{CALL}\n```\nThis is how a call looks.",
        CALL.replace("execute_code", "rm_rf"),
        f'[{CALL}, {{"name": "rm_rf", "arguments": {{}}}}]',
        '{"name": "execute_code"}',
        '{"name": "execute_code", "arguments": {}, "comment": "an example"}',
        '{"name": "Ada", "arguments": ["x"]}',
        '{"result": 42}',
        "[1, 2, 3]",
        "[]",
        "{" * 10_000,
        "<b>bold</b>",
        "<tool_call>",
        CALL[:-1],
    ],
)
def test_anything_else_stays_text(text):
    assert found(text) == []


def test_nothing_is_recovered_without_offered_tools():
    assert spoken_calls(CALL, ()) == ()


@given(st.text(alphabet='{}[]"<>/=:, abcfunctiontool_call\n', max_size=80))
def test_no_text_breaks_it(text):
    spoken_calls(text, OFFERED)


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("<think>hm</think>Hello", "Hello"),
        ("<think>hm\n</think>\n\nHello", "Hello"),
        ("hm, so</think>\nHello", "Hello"),
        ("<thinking>hm</thinking> Hello", "Hello"),
        ("Hello <think>x</think>", "Hello <think>x</think>"),
        ("<think>never closed", "<think>never closed"),
        ("Hello", "Hello"),
    ],
)
def test_thinking_before_the_answer_is_taken_out(text, left):
    assert without_thinking(text) == left


@pytest.mark.timeout(5)
@pytest.mark.parametrize(
    "text",
    [
        "<tool_call>" + " " * 90_000 + "x",
        "```json" + "\n" * 90_000 + "x",
        "<function=execute_code>" + "\n" * 90_000 + "x",
        "[];" * 30_000,
    ],
)
def test_endless_reply_is_judged_at_once(text: str) -> None:
    assert spoken_calls(text, OFFERED) == ()
