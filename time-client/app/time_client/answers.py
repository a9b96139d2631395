"""What the tools answer."""

from datetime import datetime
from zoneinfo import ZoneInfo

from pydantic import Field
from servicekit.wire.base import WireReply

from time_client.clock import Clock
from time_client.formatting import format_moment
from time_client.moments import in_zone, offset_text, read_moment, unix_seconds
from time_client.zones import find_zone

UTC_NAME = "UTC"
_UTC_NAMES = frozenset(
    {"UTC", "Etc/UTC", "Etc/UCT", "UCT", "Zulu", "Etc/Zulu", "Universal", "Etc/Universal"}
)


class TimeAnswer(WireReply):
    """A point in time in one zone."""

    text: str = Field(description="for a person", examples=["2026-11-22 17:03 UTC"])
    iso8601: str = Field(examples=["2026-11-22T17:03:12+00:00"])
    timezone: str = Field(description="IANA name", examples=["Asia/Tokyo"])
    abbreviation: str = Field(description="the zone's name at that time", examples=["JST"])
    utc_offset: str = Field(examples=["+09:00"])
    unix_seconds: int | float = Field(examples=[1795366992])
    weekday: str = Field(examples=["Sunday"])
    is_dst: bool = Field(description="whether daylight saving time is in force")


class FormattedTime(TimeAnswer):
    """A point in time in one zone and in the wanted form."""

    formatted: str
    note: str | None = Field(None, description="what had to be assumed to read the time")


def current_time(clock: Clock, timezone: str | None) -> TimeAnswer:
    """Give the present moment in a zone (UTC when none is named)."""
    zone = find_zone(timezone) if timezone is not None else ZoneInfo(UTC_NAME)
    return TimeAnswer(**_facts(clock.now().replace(microsecond=0), zone))


def formatted_time(
    clock: Clock,
    time: str | float,
    *,
    pattern: str | None,
    timezone: str | None,
    from_timezone: str | None,
) -> FormattedTime:
    """Read a time, move it to a zone, format it.

    Notes
    -----
    Without `timezone` the answer stays in `from_timezone`, else in UTC. The word `now` is the
    present moment.
    """
    source = find_zone(from_timezone) if from_timezone is not None else None
    target = find_zone(timezone) if timezone is not None else source or ZoneInfo(UTC_NAME)
    if isinstance(time, str) and time.strip().lower() == "now":
        when, note = clock.now().replace(microsecond=0), None
    else:
        moment = read_moment(time, zone=source)
        when, note = moment.when, moment.note
    facts = _facts(when, target)
    local = in_zone(when, target)
    formatted = format_moment(local, pattern) if pattern is not None else str(facts["text"])
    facts["text"] = formatted if note is None else f"{formatted}\n(Note: {note}.)"
    return FormattedTime(**facts, formatted=formatted, note=note)


def _facts(when: datetime, zone: ZoneInfo) -> dict[str, object]:
    local = in_zone(when, zone)
    return {
        "text": _readable(local, zone.key),
        "iso8601": local.isoformat(),
        "timezone": zone.key,
        "abbreviation": _abbreviation(local),
        "utc_offset": offset_text(local),
        "unix_seconds": unix_seconds(when),
        "weekday": local.strftime("%A"),
        "is_dst": bool(local.dst()),
    }


def _readable(local: datetime, name: str) -> str:
    clock = f"{local.year:04}-{local:%m-%d %H:%M}"
    if name in _UTC_NAMES:
        return f"{clock} UTC"
    return f"{clock} {_abbreviation(local)} ({name})"


def _abbreviation(local: datetime) -> str:
    name = local.tzname() or ""
    # Many zones have no letters of their own: "-03" alone reads like part of the time.
    return name if name[:1].isalpha() else f"UTC{offset_text(local)}"
