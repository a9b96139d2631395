"""Formulas: an expression tree, and its text as Python, for the math module or for numpy."""

import math
from dataclasses import dataclass
from typing import Literal, assert_never

Operator = Literal["+", "-", "*", "/", "//", "%", "**"]
Dialect = Literal["math", "numpy"]

_PRECEDENCE: dict[str, int] = {"+": 1, "-": 1, "*": 2, "/": 2, "//": 2, "%": 2, "**": 4}
_NEGATION = 3
_ATOM = 9


@dataclass(frozen=True, slots=True)
class Number:
    """A number as Python writes it, without separators of thousands."""

    text: str


@dataclass(frozen=True, slots=True)
class Constant:
    """`pi`, `e` or `tau`."""

    name: str


@dataclass(frozen=True, slots=True)
class Variable:
    """The free variable of a plot."""

    name: str


@dataclass(frozen=True, slots=True)
class Negation:
    """The sign before a term."""

    operand: "Formula"


@dataclass(frozen=True, slots=True)
class Percent:
    """So many hundredths; what of, its place decides."""

    operand: "Formula"


@dataclass(frozen=True, slots=True)
class Binary:
    """Two operands and a sign between."""

    operator: Operator
    left: "Formula"
    right: "Formula"


@dataclass(frozen=True, slots=True)
class Function:
    """A function of the math module, of statistics, or a builtin."""

    name: str
    arguments: tuple["Formula", ...]


Formula = Number | Constant | Variable | Negation | Percent | Binary | Function

_BUILTINS = frozenset({"abs", "max", "min", "round", "pow", "sum"})
# Defined in front of the sum: the math module's are off by a rounding error at whole numbers.
_ROOTS = frozenset({"cbrt", "root"})
_INEXACT = frozenset({"sqrt", "exp", "log", "log2", "log10", "pow", *_ROOTS})
_STATISTICS = frozenset({"mean", "median", "stdev"})
# Where numpy names a function otherwise than the math module does.
_NUMPY_NAMES = {"asin": "arcsin", "acos": "arccos", "atan": "arctan", "pow": "power"}


def percent_of(percent: Formula, whole: Formula) -> Formula:
    """Return so many per cent of a whole; multiplied first, so that 15 % of 240 is exactly 36."""
    return Binary("/", Binary("*", whole, percent), Number("100"))


def modules_of(formula: Formula) -> frozenset[str]:
    """Return the modules that the formula's Python text needs."""
    match formula:
        case Number() | Variable():
            return frozenset()
        case Constant():
            return frozenset({"math"})
        case Negation(operand) | Percent(operand):
            return modules_of(operand)
        case Binary(_, left, right):
            return modules_of(left) | modules_of(right)
        case Function(name, arguments):
            own = "statistics" if name in _STATISTICS else "math"
            own = "" if name in _BUILTINS or name in _ROOTS else own
            inner = frozenset[str]().union(*(modules_of(argument) for argument in arguments))
            return inner | ({own} - {""})
        case never:
            assert_never(never)


def definitions_of(formula: Formula) -> str:
    """Return the functions that have to be defined in front of the formula's Python text."""
    names = _names_in(formula) & _ROOTS
    if not names:
        return ""
    return _ROOT + ("\n\ndef cbrt(value):\n    return root(value, 3)\n" if "cbrt" in names else "")


_ROOT = """def root(value, degree):
    sign = -1 if value < 0 and degree % 2 else 1
    near = sign * (sign * value) ** (1 / degree)
    return round(near) if round(near) ** degree == value else near
"""


def may_end_whole(formula: Formula) -> bool:
    """Say whether Python may give a whole number as a float, such as 42.0."""
    match formula:
        case Number(text):
            return "." in text or "e" in text
        case Variable() | Constant():
            return False
        case Negation(operand):
            return may_end_whole(operand)
        case Percent():
            return True
        case Binary(operator, left, right):
            return operator == "/" or may_end_whole(left) or may_end_whole(right)
        case Function(name, arguments):
            return name in _INEXACT | _STATISTICS or any(map(may_end_whole, arguments))
        case never:
            assert_never(never)


_LONG = 4000.0  # digits; from 4300 on Python has to be told to print them


def may_be_long(formula: Formula) -> bool:
    """Say whether the result may be a whole number of thousands of digits."""
    return _digits(formula) > _LONG


