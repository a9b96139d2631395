"""Sums with times of day: "how long from 9:15 to 11:40", "what is 3 hours after 22:30"."""

import re

from embedded_model.intents import Calculate
from embedded_model.reading.clock import CLOCK, clock_time
from embedded_model.reading.numerals import digitised

_AMOUNT = (
    r"(?P<count>\d+(?:\.\d+)?|an?) (?P<unit>hour|hr|minute|min)s?(?: and (?P<more>\d+) minutes?)?"
)
_BETWEEN = re.compile(
    r"(?:how (?:(?P<long>long|much time)|many (?P<unit>hours|minutes|mins|seconds))|(?P<time>time)"
    r"|(?P<noun>hours|minutes|number of minutes|number of hours)|difference|duration)"
    r"(?: (?:is|are|is it|are there|is there|passes|pass|difference|in hours|elapsed|do i work))*"
    rf" (?:between|from) (?P<start>{CLOCK}) (?:and|to|till|until|-) (?P<end>{CLOCK})"
)
_AFTER = re.compile(
    r"(?:(?:what|which) )?(?:(?:time )?(?:is it |is |will it be |would it be )?)?"
    rf"{_AMOUNT} (?P<way>after|before|past|from|later than|earlier than) (?P<clock>{CLOCK})"
)
_PLUS = re.compile(rf"(?:what (?:time )?is )?(?P<clock>{CLOCK}) (?P<way>plus|\+|minus|-) {_AMOUNT}")
_ADDED = re.compile(rf"(?P<way>add|subtract|take) {_AMOUNT} (?:to|from|off) (?P<clock>{CLOCK})")
_BACKWARD = {"before", "earlier than", "minus", "-", "subtract", "take"}
_IMPORT = "from datetime import datetime, timedelta\n"


def read_clock_question(text: str) -> Calculate | None:
    """Read a sum with times of day that takes the whole text."""
    text = re.sub(r"^(?:what(?:'s| is) )?(?:the )?(?=difference|duration|time between)", "", text)
    if (match := _BETWEEN.fullmatch(text)) is not None:
        return _between(match)
    text = digitised(text)
    match = _AFTER.fullmatch(text) or _PLUS.fullmatch(text) or _ADDED.fullmatch(text)
    return _moved(match) if match is not None else None


def _between(match: re.Match[str]) -> Calculate | None:
    start, end = clock_time(match["start"]), clock_time(match["end"])
    if start is None or end is None:
        return None
    unit = (match["unit"] or (match["noun"] or "").rpartition(" ")[2])[:3]
    size = {"hou": 3600, "min": 60, "sec": 1}.get(unit)
    setup = (
        f'{_IMPORT}start = datetime.strptime("{start}", "%H:%M")\n'
        f'end = datetime.strptime("{end}", "%H:%M")\n'
        "span = end - start if end >= start else end - start + timedelta(days=1)\n"
    )
    label = f"From {start} to {end} it"
    if size is None:
        minutes = "hours, minutes = divmod(span.seconds // 60, 60)\n"
        return Calculate(f'{setup}{minutes}print(f"{{hours}} h {{minutes}} min")', label)
    names = {3600: "hours", 60: "minutes", 1: "seconds"}
    code = (
        f"{setup}print(span.seconds / {size} if span.seconds % {size} else span.seconds // {size})"
    )
    return Calculate(code, f"The number of {names[size]} from {start} to {end}")


def _moved(match: re.Match[str]) -> Calculate | None:
    clock = clock_time(match["clock"])
    if clock is None:
        return None
    count = "1" if match["count"] in {"a", "an"} else match["count"]
    unit = "hours" if match["unit"].startswith("h") else "minutes"
    more = f", minutes={match['more']}" if match["more"] and unit == "hours" else ""
    if match["more"] and not more:
        return None
    sign = "-" if match["way"] in _BACKWARD else "+"
    code = (
        f'{_IMPORT}moment = datetime.strptime("{clock}", "%H:%M") {sign} '
        f'timedelta({unit}={count}{more})\nprint(f"{{moment:%H:%M}}")'
    )
    way = "before" if sign == "-" else "after"
    return Calculate(code, f"{match['count']} {match['unit']}s {way} {clock}")
