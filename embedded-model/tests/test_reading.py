import datetime as dt
import time

import pytest
from embedded_model.intents import (
    AskBack,
    ConvertTime,
    Install,
    Intent,
    ListPackages,
    OutOfScope,
    Refuse,
    RunCode,
    SmallTalk,
    TellTime,
    is_action,
)
from embedded_model.reading.context import Context
from embedded_model.reading.reader import read_message
from hypothesis import given, settings
from hypothesis import strategies as st

TODAY = dt.date(2026, 11, 22)


def read(*texts: str) -> tuple[Intent, ...]:
    context, intents = Context(), ()
    for text in texts:
        reading = read_message(text, context, TODAY)
        context, intents = reading.context, reading.intents
    return intents


def test_code_in_a_fence_is_copied_to_the_letter() -> None:
    code = "s = \u201cit\u2019s 6\u00d77\u201d  # install numpy and tell me the time"
    assert read(f"run this\n```python\n{code}\n```") == (RunCode(code),)


def test_curly_quotes_of_an_editor_are_mended_in_bare_code() -> None:
    assert read("print(“hello”)") == (RunCode('print("hello")'),)


def test_bash_fence_that_installs_becomes_installs() -> None:
    assert read("```bash\npip install six==1.16.0 rich\n```") == (
        Install("six", "1.16.0"),
        Install("rich"),
    )


def test_code_that_begins_behind_the_verb_keeps_all_its_lines() -> None:
    assert read("please run x = 1\nprint(x)\nprint(x + 1)") == (
        RunCode("x = 1\nprint(x)\nprint(x + 1)"),
    )


def test_words_inside_code_ask_for_nothing() -> None:
    (intent,) = read("run print('install numpy and list packages')")
    assert intent == RunCode("print('install numpy and list packages')")


def test_code_without_a_request_is_asked_about_and_run_on_yes() -> None:
    first = "my colleague sent me\n```python\nprint(11)\n```"
    (question,) = read(first)
    assert isinstance(question, AskBack)
    assert read(first, "yes please") == (RunCode("print(11)"),)
    assert not any(is_action(intent) for intent in read(first, "no"))


@pytest.mark.parametrize(
    "text",
    [
        "don't run this:\n```python\nprint(1)\n```",
        "do not execute `print(1)`",
        "please never install numpy",
        "explain this code\n```python\nprint(1)\n```",
        "write a program that installs numpy and lists packages",
        "what is the best time to visit Tokyo?",
        "is it possible to travel in time",
        "translate 'install numpy' to French",
        "I need coffee",
        "set an alarm for 7am",
    ],
)
def test_nothing_is_done_that_was_not_asked_for(text: str) -> None:
    assert not any(is_action(intent) for intent in read(text))


def test_ambiguous_country_is_asked_about_and_the_city_answers() -> None:
    (question,) = read("what time is it in the USA?")
    assert isinstance(question, AskBack)
    assert read("what time is it in the USA?", "Chicago") == (
        TellTime("America/Chicago", "Chicago"),
    )


def test_unknown_place_is_named_in_the_question() -> None:
    (question,) = read("time in Xyzzyville")
    assert isinstance(question, AskBack)
    assert "Xyzzyville" in question.question


def test_short_name_is_never_taken_for_a_near_city() -> None:
    assert all(isinstance(intent, AskBack) for intent in read("time in Rma"))


@pytest.mark.parametrize(
    ("text", "zone"),
    [
        ("time in Paris, France", "Europe/Paris"),
        ("time in London, Ontario", "America/Toronto"),
        ("time in Portland, Maine", "America/New_York"),
        ("what time is it in Bangalore, India?", "Asia/Kolkata"),
    ],
)
def test_state_or_country_after_a_city_makes_one_place(text: str, zone: str) -> None:
    (intent,) = read(text)
    assert isinstance(intent, TellTime)
    assert intent.zone == zone


def test_country_list_is_no_city_with_its_country() -> None:
    zones = [
        intent.zone
        for intent in read("time in Tokyo, Germany and Peru")
        if isinstance(intent, TellTime)
    ]
    assert zones == ["Asia/Tokyo", "Europe/Berlin", "America/Lima"]


