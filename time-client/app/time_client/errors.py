"""What can be wrong with a question about time."""

from servicekit.errors import ArgumentsInvalid


class TimezoneUnknown(ArgumentsInvalid):
    """No IANA zone has this name."""

    type = "timezone-unknown"
    title = "Unknown time zone"


class TimeInvalid(ArgumentsInvalid):
    """The text is no point in time that can be read."""

    type = "time-invalid"
    title = "Unreadable time"


class FormatInvalid(ArgumentsInvalid):
    """The strftime format has a directive that does not exist."""

    type = "time-format-invalid"
    title = "Unusable time format"
