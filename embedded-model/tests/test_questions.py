"""Sums in words, measures, shapes, times of day: what the code prints is what was asked."""

import datetime as dt

import pytest
from embedded_model.intents import AskBack, Calculate, Refuse, TellTime
from embedded_model.reading.assembly import HALF_READ
from embedded_model.reading.clock import clock_time
from embedded_model.reading.context import Context
from embedded_model.reading.fractions import with_fractions
from embedded_model.reading.geometry import read_shape
from embedded_model.reading.measures import read_measure
from embedded_model.reading.reader import UNREADABLE, read_message
from embedded_model_corpus import load_cases, prints

TODAY = dt.date(2026, 11, 22)


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("one half plus one quarter", "(1/2) plus (1/4)"),
        ("two and a half times four", "(2 + 1/2) times four"),
        ("6 and three quarters", "(6 + 3/4)"),
        ("two-thirds of 90", "(2/3) of 90"),
        ("half a million", "500000"),
        ("half a mile", "(1/2) mile"),
        # Ordinals, and what the grammar of sums divides by itself, stay.
        ("to the third power", "to the third power"),
        ("a third of 99", "a third of 99"),
        ("half of 90", "half of 90"),
        ("one second", "one second"),
    ],
)
def test_fraction_in_words_is_written_as_a_quotient(text: str, written: str) -> None:
    assert with_fractions(text) == written


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("5 miles in km", "8.04672"),
        ("how many feet in two meters", "6.56167979003"),
        ("6 ft 2 in to cm", "187.96"),
        ("20°c in °f", "68"),
        ("-40 f to c", "-40"),
        ("0 k in celsius", None),
        ("0 kelvin in celsius", "-273.15"),
        ("1,500 m in km", "1.5"),
        ("2 gib in mib", "2048"),
        ("5 meters in seconds", None),
        ("100 usd in eur", None),
        ("5 km in km", None),
    ],
)
def test_measure_is_given_in_the_other_unit_or_declined(text: str, value: str | None) -> None:
    read = read_measure(text)
    assert (prints(read.code) if read else None) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("area of a 4 by 5 rectangle", "20"),
        ("area of a triangle with base 4 and height 6", "12.0"),
        ("circumference of a circle with diameter 10", "31.41592653589793"),
        ("hypotenuse of 3 and 4", "5.0"),
        ("area of a circle with height 5", None),
        ("volume of a cylinder with radius 2", None),
        ("area of russia", None),
    ],
)
def test_shape_is_measured_when_it_is_given_whole(text: str, value: str | None) -> None:
    read = read_shape(text)
    assert (prints(read.code) if read else None) == value


@pytest.mark.parametrize(
    ("text", "clock"),
    [
        ("3pm", "15:00"),
        ("12am", "00:00"),
        ("half past 8", "08:30"),
        ("quarter to 1 pm", "12:45"),
        ("8 in the evening", "20:00"),
        ("11:30 at night", "23:30"),
        ("25:00", None),
        ("10:75", None),
    ],
)
def test_time_of_day_is_read_or_refused(text: str, clock: str | None) -> None:
    assert clock_time(text) == clock


@pytest.mark.parametrize(
    ("text", "printed"),
    [
        ("how many minutes between 9:15 and 11:40", "145"),
        ("how long is it from 10pm to 6:30am", "8 h 30 min"),
        ("what time is 3 hours after 22:30", "01:30"),
        ("add 15% to 80", "92"),
        ("take 10% off 50", "45"),
        ("add up 1 2 3 4", "10"),
        ("0x1F + 1", "32"),
        ("what is 1010 binary in decimal", "10"),
        ("how many digits are in 20!", "19"),
        ("1e400 - 1e399", str(10**400 - 10**399)),
        ("square root of 2 to 4 decimal places", "1.4142"),
        ("12 times itself", "144"),
        ("what is pi", "3.141592653589793"),
    ],
)
def test_question_becomes_code_that_prints_its_answer(text: str, printed: str) -> None:
    (intent,) = read_message(text, Context(), TODAY).intents
    assert isinstance(intent, Calculate)
    assert prints(intent.code) == printed


@pytest.mark.parametrize("text", ["pi to 40 digits", "1.5e400 * 2", "add 10 to 5%"])
def test_sum_without_one_exact_meaning_is_declined(text: str) -> None:
    assert not any(
        isinstance(intent, Calculate) for intent in read_message(text, Context(), TODAY).intents
    )


def test_sum_of_which_half_is_not_understood_is_left() -> None:
    assert read_message("add 2 and 3 less than 10", Context(), TODAY).intents == (
        Refuse(HALF_READ),
    )


def test_offset_alone_is_a_question_and_a_city_alone_is_asked_about() -> None:
    assert read_message("utc+5:30", Context(), TODAY).intents == (
        TellTime("Asia/Kolkata", "UTC+5:30"),
    )
    (asked,) = read_message("tokyo/paris", Context(), TODAY).intents
    assert isinstance(asked, AskBack)
    assert [intent.zone for intent in asked.pending if isinstance(intent, TellTime)] == [
        "Asia/Tokyo",
        "Europe/Paris",
    ]


@pytest.mark.parametrize(
    "text", ["run `rm -rf /`", "run `ls -la`", "run the following javascript: console.log(1)"]
)
def test_what_is_no_python_is_not_run(text: str) -> None:
    (intent,) = read_message(text, Context(), TODAY).intents
    assert isinstance(intent, Refuse)


def test_no_request_of_the_corpus_breaks_a_grammar() -> None:
    # A grammar that raises is caught and declined, and would pass for caution.
    for case in load_cases():
        for message in case.messages:
            if message["role"] == "user":
                reading = read_message(message["content"], Context(), TODAY)
                assert Refuse(UNREADABLE) not in reading.intents, case.id
