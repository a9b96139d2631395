"""Small programs with datetime: what a question about dates becomes."""

from embedded_model.intents import Calculate
from embedded_model.reading.dates import DateTerm
from embedded_model.reading.numerals import read_numeral

_IMPORT = "from datetime import date, timedelta\n"


_NEXT_ON = """def next_on(month, day):
    today = date.today()
    this_year = date(today.year, month, day)
    return this_year if this_year >= today else date(today.year + 1, month, day)
"""


_ADD_MONTHS = """def add_months(start, count):
    year, month = divmod(start.year * 12 + start.month - 1 + count, 12)
    return date(year, month + 1, min(start.day, calendar.monthrange(year, month + 1)[1]))
"""


def program(expression: str, label: str, *, setup: str = "") -> Calculate:
    """Return the program that prints an expression, with the imports and helpers it needs."""
    body = f"{setup}print({expression})"
    head = _IMPORT if "timedelta" in body else "from datetime import date\n"
    if "calendar." in body or "add_months(" in body:
        head = "import calendar\n" + head
    for name, definition in (("next_on(", _NEXT_ON), ("add_months(", _ADD_MONTHS)):
        if name in body:
            head += ("\n" if head.endswith("\n") else "") + "\n" + definition
    gap = "\n\n" if "def " in head else ""
    head = head.replace("from datetime import date\n", _IMPORT) if "timedelta" in body else head
    return Calculate(f"{head}{gap}{body}", label)


def count_of(text: str | None) -> int:
    """Return the number that a count in digits or words means; 1 for an article."""
    if not text or text in {"a", "an"}:
        return 1
    if text.isdecimal():
        return int(text)
    numeral = read_numeral(text.replace("-", " ").split())
    return int(float(numeral.text)) if numeral else 1


def moved(start: str, count: int, unit: str, sign: str) -> str | None:
    """Return a date so many units later or earlier, as Python; None for units below a day."""
    unit = unit.rstrip("s")
    if unit in {"day", "week", "fortnight"}:
        days = count * {"day": 1, "week": 7, "fortnight": 14}[unit]
        return f"{start} {sign} timedelta(days={days})"
    if unit in {"month", "year"}:
        months = count * (12 if unit == "year" else 1)
        return f"add_months({start}, {'-' if sign == '-' else ''}{months})"
    return None


def difference(first: DateTerm, second: DateTerm, unit: str | None, label: str) -> Calculate:
    """Return the program that counts the units from one date to another."""
    days = f"({second.python} - {operand(first.python)}).days"
    unit = (unit or "days").rstrip("s")
    if unit == "week":
        return program(f"{days} / 7 if {days} % 7 else {days} // 7", label)
    if unit == "hour":
        return program(f"{days} * 24", label)
    if unit in {"month", "year"}:
        setup = f"start, end = {first.python}, {second.python}\n"
        months = "(end.year - start.year) * 12 + end.month - start.month - (end.day < start.day)"
        return program(f"({months}) // 12" if unit == "year" else months, label, setup=setup)
    return program(days, label)


def operand(python: str) -> str:
    """Put brackets around a sum of dates."""
    return f"({python})" if " + " in python or " - " in python else python
