import contextlib
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from time_client.errors import FormatInvalid
from time_client.formatting import format_moment

WHEN = datetime(2026, 11, 23, 2, 3, 4, tzinfo=ZoneInfo("Asia/Tokyo"))


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        ("%Y-%m-%d %H:%M:%S", "2026-11-23 02:03:04"),
        ("%A, %d %B %Y", "Monday, 23 November 2026"),
        ("%I:%M %p", "02:03 AM"),
        ("%s", "1795366984"),
        ("%z %:z %Z", "+0900 +09:00 JST"),
        ("100%%", "100%"),
        ("%-d.%-m.", "23.11."),
        ("no directive", "no directive"),
        ("%j", "327"),
        ("%G-W%V", "2026-W48"),
        ("Ω %H", "Ω 02"),
        ("%%Y", "%Y"),
    ],
)
def test_format_is_applied(pattern: str, text: str) -> None:
    assert format_moment(WHEN, pattern) == text


@pytest.mark.parametrize("pattern", ["%Q", "%", "abc %", "%999999999d", "%E", "%!", "%-", "%N"])
def test_unknown_directive_is_named(pattern: str) -> None:
    with pytest.raises(FormatInvalid, match="directive"):
        format_moment(WHEN, pattern)


def test_early_year_keeps_its_zeros() -> None:
    assert format_moment(datetime(33, 4, 3, tzinfo=UTC), "%Y") == "0033"


@given(st.text(max_size=40))
def test_any_format_is_applied_or_refused(pattern: str) -> None:
    with contextlib.suppress(FormatInvalid):
        assert len(format_moment(WHEN, pattern)) < 3000
