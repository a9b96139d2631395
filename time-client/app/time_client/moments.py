"""Points in time: read from ISO 8601 or Unix time, and moved between zones."""

import math
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from time_client.errors import TimeInvalid

_NUMBER = re.compile(r"^[+-]?\d+(?:\.\d+)?$")
_BASIC_DATE = re.compile(r"^\d{8}$")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# Unix times of people's days: 1e11 seconds are the year 5138, 1e11 milliseconds the year 1973.
_UNITS = ((1e17, 1e9), (1e14, 1e6), (1e11, 1e3))
_MAX_SHOWN_CHARACTERS = 60
_HOW = "Give ISO 8601 (2026-11-22T17:03:00Z) or a Unix time in seconds or milliseconds."


@dataclass(frozen=True)
class Moment:
    """A point in time in its zone; `note` says what had to be assumed to read it."""

    when: datetime
    note: str | None = None


def read_moment(text: str | float, *, zone: ZoneInfo | None = None) -> Moment:
    """Read a point in time.

    Parameters
    ----------
    text
        ISO 8601, or a Unix time as number or digits: seconds, or milli-, micro- or nanoseconds by
        its size. Eight digits in a text are a date (20261122).
    zone
        The zone of a time that names no offset itself; UTC when none is given.

    Raises
    ------
    TimeInvalid
        When it cannot be read, or is outside the years 1 to 9999.
    """
    if not isinstance(text, str):
        return Moment(_from_unix(text, str(text)))
    stripped = text.strip()
    if _NUMBER.match(stripped) and not _BASIC_DATE.match(stripped):
        return Moment(_from_unix(stripped, stripped))
    try:
        when = datetime.fromisoformat(stripped)
    except ValueError:
        raise TimeInvalid(f"{_shown(stripped)} is no time that can be read. {_HOW}") from None
    if when.tzinfo is not None:
        note = "the time names its own offset, so from_timezone was not used" if zone else None
        return Moment(when, note)
    return _placed(when, zone)


def _from_unix(value: str | float, shown: str) -> datetime:
    try:
        # Digits stay exact: a float has no nanoseconds of today.
        number: int | float = int(value) if not isinstance(value, float) else value
    except ValueError:
        number = float(value)
    try:
        if not math.isfinite(number):
            raise OverflowError
        divisor = next((unit for bound, unit in _UNITS if abs(number) >= bound), 1)
        if isinstance(number, int):
            whole, rest = divmod(number, int(divisor))
            return _EPOCH + timedelta(seconds=whole, microseconds=rest * 1_000_000 // int(divisor))
        return _EPOCH + timedelta(seconds=number / divisor)
    except OverflowError:
        raise TimeInvalid(
            f"{_shown(shown)} as Unix time is outside the years 1 to 9999. {_HOW}"
        ) from None


def _placed(when: datetime, zone: ZoneInfo | None) -> Moment:
    """Give a wall clock time its zone, and say so where the clocks change around it."""
    if zone is None:
        return Moment(when.replace(tzinfo=UTC), "the time names no zone and was read as UTC")
    first = when.replace(tzinfo=zone, fold=0)
    second = when.replace(tzinfo=zone, fold=1)
    if first.utcoffset() == second.utcoffset():
        return Moment(first)
    wall = when.strftime("%Y-%m-%d %H:%M")
    if _exists(first):
        return Moment(
            first,
            f"{wall} happens twice in {zone.key}, because the clocks go back; this is the first "
            f"({first.tzname()}, {offset_text(first)}), the second is {offset_text(second)}",
        )
    real = in_zone(first, zone)
    return Moment(
        real,
        f"{wall} does not exist in {zone.key}, because the clocks go forward; "
        f"it was read as {real.strftime('%H:%M')} {real.tzname()}",
    )


def _exists(when: datetime) -> bool:
    try:
        back = when.astimezone(UTC).astimezone(when.tzinfo)
    except OverflowError:
        return True
    return back.replace(tzinfo=None) == when.replace(tzinfo=None)


def in_zone(when: datetime, zone: ZoneInfo) -> datetime:
    """Give the same moment on another zone's clock.

    Raises
    ------
    TimeInvalid
        When that falls outside the years 1 to 9999.
    """
    try:
        return when.astimezone(UTC).astimezone(zone)
    except OverflowError:
        raise TimeInvalid(
            "The time lies at the very edge of the years 1 to 9999; give one inside."
        ) from None


def unix_seconds(when: datetime) -> int | float:
    """Give the Unix time: a whole number unless the moment has a fraction."""
    span = when - _EPOCH
    whole = span.days * 86_400 + span.seconds
    return whole if span.microseconds == 0 else whole + span.microseconds / 1_000_000


def offset_text(when: datetime) -> str:
    """Give the offset from UTC as `+02:00`."""
    offset = when.utcoffset() or timedelta()
    sign = "-" if offset < timedelta() else "+"
    minutes, seconds = divmod(int(abs(offset).total_seconds()), 60)
    tail = f":{seconds:02}" if seconds else ""
    return f"{sign}{minutes // 60:02}:{minutes % 60:02}{tail}"


def _shown(text: str) -> str:
    return repr(text if len(text) <= _MAX_SHOWN_CHARACTERS else text[:_MAX_SHOWN_CHARACTERS] + "…")
