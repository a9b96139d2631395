"""strftime with the same directives on every platform and version."""

import re
from datetime import datetime

from time_client.errors import FormatInvalid
from time_client.moments import offset_text, unix_seconds

# Flags as in glibc; no widths: `%999999999d` would be a gigabyte.
_DIRECTIVE = re.compile(r"%(?P<flag>[-_0^#]?)(?P<letter>:?[A-Za-z%])?")
_LETTERS = frozenset("aAbBcCdDeFfgGhHIjklmMnpPrRsStTuUVwWxXyYzZ%") | {":z"}


def format_moment(when: datetime, pattern: str) -> str:
    """Format a point in time.

    Raises
    ------
    FormatInvalid
        For a directive that does not exist; the sentence names it.
    """
    for found in _DIRECTIVE.finditer(pattern):
        if found["letter"] not in _LETTERS:
            raise FormatInvalid(
                f"{found[0]!r} at position {found.start() + 1} of the format is no strftime "
                "directive. Examples: %Y-%m-%d, %H:%M, %A, %B; write %% for a percent sign."
            )
    if "\0" in pattern:
        raise FormatInvalid("The format must not hold a null character.")
    try:
        return when.strftime(_DIRECTIVE.sub(lambda found: _portable(found, when), pattern))
    except (ValueError, UnicodeError):
        raise FormatInvalid("The format cannot be used; try %Y-%m-%d %H:%M.") from None


def _portable(found: re.Match[str], when: datetime) -> str:
    match found["letter"]:
        case "s":
            # The C library would read the wall clock in the machine's own zone.
            return str(int(unix_seconds(when) // 1))
        case ":z":
            return offset_text(when)
        case "Y":
            # The C library may leave the zeros of early years out.
            return f"{when.year:04}" if not found["flag"] else found[0]
        case _:
            return found[0]
