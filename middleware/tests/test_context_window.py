"""The conversation is cut in the open: oldest results first, never the rules or the question."""

import pytest
from middleware.context_window import estimated_tokens, fit
from middleware.conversation import (
    AssistantMessage,
    SystemMessage,
    ToolCall,
    ToolMessage,
    UserMessage,
)
from middleware.errors import ContextTooLong
from middleware.sound_text import is_sound, sound, sound_value
from middleware.tool_output import capped

RULES = SystemMessage("rules " * 20)
LAST = UserMessage("And now?")


def words(size: int) -> str:
    return "some words " * (size // 11) + "x" * (size % 11)


def exchange(number: int, size: int = 400) -> tuple:
    return (UserMessage(f"question {number} " + words(size)), AssistantMessage(words(size)))


def call_and_result(number: int, size: int) -> tuple:
    call = ToolCall(f"c{number}", "execute_code", '{"code": "1"}')
    return (AssistantMessage("", (call,)), ToolMessage(call.id, call.name, words(size)))


def cut(messages, window, answer_tokens=100):
    return fit(messages, (), window=window, answer_tokens=answer_tokens)


def test_what_fits_is_left_alone():
    messages = (RULES, *exchange(1), LAST)
    assert cut(messages, 10_000).messages == messages
    assert cut(messages, 10_000).notice is None


def test_without_a_window_nothing_is_cut():
    messages = (RULES, UserMessage("x" * 1_000_000))
    assert cut(messages, None).messages == messages


def test_oldest_results_go_first():
    messages = (RULES, LAST, *call_and_result(1, 4000), *call_and_result(2, 4000))
    fitted = cut(messages, 1800)
    results = [message.text for message in fitted.messages if isinstance(message, ToolMessage)]
    assert "removed" in results[0]
    assert results[1] == words(4000)
    assert len(fitted.messages) == len(messages)
    assert fitted.notice is not None
    assert "1 older tool result" in fitted.notice


def test_old_exchanges_go_next_and_whole():
    history = tuple(message for number in range(10) for message in exchange(number))
    fitted = cut((RULES, *history, LAST), 1200)
    assert fitted.messages[0] == RULES
    assert fitted.messages[-1] == LAST
    assert isinstance(fitted.messages[1], UserMessage)
    assert "question 9" in fitted.messages[-3].text
    assert fitted.notice is not None
    assert "left out" in fitted.notice


def test_newest_result_is_shortened_last():
    fitted = cut((RULES, LAST, *call_and_result(1, 40_000)), 1800)
    assert len(fitted.messages[-1].text) < 2000
    assert fitted.notice is not None
    assert "shortened" in fitted.notice


@pytest.mark.parametrize("window", [400, 1000, 2000, 4000])
def test_cut_conversation_fits_and_keeps_rules_and_question(window):
    history = tuple(message for number in range(20) for message in exchange(number))
    steps = tuple(m for number in range(5) for m in call_and_result(number, 900))
    try:
        fitted = cut((RULES, *history, LAST, *steps), window)
    except ContextTooLong:
        assert window == 400
        return
    assert estimated_tokens(fitted.messages) <= window - 100
    assert RULES in fitted.messages
    assert LAST in fitted.messages
    made = {c.id for m in fitted.messages if isinstance(m, AssistantMessage) for c in m.calls}
    told = {m.call_id for m in fitted.messages if isinstance(m, ToolMessage)}
    assert made == told


def test_question_that_is_too_long_by_itself_is_an_error():
    with pytest.raises(ContextTooLong, match="MIDDLEWARE_CONTEXT_TOKENS"):
        cut((RULES, UserMessage("x" * 100_000)), 4096)


@pytest.mark.parametrize("size", [0, 999, 1000, 1001, 50_000])
def test_capped_output_keeps_both_ends(size):
    text = "".join(str(number % 10) for number in range(size))
    short = capped(text, 1000)
    assert len(short) <= max(size, 1000) + 60
    if size <= 1000:
        assert short == text
    else:
        assert short.startswith(text[:600])
        assert short.endswith(text[-400:])
        assert str(size - 1000) in short


def test_halves_of_a_character_are_joined_or_replaced():
    halves = "\ud83d" + "\ude00"
    assert sound(halves) == "\U0001f600"
    assert sound("a\ud800b") == "a\ufffdb"
    assert sound("plain é \U0001f600") == "plain é \U0001f600"
    assert not is_sound("\ud800")
    assert sound_value({"a": ["\ud800", 1, None]}) == {"a": ["\ufffd", 1, None]}


@pytest.mark.parametrize(
    ("text", "fewest", "most"),
    [
        # Wide bounds: a word is a token or a little more, a digit a third of one or a whole one.
        ("The quick brown fox jumps over the lazy dog. " * 100, 900, 1300),
        ("9" * 12 + "\n", 5, 14),
        ("314159,271828,141421\n" * 100, 900, 2100),
        ("dGhpcyBpcyBub3QgYSBzZWNyZXQgYnV0IGl0IGxvb2tzIGxpa2Ugb25l" * 20, 560, 800),
        ("时间" * 500, 600, 1100),
    ],
)
def test_estimate_is_careful_for_what_costs_more_than_prose(text, fewest, most):
    assert fewest <= estimated_tokens((UserMessage(text),)) <= most
