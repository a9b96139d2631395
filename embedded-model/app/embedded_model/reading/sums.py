"""Questions that are sums: bare formulas, "add 5 and 7", "20% off 80", "is 97 prime"."""

import re

from embedded_model.formula import (
    Binary,
    Constant,
    Formula,
    Function,
    Negation,
    Number,
    Percent,
    Variable,
    definitions_of,
    may_be_long,
    may_end_whole,
    modules_of,
    python_text,
)
from embedded_model.intents import Calculate
from embedded_model.reading.arithmetic import has_operation, parse_formula
from embedded_model.reading.fractions import with_fractions
from embedded_model.reading.geometry import read_shape
from embedded_model.reading.measures import read_measure
from embedded_model.reading.number_names import read_chance, read_number_name
from embedded_model.reading.sequences import bracketed_list, read_sequence
from embedded_model.reading.sum_templates import formula_of

# What is said after a sum: "what does 7*6 equal".
_TAIL = re.compile(
    r"\s*(?:=|\?|\.|!(?<![\d)]!)|equals?(?: to)?|is equal to|is what|make"
    r"|makes|give|gives|come to|comes to|amount to"
    r"|result in|add up to|in total|together|all together|altogether"
    r"|exactly|is|be|have|evaluate to|,)\s*$"
)
_HEAD = re.compile(r"^(?:=|,|:|-(?=\s\D)|the (?=result|answer)|result of|answer to|value of)\s*")

# Python refuses to print whole numbers of more than 4300 digits unless it is told to.
_UNBOUNDED = "\nsys.set_int_max_str_digits(0)\n"


_DEGREES = re.compile(
    r"\b(?P<name>sin|cos|tan)(?:e|ine|gent)?(?: of)? ?"
    r"\(? ?(?P<angle>\d+(?:\.\d+)?) ?\)? ?(?:degrees?|deg|\u00b0)(?: ?\))?"
)
_PRIME = re.compile(
    r"(?:is |whether |if |check (?:if |whether )?|number )*(?P<a>.+?) (?:is "
    r")?(?:an? )?prime(?: number| or not)?"
)
_PARITY = re.compile(
    r"(?:is |whether |if |number )*(?P<a>.+?) (?:is )?(?:an? "
    r")?(?P<kind>even|odd)(?: number)?(?: or (?:even|odd))?"
)
_DIVISIBLE = re.compile(
    r"(?:is |whether |if )*(?P<a>.+?) (?:is )?(?:evenly )?(?:divisible by|a multiple of) (?P<b>.+)"
)
_COMPARE = re.compile(
    r"(?:is |whether |if )+(?P<a>.+?) (?:is )?(?P<sign>greater than|bigger "
    r"than|larger than|more than|less than|smaller than|equal to|>=|<=|==|=|>"
    r"|<|the same as) (?P<b>.+)"
)
_COMPARISONS = {
    "greater than": ">",
    "bigger than": ">",
    "larger than": ">",
    "more than": ">",
    "less than": "<",
    "smaller than": "<",
    "equal to": "==",
    "=": "==",
    "the same as": "==",
}

_POINT = re.compile(r"\b(\d+) point (\d+)\b")  # "3 point 5"


def tidy(text: str) -> str:
    """Strip what stands around a sum, and write its fractions in digits."""
    before = ""
    while before != text:
        before = text
        text = _HEAD.sub("", _TAIL.sub("", text).strip()).strip()
    return with_fractions(_POINT.sub(r"\1.\2", text))


def read_sum(text: str) -> Calculate | None:
    """Read a text that is a sum and nothing else."""
    text = bracketed_list(_DEGREES.sub(r"\g<name>(radians(\g<angle>))", tidy(text)))
    for candidate in (text, re.sub(r"(?<=\d)\s*[.,]$", "", text)):
        formula = formula_of(candidate)
        if formula is not None and has_operation(formula):
            return calculation(formula)
    return (
        read_sequence(text)
        or _truth_question(text)
        or read_number_name(text)
        or read_measure(text)
        or read_shape(text)
        or read_chance(text)
    )


def calculation(formula: Formula) -> Calculate:
    """Return the code that prints a formula's value."""
    python = python_text(formula)
    is_long = may_be_long(formula)
    modules = modules_of(formula) | ({"sys"} if is_long else set())
    imports = "".join(f"import {module}\n" for module in sorted(modules))
    label = python.replace("math.", "").replace("statistics.", "")
    definitions = definitions_of(formula)
    head = f"{imports}\n{definitions}\n" if definitions and imports else imports
    head = f"{definitions}\n" if definitions and not imports else head
    head = f"{head}{_UNBOUNDED}" if is_long else head
    shown = f"print({python})"
    if may_end_whole(formula):
        # 42, not 42.0; beyond 2**53 a float's digits would only look exact.
        is_whole = "isinstance(value, float) and value.is_integer() and abs(value) < 2**53"
        shown = f"value = {python}\nprint(int(value) if {is_whole} else value)"
    return Calculate(f"{head}{shown}", label, formula)


def _truth_question(text: str) -> Calculate | None:
    if (match := _PRIME.fullmatch(text)) and (number := parse_formula(match["a"])) is not None:
        value = python_text(number)
        test = "n > 1 and all(n % d for d in range(2, math.isqrt(n) + 1))"
        code = f"import math\nn = {value}\nprint({test})"
        return Calculate(
            code, value, yes=f"{value} is a prime number.", no=f"{value} is not a prime number."
        )
    if (match := _PARITY.fullmatch(text)) and (number := parse_formula(match["a"])) is not None:
        value, kind = python_text(number), match["kind"]
        rest = 0 if kind == "even" else 1
        code = (
            f"print(({value}) % 2 == {rest})"
            if has_operation(number)
            else f"print({value} % 2 == {rest})"
        )
        return Calculate(code, value, yes=f"{value} is {kind}.", no=f"{value} is not {kind}.")
    return _relation(text)


def _relation(text: str) -> Calculate | None:
    match = _DIVISIBLE.fullmatch(text)
    if match and (pair := _pair(match["a"], match["b"])):
        code = python_text(Binary("%", *pair))
        left, right = (python_text(side) for side in pair)
        return Calculate(
            f"print({code} == 0)",
            left,
            yes=f"{left} is divisible by {right}.",
            no=f"{left} is not divisible by {right}.",
        )
    match = _COMPARE.fullmatch(text)
    if match and (pair := _pair(match["a"], match["b"])):
        left, right = (python_text(side) for side in pair)
        sign = _COMPARISONS.get(match["sign"], match["sign"])
        modules = modules_of(pair[0]) | modules_of(pair[1])
        imports = "".join(f"import {module}\n" for module in sorted(modules))
        claim = f"{left} {sign} {right}"
        return Calculate(
            f"{imports}print({claim})", claim, yes=f"`{claim}` is true.", no=f"`{claim}` is false."
        )
    return None


def _pair(left: str, right: str) -> tuple[Formula, Formula] | None:
    first, second = parse_formula(left), parse_formula(right)
    return (first, second) if first is not None and second is not None else None


def substitute(formula: Formula, name: str, value: Formula) -> Formula:
    """Put a formula in the place of a variable."""
    match formula:
        case Variable(own):
            return value if own == name else formula
        case Number() | Constant():
            return formula
        case Negation(operand):
            return Negation(substitute(operand, name, value))
        case Percent(operand):
            return Percent(substitute(operand, name, value))
        case Binary(operator, left, right):
            return Binary(operator, substitute(left, name, value), substitute(right, name, value))
        case Function(own, arguments):
            return Function(own, tuple(substitute(item, name, value) for item in arguments))