def test_requests_of_one_sentence_come_in_their_order() -> None:
    intents = read("install six, then run `import six`, list packages and tell me the time in Oslo")
    assert intents == (
        Install("six"),
        RunCode("import six"),
        ListPackages(),
        TellTime("Europe/Oslo", "Oslo"),
    )


def test_what_cannot_be_done_stands_beside_what_can() -> None:
    intents = read("what time is it and write me a poem")
    assert intents == (TellTime(), OutOfScope())


def test_ranged_version_is_asked_about() -> None:
    (intent,) = read("install requests>=2.0")
    assert isinstance(intent, AskBack)


def test_uninstalling_is_declined() -> None:
    (intent,) = read("uninstall numpy")
    assert isinstance(intent, Refuse)


def test_moment_is_converted_between_two_cities() -> None:
    (intent,) = read("convert 3pm London time to Tokyo")
    assert intent == ConvertTime("2026-11-22T15:00", "Asia/Tokyo", "Europe/London", place="Tokyo")


def test_follow_up_changes_the_number_that_is_meant() -> None:
    (intent,) = read("run print(sum(range(10)))", "now with 20")
    assert intent == RunCode("print(sum(range(20)))")


def test_follow_up_with_two_possible_numbers_asks() -> None:
    (intent,) = read("what is 17*23?", "now with 20")
    assert isinstance(intent, AskBack)


def test_again_repeats_the_whole_last_turn() -> None:
    first = "time in Rome and 2+2"
    assert read(first, "thanks", "do it again") == read(first)


def test_again_without_anything_before_asks() -> None:
    (intent,) = read("run it again")
    assert isinstance(intent, AskBack)


@pytest.mark.parametrize("text", ["hi", "HELLO!!", "good morning", "helo"])
def test_greeting_is_small_talk(text: str) -> None:
    assert read(text) == (SmallTalk("greeting"),)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text(max_size=30), max_size=3))
def test_no_message_breaks_the_reader(texts: list[str]) -> None:
    read(*texts)


@pytest.mark.parametrize(
    "text",
    [
        "and, " * 5000,
        "what time is it in " * 800,
        "(" * 20_000,
        "1+" * 9000 + "1",
        "plot " + "x and " * 3000,
        "install " + "numpy, " * 2000,
        "print(" * 3000,
        "a b c d e f g h " * 1200,
        "`x` " * 500,
        "x = (\n" * 1500,
        "what is 5 plus " * 400,
        "is it " * 400,
        "UTC+2 GMT-3 " * 400,
        "then the : { to ^ [ name = " * 120,
    ],
    ids=lambda text: text[:12],
)
def test_long_message_is_read_in_bounded_time(text: str) -> None:
    started = time.process_time()  # of this process alone: the machine may be busy
    read(text)
    assert time.process_time() - started < 3


@pytest.mark.parametrize(
    "code",
    ['print("a `b` c")', "print('`print(2)`')", "x = 1  # `y`\nprint(x)"],
)
def test_backticks_within_a_string_are_the_codes_own(code: str) -> None:
    assert read(code) == read(f"run {code}") == (RunCode(code),)


def test_code_beside_a_question_takes_none_of_its_words() -> None:
    rome = TellTime("Europe/Rome", "Rome")
    assert read('what time is it in rome and print("hi")') == (rome, RunCode('print("hi")'))
    assert read("print(1). Then what time is it in Rome?") == (RunCode("print(1)"), rome)
    assert read("print(1), and what's the time") == (RunCode("print(1)"), TellTime())


def test_form_without_quotes_ends_before_the_place() -> None:
    (intent,) = read("format 2024-02-29T12:00:00Z as %d/%m/%Y in Europe/Paris")
    assert isinstance(intent, ConvertTime)
    assert (intent.form, intent.zone) == ("%d/%m/%Y", "Europe/Paris")


@pytest.mark.parametrize("lead", ["", "run this:\n", "please run this program\n"])
def test_long_program_is_called_to_the_letter(lead: str) -> None:
    program = "\n".join(f"x{i} = {i}  # `tick` install numpy" for i in range(1200))
    assert read(lead + program) == (RunCode(program),)
    long_line = f"print('{'a b ' * 8000}')"
    assert read(f"run {long_line}") == (RunCode(long_line),)