def _digits(formula: Formula) -> float:  # noqa: C901, PLR0911  # one return a case
    """Return a bound on the digits of the value, rough but never too low for whole numbers."""
    match formula:
        case Number(text):
            return float(len(text))
        case Constant() | Variable():
            return 1.0
        case Negation(operand) | Percent(operand):
            return _digits(operand)
        case Binary("**", base, exponent):
            return _digits(base) * max(1.0, _size(exponent))
        case Binary("*", left, right):
            return _digits(left) + _digits(right)
        case Binary(_, left, right):
            return max(_digits(left), _digits(right)) + 1
        case Function("factorial", (operand,)):
            return _size(operand) * _digits(operand)
        case Function("comb" | "pow", (base, exponent)):
            return _digits(base) * max(1.0, _size(exponent))
        case Function(_, arguments):
            return sum(map(_digits, arguments)) + 1
        case never:
            assert_never(never)


def _size(formula: Formula) -> float:
    """Return a bound on the value itself, endless where it is beyond all use."""
    if isinstance(formula, Number):
        return float(formula.text)
    digits = _digits(formula)
    return 10.0**digits if digits < 300 else math.inf  # noqa: PLR2004  # a float's range


def has_part(formula: Formula, part: Formula) -> bool:
    """Say whether a formula is built around another."""
    match formula:
        case Number() | Constant() | Variable():
            return formula == part
        case Negation(operand) | Percent(operand):
            return formula == part or has_part(operand, part)
        case Binary(_, left, right):
            return formula == part or has_part(left, part) or has_part(right, part)
        case Function(_, arguments):
            return formula == part or any(has_part(each, part) for each in arguments)
        case never:
            assert_never(never)


def _names_in(formula: Formula) -> frozenset[str]:
    match formula:
        case Number() | Constant() | Variable():
            return frozenset()
        case Negation(operand) | Percent(operand):
            return _names_in(operand)
        case Binary(_, left, right):
            return _names_in(left) | _names_in(right)
        case Function(name, arguments):
            return frozenset({name}).union(*map(_names_in, arguments))
        case never:
            assert_never(never)


def python_text(formula: Formula, dialect: Dialect = "math") -> str:
    """Write a formula as a Python expression, with no more brackets than it needs."""
    return _render(formula, dialect)[0]


def _render(formula: Formula, dialect: Dialect) -> tuple[str, int]:  # noqa: PLR0911  # one return a case
    match formula:
        case Number(text):
            return text, _ATOM
        case Variable(name):
            return name, _ATOM
        case Constant(name):
            return f"{'np' if dialect == 'numpy' else 'math'}.{name}", _ATOM
        case Negation(operand):
            return "-" + _bracketed(operand, _NEGATION, dialect), _NEGATION
        case Percent(operand):
            return _render(Binary("/", operand, Number("100")), dialect)
        case Binary(operator, left, right):
            return _render_binary(operator, left, right, dialect)
        case Function(name, arguments):
            return _render_function(name, arguments, dialect), _ATOM
        case never:
            assert_never(never)


def _render_binary(
    operator: Operator, left: Formula, right: Formula, dialect: Dialect
) -> tuple[str, int]:
    level = _PRECEDENCE[operator]
    is_power = operator == "**"
    left_text = _bracketed(left, level + is_power, dialect)
    right_text = _bracketed(right, level if is_power else level + 1, dialect)
    joint = f"{left_text}**{right_text}" if is_power else f"{left_text} {operator} {right_text}"
    return joint, level


def _bracketed(formula: Formula, level: int, dialect: Dialect) -> str:
    text, own = _render(formula, dialect)
    return text if own >= level else f"({text})"


def _render_function(name: str, arguments: tuple[Formula, ...], dialect: Dialect) -> str:
    inner = ", ".join(python_text(argument, dialect) for argument in arguments)
    if name == "root" and dialect == "numpy":
        exponent = Binary("/", Number("1"), arguments[1])
        return python_text(Binary("**", arguments[0], exponent), dialect)
    if dialect == "numpy" and name not in {"max", "min", "round", "sum"}:
        return f"np.{_NUMPY_NAMES.get(name, name)}({inner})"
    if name in _STATISTICS:
        return f"statistics.{name}([{inner}])"
    if name == "sum":
        return f"sum([{inner}])"
    return f"{name}({inner})" if name in _BUILTINS or name in _ROOTS else f"math.{name}({inner})"
