"""The tools, as routes; the bridge offers them over MCP."""

from typing import Annotated

from fastapi import APIRouter, Request
from pydantic import Field, StrictFloat, StrictInt, StrictStr
from servicekit.wire.base import WireModel

from time_client.answers import FormattedTime, TimeAnswer, current_time, formatted_time
from time_client.clock import Clock

TOOL_TAG = "tool"
_READ_ONLY = {"x-mcp-annotations": {"readOnlyHint": True, "openWorldHint": False}}

ZoneName = Annotated[str, Field(min_length=1, max_length=100)]
router = APIRouter(prefix="/tools", tags=[TOOL_TAG])


class CurrentTimeRequest(WireModel):
    """Where the present time is wanted."""

    timezone: ZoneName | None = Field(
        None,
        description="IANA time zone such as Europe/Berlin; leave it out for UTC",
        examples=["Europe/Berlin"],
    )


class TimezoneTimeRequest(WireModel):
    """The zone whose present time is wanted."""

    timezone: ZoneName = Field(
        description="IANA time zone, for example Asia/Tokyo for Tokyo", examples=["Asia/Tokyo"]
    )


class FormatTimeRequest(WireModel):
    """A point in time and the form in which it is wanted."""

    time: Annotated[StrictStr, Field(min_length=1, max_length=100)] | StrictInt | StrictFloat = (
        Field(
            description="ISO 8601 (2026-11-22T17:03:00Z), a Unix time in (milli)seconds, or now",
            examples=["2026-11-22T17:03:00Z"],
        )
    )
    format: Annotated[str, Field(min_length=1, max_length=500)] | None = Field(
        None, description="strftime format such as %d.%m.%Y %H:%M", examples=["%A, %d %B %Y"]
    )
    timezone: ZoneName | None = Field(
        None, description="IANA time zone to convert to; UTC when left out", examples=["Asia/Tokyo"]
    )
    from_timezone: ZoneName | None = Field(
        None,
        description="IANA time zone of a time that names no offset itself; UTC when left out",
        examples=["America/New_York"],
    )


_NOW_HERE = CurrentTimeRequest()


@router.post("/get_current_time", operation_id="get_current_time", openapi_extra=_READ_ONLY)
async def get_current_time(request: Request, wanted: CurrentTimeRequest = _NOW_HERE) -> TimeAnswer:
    """Tell the current date and time, in UTC or in the given time zone."""
    return current_time(_clock(request), wanted.timezone)


@router.post("/get_timezone_time", operation_id="get_timezone_time", openapi_extra=_READ_ONLY)
async def get_timezone_time(request: Request, wanted: TimezoneTimeRequest) -> TimeAnswer:
    """Tell the current date and time in a time zone, named by its IANA name."""
    return current_time(_clock(request), wanted.timezone)


@router.post("/format_time", operation_id="format_time", openapi_extra=_READ_ONLY)
async def format_time(request: Request, wanted: FormatTimeRequest) -> FormattedTime:
    """Convert a given time to another time zone and format, daylight saving time included."""
    return formatted_time(
        _clock(request),
        wanted.time,
        pattern=wanted.format,
        timezone=wanted.timezone,
        from_timezone=wanted.from_timezone,
    )


def _clock(request: Request) -> Clock:
    clock: Clock = request.state.wiring.clock
    return clock
