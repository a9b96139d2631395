"""Dates in words, as Python expressions with datetime."""

import datetime as dt
import re
from dataclasses import dataclass

from embedded_model.reading.numerals import ordinal

MONTHS = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
]
WEEKDAYS = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]
MONTH = "(?:" + "|".join(f"{name[:3]}(?:{name[3:]})?" for name in MONTHS) + r"|sept)\.?"
_DAY = r"\d{1,2}(?:st|nd|rd|th)?"
_RELATIVE = r"today|now|tomorrow|yesterday|the day after tomorrow|the day before yesterday"
_FEASTS = {
    r"christmas eve|xmas eve": (12, 24),
    r"christmas day|christmas|xmas": (12, 25),
    r"boxing day": (12, 26),
    r"(?:the )?new year's eve|new years eve|(?:the )?end of (?:the|this) year|silvester": (12, 31),
    r"(?:the )?new year's day|new years day|(?:the )?new year|new year's|new years|next year": (
        1,
        1,
    ),
    r"valentine's day|valentines day|valentine's|valentines": (2, 14),
    r"halloween": (10, 31),
    r"pi day": (3, 14),
    r"st patrick's day|saint patrick's day": (3, 17),
    r"independence day": (7, 4),
    r"bastille day": (7, 14),
    r"april fools(?:'?s? day)?|april fool's day": (4, 1),
}
_FEAST = "|".join(_FEASTS)
DATE = (
    rf"(?:\d{{4}}-\d{{1,2}}-\d{{1,2}}|\d{{4}}/\d{{1,2}}/\d{{1,2}}|\d{{1,2}}[./]\d{{1,2}}[./]\d{{4}}"
    rf"|{_FEAST}|(?:the )?{_DAY}(?: of)? {MONTH}(?:,? \d{{4}}\b)?"
    rf"|{MONTH} (?:the )?{_DAY}(?:,? \d{{4}}\b)?|(?:next|this|coming) (?:{'|'.join(WEEKDAYS)})"
    rf"|(?:{'|'.join(WEEKDAYS)})|{_RELATIVE})"
)


@dataclass(frozen=True, slots=True)
class DateTerm:
    """A date as a Python expression on `date`; `needs_today` when it is relative."""

    python: str
    label: str
    is_feast: bool = False


def read_date(text: str) -> DateTerm | None:
    """Read a date; None when it is none, or when day and month can't be told apart."""
    text = text.strip()
    relative = {
        "today": "date.today()",
        "now": "date.today()",
        "tomorrow": "date.today() + timedelta(days=1)",
        "yesterday": "date.today() - timedelta(days=1)",
        "the day after tomorrow": "date.today() + timedelta(days=2)",
        "the day before yesterday": "date.today() - timedelta(days=2)",
    }.get(text)
    if relative is not None:
        return DateTerm(relative, "today" if text == "now" else text)
    for pattern, (month, day) in _FEASTS.items():
        if re.fullmatch(pattern, text):
            return DateTerm(f"next_on({month}, {day})", _title(text), is_feast=True)
    return _weekday(text) or _digits(text) or _with_month(text)


def _title(text: str) -> str:
    return " ".join(word.capitalize() if len(word) > 3 else word for word in text.split())  # noqa: PLR2004  # small words


def _weekday(text: str) -> DateTerm | None:
    name = text.rsplit(maxsplit=1)[-1]
    if name not in WEEKDAYS or text.split(maxsplit=1)[0] not in {name, "next", "this", "coming"}:
        return None
    number = WEEKDAYS.index(name)
    python = f"date.today() + timedelta(days=({number} - date.today().weekday() - 1) % 7 + 1)"
    return DateTerm(python, f"next {name.capitalize()}")


def _digits(text: str) -> DateTerm | None:
    if match := re.fullmatch(r"(\d{4})[-/](\d{1,2})[-/](\d{1,2})", text):
        return _fixed(*(int(part) for part in match.groups()))
    if match := re.fullmatch(r"(\d{1,2})([./])(\d{1,2})[./](\d{4})", text):
        first, second, year = int(match[1]), int(match[3]), int(match[4])
        if match[2] == "." or first > 12 or first == second:  # noqa: PLR2004  # months
            return _fixed(year, second, first)
        return _fixed(year, first, second) if second > 12 else None  # noqa: PLR2004  # months
    return None


def _with_month(text: str) -> DateTerm | None:
    words = re.sub(r"[.,]| of\b|\bthe ", " ", text).split()
    month = next((month_number(word) for word in words if month_number(word)), None)
    numbers = [word for word in words if not month_number(word)]
    if month is None or not numbers or len(numbers) > 2:  # noqa: PLR2004  # day and year
        return None
    day = ordinal(numbers[0]) or (int(numbers[0]) if numbers[0].isdecimal() else None)
    if day is None:
        return None
    if len(numbers) == 1:
        return DateTerm(f"next_on({month}, {day})", text.title(), is_feast=True)
    return _fixed(int(numbers[1]), month, day) if numbers[1].isdecimal() else None


def month_number(word: str) -> int | None:
    """Return a month's number by its name or the first three letters of it."""
    near = [index for index, name in enumerate(MONTHS, 1) if name == word or name[:3] == word]
    return near[0] if near else 9 if word == "sept" else None


def _fixed(year: int, month: int, day: int) -> DateTerm | None:
    try:
        label = dt.date(year, month, day).isoformat()
    except ValueError:
        return None
    return DateTerm(f"date({year}, {month}, {day})", label)
