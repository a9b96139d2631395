"""Measures in other units: "5 miles in km", "72 f to c", "6 ft 2 in to cm"."""

import re
from dataclasses import dataclass
from functools import cache

from embedded_model import lexicon
from embedded_model.intents import Calculate
from embedded_model.reading.numerals import digitised

_NUMBER = r"(?:\((?:\d+ \+ )?\d+/\d+\)|-?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?:/\d+)?|-?\.\d+)"
_INTO = r"(?:in|to|into|as|is how many|is how much in|equals how many|equal to how many|->|=)"
_DIGITS = 12  # significant: fewer than a float holds, so that its noise is not shown


@dataclass(frozen=True, slots=True)
class _Unit:
    """A unit: what it measures, and its size in that quantity's base unit, as typed."""

    quantity: str
    size: str


@cache
def _units() -> dict[str, _Unit]:
    found: dict[str, _Unit] = {}
    for header, lines in lexicon.sections("measures").items():
        quantity = header.partition(":")[0]
        for line in lines:
            size, _, names = line.partition(": ")
            found |= {name.strip(): _Unit(quantity, size) for name in names.split(",")}
    return found


@cache
def _patterns() -> tuple[re.Pattern[str], ...]:
    names = sorted(_units(), key=len, reverse=True)
    unit = "(?:" + "|".join(map(re.escape, names)) + ")"
    part = rf"(?:{_NUMBER}|an?|one) ?{unit}"
    amount = rf"(?P<amount>{part}(?:(?: and|,)? {part})*)"
    target = rf"(?P<target>{unit})"
    asked = (
        r"(?:convert |change |turn |express |what(?:'s| is| are) "
        r"|how (?:long|far|tall|heavy|big|hot|cold|fast|much) is )*"
    )
    return (
        re.compile(rf"{asked}{amount} ?{_INTO} {target}(?: is| are)?"),
        re.compile(
            rf"(?:convert |how many |how much |what is |number of )*{target} (?:are |is )?"
            rf"(?:there )?(?:in|from|for|is|are|make|equals?|does) {amount}(?: have| make)?"
        ),
        re.compile(rf"(?:convert |change )(?:from )?{amount} {target}"),
    )


@cache
def _part() -> re.Pattern[str]:
    names = sorted(_units(), key=len, reverse=True)
    unit = "|".join(map(re.escape, names))
    return re.compile(rf"(?P<number>{_NUMBER}|an?\b|one\b) ?(?P<unit>{unit})(?![a-z\d])")


def read_measure(text: str) -> Calculate | None:
    """Read a question for a measure in another unit; None when it is none."""
    text = digitised(text)
    text = re.sub(r"\b(degrees?|deg) (celsius|fahrenheit|centigrade|[cf])\b", r"\2", text)
    text = re.sub(r"(?<=\d) ?° ?(?=[cfk]\b)", " ", text)
    for pattern in _patterns():
        match = pattern.fullmatch(text)
        if match is not None and (read := _converted(match["amount"], match["target"])) is not None:
            return read
    return None


def _converted(amount: str, target: str) -> Calculate | None:
    goal = _units()[target]
    parts = [
        (_plain(match["number"]), _units()[match["unit"]]) for match in _part().finditer(amount)
    ]
    if not parts or any(unit.quantity != goal.quantity for _, unit in parts):
        return None
    if goal.quantity == "temperature":
        is_one = len(parts) == 1
        expression = _temperature(parts[0][0], parts[0][1].size, goal.size) if is_one else None
    else:
        expression = _scaled(parts, goal)
    if expression is None:
        return None
    shown = f'value = float(f"{{{expression}:.{_DIGITS}g}}")'
    code = f"{shown}\nprint(int(value) if value.is_integer() else value)"
    return Calculate(code, f"{amount} in {target}")


def _plain(number: str) -> str:
    text = "1" if number in {"a", "an", "one"} else number.replace(",", "")
    return text.lstrip("0") or "0" if text.isdecimal() else text


def _scaled(parts: list[tuple[str, _Unit]], goal: _Unit) -> str | None:
    terms = [number if unit.size == "1" else f"{number} * {unit.size}" for number, unit in parts]
    total = " + ".join(terms)
    if goal.size == "1":
        return total
    if len(parts) == 1 and parts[0][1] == goal:
        return None
    return f"({total}) / {goal.size}" if len(terms) > 1 else f"{total} / {goal.size}"


def _temperature(number: str, source: str, goal: str) -> str | None:
    """Return the formula between two scales (all three are exact by definition)."""
    given = f"({number})" if number.startswith("-") else number
    return {
        "cf": f"{given} * 9 / 5 + 32",
        "fc": f"({number} - 32) * 5 / 9",
        "ck": f"{given} + 273.15",
        "kc": f"{given} - 273.15",
        "fk": f"({number} - 32) * 5 / 9 + 273.15",
        "kf": f"({number} - 273.15) * 9 / 5 + 32",
    }.get(source + goal)
