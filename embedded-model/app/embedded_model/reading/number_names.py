"""Numbers by other names: in another base, as a constant, or drawn by chance."""

import re

from embedded_model.formula import Constant, python_text
from embedded_model.intents import Calculate
from embedded_model.reading.arithmetic import parse_formula
from embedded_model.reading.numerals import digitised
from embedded_model.reading.sum_templates import MAX_PLACES, PLACES

_RANDOM = re.compile(
    r"(?:a |generate a |generate |pick a |choose a |pick |roll a |draw a "
    r")?random (?:number|integer|int)(?: (?:between|from) (?P<low>-?\d+) "
    r"(?:and|to) (?P<high>-?\d+))?"
    r"|(?:roll|throw) (?:a |the |one )?(?:dice|die)|(?P<coin>(?:flip|toss) (?:a |the )?coin)"
)


_BASES = {
    "binary": "bin",
    "hexadecimal": "hex",
    "hex": "hex",
    "octal": "oct",
    "base 2": "bin",
    "base 16": "hex",
    "base 8": "oct",
}


_TO_DECIMAL = {"binary": 2, "base 2": 2, "octal": 8, "base 8": 8, "hex": 16, "hexadecimal": 16} | {
    "base 16": 16
}


_NAMED_BASE = "|".join(sorted(_TO_DECIMAL, key=len, reverse=True))


_FROM_BASE = re.compile(
    rf"(?:convert |change |turn |the |number )*(?:(?P<before>{_NAMED_BASE})(?: number| value)? "
    rf"(?P<a>[\da-f]+)|(?P<b>[\da-f]+) (?:from |in |is )?(?P<after>{_NAMED_BASE})"
    r"|(?P<literal>0[xbo][\da-f]+)) (?:in|to|into|as) (?:a )?(?:decimal|base 10|base ten)"
    r"(?: number)?"
)


_IN_BASE = re.compile(
    r"(?:convert |change |turn |write |the number |decimal "
    r")*(?P<number>.+?)(?: from decimal)? (?:in|to|into|as) "
    rf"(?P<base>{'|'.join(_BASES)})"
)


_BASE_OF = re.compile(rf"(?P<base>{'|'.join(_BASES)}) (?:value |form )?(?:of|for) (?P<number>.+)")


def _in_base(text: str) -> Calculate | None:
    """Read "255 in binary" and "hex of 255"."""
    match = _IN_BASE.fullmatch(text) or _BASE_OF.fullmatch(text)
    number = parse_formula(match["number"]) if match else None
    if match is None or number is None:
        return None
    python = python_text(number)
    return Calculate(f"print({_BASES[match['base']]}({python}))", f"{python} in {match['base']}")


_PI = re.compile(
    r"(?:the )?(?:value of |number )?(?P<name>pi|π|tau|euler's number|euler number)"
    rf"(?: rounded)?(?: (?:to|with) (?P<places>\d+) {PLACES})?"
    rf"|(?P<first>\d+) {PLACES} of (?P<of>pi|π|tau)"
)


def _constant(text: str) -> Calculate | None:
    """Read "what is pi" and "pi to 5 digits"."""
    match = _PI.fullmatch(digitised(text))
    if match is None:
        return None
    name = match["name"] or match["of"]
    symbol = {"π": "pi", "pi": "pi", "tau": "tau"}.get(name, "e")
    places = match["places"] or match["first"]
    if places is None:
        return Calculate(f"import math\nprint(math.{symbol})", symbol, Constant(symbol))
    if int(places) > MAX_PLACES:
        return None
    code = f"import math\nprint(round(math.{symbol}, {places}))"
    return Calculate(code, f"{symbol} to {places} decimal places")


def _from_base(text: str) -> Calculate | None:
    """Read "1010 binary in decimal" and "0xff to decimal"."""
    match = _FROM_BASE.fullmatch(text)
    if match is None:
        return None
    digits = match["a"] or match["b"] or match["literal"]
    named = match["before"] or match["after"]
    base = _TO_DECIMAL[named] if named else 0
    try:
        int(digits, base)
    except ValueError:
        return None
    return Calculate(
        f'print(int("{digits}", {base}))', f"{digits}{f' ({named})' if named else ''} in decimal"
    )


def read_chance(text: str) -> Calculate | None:
    """Read "roll a die", "a random number between 1 and 10"."""
    match = _RANDOM.fullmatch(text)
    if match is None:
        return None
    if match["coin"]:
        return Calculate('import random\nprint(random.choice(["heads", "tails"]))', "The coin")
    low, high = match["low"] or "1", match["high"] or ("100" if "random" in text else "6")
    return Calculate(f"import random\nprint(random.randint({low}, {high}))", "The number")


def read_number_name(text: str) -> Calculate | None:
    """Read a question for a number by another name; None when it is none."""
    return _in_base(text) or _from_base(text) or _constant(text)
