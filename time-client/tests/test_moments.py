from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from time_client.errors import TimeInvalid
from time_client.moments import in_zone, offset_text, read_moment, unix_seconds

NOON = datetime(2026, 11, 22, 17, 3, tzinfo=UTC)
BERLIN = ZoneInfo("Europe/Berlin")


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-22T17:03:00Z",
        "2026-11-22T17:03Z",
        "2026-11-22 17:03:00+00:00",
        "20261122T170300Z",
        "2026-11-23T02:03:00+09:00",
        1795366980,
        "1795366980",
        1795366980000,
        "1795366980000",
        "1795366980000000",
        "1795366980000000000",
        1795366980.0,
        " 1795366980 ",
    ],
)
def test_same_moment_is_read_from_every_form(text: str | float) -> None:
    assert read_moment(text).when == NOON


def test_date_alone_is_midnight() -> None:
    midnight = datetime(2026, 11, 22, tzinfo=UTC)
    assert read_moment("2026-11-22").when == midnight
    assert read_moment("20261122").when == midnight
    assert read_moment(20261122).when == datetime(1970, 8, 23, 12, 5, 22, tzinfo=UTC)


def test_time_without_zone_is_utc_and_says_so() -> None:
    moment = read_moment("2026-11-22T17:03")
    assert moment.when == NOON
    assert "UTC" in str(moment.note)


def test_time_with_offset_says_that_from_timezone_was_not_used() -> None:
    moment = read_moment("2026-11-22T17:03Z", zone=BERLIN)
    assert moment.when == NOON
    assert "from_timezone" in str(moment.note)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "yesterday",
        "2026-13-01",
        "2026-02-30",
        "25:00",
        "nan",
        "inf",
        "1e5",
        "999999999999999999999",
        "9" * 400,
        float("nan"),
        float("inf"),
        -1e300,
        10**30,
        "2026-11-22T17:03:00+25:00",
    ],
)
def test_unreadable_time_is_an_error_that_says_how(text: str | float) -> None:
    with pytest.raises(TimeInvalid, match="ISO 8601"):
        read_moment(text)


def test_hour_that_does_not_exist_is_read_after_the_gap_and_said() -> None:
    moment = read_moment("2026-03-29T02:30", zone=BERLIN)
    assert moment.when.isoformat() == "2026-03-29T03:30:00+02:00"
    assert "does not exist" in str(moment.note)


def test_hour_that_happens_twice_is_the_first_and_said() -> None:
    moment = read_moment("2026-10-25T02:30", zone=BERLIN)
    assert moment.when.isoformat() == "2026-10-25T02:30:00+02:00"
    assert "happens twice" in str(moment.note)
    assert "+01:00" in str(moment.note)


def test_ordinary_hour_needs_no_note() -> None:
    assert read_moment("2026-07-01T12:00", zone=BERLIN).note is None


def test_edge_of_the_calendar_is_an_error_and_not_a_crash() -> None:
    with pytest.raises(TimeInvalid):
        in_zone(read_moment("9999-12-31T23:59:59Z").when, ZoneInfo("Asia/Tokyo"))
    with pytest.raises(TimeInvalid):
        in_zone(read_moment("0001-01-01T00:00:00Z").when, ZoneInfo("America/New_York"))


@given(st.text(max_size=30) | st.integers() | st.floats())
def test_any_input_is_read_or_refused(text: str | float) -> None:
    try:
        moment = read_moment(text, zone=BERLIN)
        in_zone(moment.when, ZoneInfo("Pacific/Apia"))
    except TimeInvalid:
        return
    assert moment.when.tzinfo is not None


@given(st.integers(min_value=-62135596800, max_value=99_999_999_999))
def test_unix_seconds_come_back(seconds: int) -> None:
    assert unix_seconds(read_moment(seconds).when) == seconds


def test_offsets_are_written_with_sign_and_minutes() -> None:
    assert offset_text(in_zone(NOON, ZoneInfo("Asia/Kolkata"))) == "+05:30"
    assert offset_text(in_zone(NOON, ZoneInfo("America/St_Johns"))) == "-03:30"
    assert offset_text(NOON) == "+00:00"
