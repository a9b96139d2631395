"""Phrasings that were misread once: what they ask for, and what they do not."""

import datetime as dt

import pytest
from embedded_model.intents import (
    AskBack,
    ConvertTime,
    Install,
    Intent,
    RunCode,
    SmallTalk,
    TellTime,
    is_action,
)
from embedded_model.reading.context import Context
from embedded_model.reading.reader import read_message

TODAY = dt.date(2026, 11, 30)


def read(*texts: str) -> tuple[Intent, ...]:
    context, intents = Context(), ()
    for text in texts:
        reading = read_message(text, context, TODAY)
        context, intents = reading.context, reading.intents
    return intents


@pytest.mark.parametrize(
    ("text", "zone", "place"),
    [
        ("How late is it in Honolulu at the moment?", "Pacific/Honolulu", "Honolulu"),
        ("does anyone know the time in Hanoi?", "Asia/Ho_Chi_Minh", "Hanoi"),
        ("what's the time in the capital of Norway", "Europe/Oslo", "Norway"),
        ("What's the time in Frankfurt am Main", "Europe/Berlin", "Frankfurt am Main"),
        ("give me current utc time", "UTC", "UTC"),
        ("Any clue what hour it is?", None, None),
    ],
)
def test_time_is_told_however_it_is_asked_for(
    text: str, zone: str | None, place: str | None
) -> None:
    assert read(text) == (TellTime(zone, place),)


@pytest.mark.parametrize(
    "text", ["does time exist", "what time does it start", "what time is it in the capital"]
)
def test_no_time_is_told_that_was_not_asked_for(text: str) -> None:
    assert not any(is_action(intent) for intent in read(text))


def test_version_behind_a_comma_is_that_of_the_package_before() -> None:
    assert read("install the requests library, version 2.31") == (Install("requests", "2.31"),)
    assert read("install numpy, version 2.1.0 and pandas") == (
        Install("numpy", "2.1.0"),
        Install("pandas"),
    )


@pytest.mark.parametrize("text", ["grab me the tabulate lib", "make tabulate available"])
def test_package_is_installed_however_it_is_asked_for(text: str) -> None:
    assert read(text) == (Install("tabulate"),)


def test_thing_that_is_no_known_package_is_asked_about_before_it_is_fetched() -> None:
    (asked,) = read("install a new kitchen")
    assert isinstance(asked, AskBack)
    assert asked.pending == (Install("kitchen"),)
    assert read("install some foo package") == (Install("foo"),)


def test_unix_time_needs_no_name_beside_a_form() -> None:
    assert read("format 1700000000 as %d.%m.%Y") == (
        ConvertTime("1700000000", None, None, "%d.%m.%Y", None),
    )
    assert not any(is_action(intent) for intent in read("my number is 1700000000"))


def test_decimal_may_be_spoken_between_digits() -> None:
    (sum_,) = read("3 point 5 times 2")
    assert getattr(sum_, "label", None) == "3.5 * 2"


@pytest.mark.parametrize(
    ("text", "courtesy"), [("ta very much", "thanks"), ("bye for now", "farewell")]
)
def test_courtesy_is_no_request(text: str, courtesy: str) -> None:
    assert read(text) == (SmallTalk(courtesy),)


@pytest.mark.parametrize(
    "lead",
    [
        "Please execute the code below\n\n",
        "run the code below: ",
        "execute this code here\n",
        "run my script now\n",
        "Execute the following Python snippet please\n\n",
        "run the code shown below\n",
        "please run what follows\n\n",
    ],
)
def test_word_that_points_to_the_code_is_no_part_of_it(lead: str) -> None:
    assert read(f"{lead}x = 10; print(x)") == (RunCode("x = 10; print(x)"),)
    program = "x = 10\nwhile x > 7:\n    x -= 1\nprint(x)"
    assert read(f"{lead}{program}") == (RunCode(program),)


@pytest.mark.parametrize("code", ["here = 1\nprint(here)", "now.isoformat()", "please(1)"])
def test_name_that_reads_like_such_a_word_stays(code: str) -> None:
    assert read(f"run {code}") == (RunCode(code),)


def test_two_prints_in_one_sentence_are_two_requests() -> None:
    assert read("run print(1) and print(2)") == (RunCode("print(1)"), RunCode("print(2)"))
    assert read("run print(1) or print(2)") == (RunCode("print(1) or print(2)"),)


def test_code_below_the_output_of_is_run() -> None:
    assert read("Show me the output of:\n\n    a = 1\n    print(a)") == (
        RunCode("a = 1\nprint(a)"),
    )


def test_package_that_was_asked_for_is_taken_from_the_answer() -> None:
    assert read("install", "numpy") == (Install("numpy"),)
    assert read("install a package", "tqdm version 4.66.1") == (Install("tqdm", "4.66.1"),)
    assert not any(is_action(intent) for intent in read("install", "maybe"))
    assert read("install", "what time is it") == (TellTime(),)
