"""Questions that are sums: bare formulas, "add 5 and 7", "20% off 80", "is 97 prime"."""

import re
from collections.abc import Callable

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
    percent_of,
    python_text,
)
from embedded_model.intents import Calculate
from embedded_model.reading.arithmetic import has_operation, parse_formula
from embedded_model.reading.sequences import bracketed_list, read_sequence

_A, _B = "(?P<a>.+?)", "(?P<b>.+)"
_PCT = r"(?:%|percent|per cent|pct)"
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
Build = Callable[[Formula, Formula], Formula]
_TEMPLATES: tuple[tuple[re.Pattern[str], Build], ...] = tuple(
    (re.compile(pattern), build)
    for pattern, build in (
        (
            rf"(?:which (?:is|number is) )?(?:bigger|larger|greater|higher) ?[,:]? {_A} or {_B}",
            lambda a, b: Function("max", (a, b)),
        ),
        (
            rf"(?:which (?:is|number is) )?(?:smaller|lower|less) ?[,:]? {_A} or {_B}",
            lambda a, b: Function("min", (a, b)),
        ),
        (
            rf"(?:add|adding|you add) {_A} (?:to|and|with|plus) {_B}",
            lambda a, b: Binary("+", a, b),
        ),
        (rf"(?:sum|sum up) {_A} (?:and|with|plus) {_B}", lambda a, b: Binary("+", a, b)),
        (
            (
                rf"(?:subtract|subtracting|take|take away|deduct) {_A} (?:from|away from"
                rf"|off) {_B}"
            ),
            lambda a, b: Binary("-", b, a),
        ),
        (
            rf"{_A} (?:subtracted|taken away|deducted|taken) from {_B}",
            lambda a, b: Binary("-", b, a),
        ),
        (
            rf"(?:multiply|multiplying|you multiply) {_A} (?:by|with|and|times) {_B}",
            lambda a, b: Binary("*", a, b),
        ),
        (
            (rf"(?:divide|dividing|you divide|split) {_A} (?:by|between|over|among) " rf"{_B}"),
            lambda a, b: Binary("/", a, b),
        ),
        (rf"(?:divide|dividing) {_A} into {_B}", lambda a, b: Binary("/", b, a)),
        (
            rf"(?:raise|raising) {_A} to (?:the )?(?:power (?:of )?)?{_B}",
            lambda a, b: Binary("**", a, b),
        ),
        (
            rf"(?:increase|raise|grow|up) {_A} by {_B} ?{_PCT}",
            lambda a, b: Binary("+", a, percent_of(b, a)),
        ),
        (
            rf"(?:decrease|reduce|lower|cut|discount) {_A} by {_B} ?{_PCT}",
            lambda a, b: Binary("-", a, percent_of(b, a)),
        ),
        (rf"(?:increase) {_A} by {_B}", lambda a, b: Binary("+", a, b)),
        (rf"(?:decrease|reduce) {_A} by {_B}", lambda a, b: Binary("-", a, b)),
        (
            rf"{_A} (?:increased|raised) by {_B} ?{_PCT}",
            lambda a, b: Binary("+", a, percent_of(b, a)),
        ),
        (
            rf"{_A} (?:decreased|reduced|lowered) by {_B} ?{_PCT}",
            lambda a, b: Binary("-", a, percent_of(b, a)),
        ),
        (
            rf"{_A} (?:with|plus|and) (?:a )?{_B} ?{_PCT} (?:vat|tax|tip|sales tax)",
            lambda a, b: Binary("+", a, percent_of(b, a)),
        ),
        (
            rf"{_A} (?:with|after|minus) (?:a )?{_B} ?{_PCT} (?:discount|off)",
            lambda a, b: Binary("-", a, percent_of(b, a)),
        ),
        (
            rf"{_A} ?{_PCT} (?:off|less than|discount on|discount off) (?:of )?{_B}",
            lambda a, b: Binary("-", b, percent_of(a, b)),
        ),
        (rf"{_A} ?{_PCT} more than {_B}", lambda a, b: Binary("+", b, percent_of(a, b))),
        (rf"{_A} (?:less|fewer|lower) than {_B}", lambda a, b: Binary("-", b, a)),
        (rf"{_A} (?:more|greater|higher) than {_B}", lambda a, b: Binary("+", b, a)),
        (
            (
                rf"(?:a )?{_A} ?{_PCT} (?:tip|tax|vat|interest|commission|gratuity) "
                rf"(?:on|of|for) (?:a bill of |a )?{_B}"
            ),
            percent_of,
        ),
        (
            (
                rf"(?:what |which )?(?:percent|percentage|per cent|%) of {_A} (?:is|are"
                rf"|would be) {_B}"
            ),
            lambda a, b: Binary("/", Binary("*", b, Number("100")), a),
        ),
        (
            (
                rf"{_A} (?:is|as|are|of) (?:what |which )?(?:a )?(?:percent|percentage"
                rf"|per cent|%) of {_B}"
            ),
            lambda a, b: Binary("/", Binary("*", a, Number("100")), b),
        ),
        (
            (
                rf"(?:round|rounding) {_A} to {_B}(?: decimals?| decimal places?| "
                r"digits?| places?)"
            ),
            lambda a, b: Function("round", (a, b)),
        ),
        (
            rf"{_A}(?: rounded)? to {_B}(?: decimals?| decimal places?| places?)",
            lambda a, b: Function("round", (a, b)),
        ),
        (
            (
                rf"(?:the )?remainder (?:of|when|if|after) {_A} (?:is )?(?:divided by|by"
                rf"|/) {_B}"
            ),
            lambda a, b: Binary("%", a, b),
        ),
        (rf"{_A} to (?:the )?{_B}(?:th|rd|nd|st)(?: power)?", lambda a, b: Binary("**", a, b)),
    )
)
_DEGREES = re.compile(
    r"\b(?P<name>sin|cos|tan)(?:e|ine|gent)?(?: of)? "
    r"\(?(?P<angle>\d+(?:\.\d+)?)\)? ?(?:degrees?|deg|\u00b0)"
)
_SINGLE: tuple[tuple[re.Pattern[str], Callable[[Formula], Formula]], ...] = (
    (re.compile(r"(?:square|squaring) (?P<a>.+)"), lambda a: Binary("**", a, Number("2"))),
    (re.compile(r"(?:cube|cubing) (?P<a>.+)"), lambda a: Binary("**", a, Number("3"))),
    (re.compile(r"(?:halve|halving) (?P<a>.+)"), lambda a: Binary("/", a, Number("2"))),
    (re.compile(r"(?:round) (?P<a>.+)"), lambda a: Function("round", (a,))),
    (re.compile(r"negate (?P<a>.+)"), Negation),
    (re.compile(r"(?P<a>.+) in half"), lambda a: Binary("/", a, Number("2"))),
)
_LIST_VERBS = (
    (re.compile(r"(?:add|adding|add up|add together|sum|sum up|total|you add) "), "sum"),
    (re.compile(r"(?:multiply|multiplying|you multiply) "), "product"),
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


def _random(text: str) -> Calculate | None:
    match = _RANDOM.fullmatch(text)
    if match is None:
        return None
    if match["coin"]:
        return Calculate('import random\nprint(random.choice(["heads", "tails"]))', "The coin")
    low, high = match["low"] or "1", match["high"] or ("100" if "random" in text else "6")
    return Calculate(f"import random\nprint(random.randint({low}, {high}))", "The number")


def tidy(text: str) -> str:
    """Strip what stands around a sum."""
    before = ""
    while before != text:
        before = text
        text = _HEAD.sub("", _TAIL.sub("", text).strip()).strip()
    return text


def formula_of(text: str, *, variable: str | None = None) -> Formula | None:
    """Read a text as a formula, also in verbs: "divide 144 by 12"."""
    formula = parse_formula(text, variable=variable)
    if formula is not None:
        return formula
    if (templated := _templated(text, variable)) is not None:
        return templated
    if (listed := _listed(text, variable)) is not None:
        return listed
    for single, apply in _SINGLE:
        if (match := single.fullmatch(text)) is not None:
            operand = parse_formula(match["a"], variable=variable)
            if operand is not None:
                return apply(operand)
    return None


def _listed(text: str, variable: str | None) -> Formula | None:
    """Read a verb before a list: "add 5, 10 and 15"."""
    for verb, noun in _LIST_VERBS:
        if "," in text and (match := verb.match(text)) is not None:
            return parse_formula(f"{noun} of {text[match.end() :]}", variable=variable)
    return None


def _templated(text: str, variable: str | None) -> Formula | None:
    for pattern, build in _TEMPLATES:
        if (match := pattern.fullmatch(text)) is not None:
            left = parse_formula(match["a"], variable=variable)
            right = parse_formula(match["b"], variable=variable)
            if left is not None and right is not None:
                return build(_bare(left), _bare(right))
    return None


def _bare(formula: Formula) -> Formula:
    return formula.operand if isinstance(formula, Percent) else formula


def read_sum(text: str) -> Calculate | None:
    """Read a text that is a sum and nothing else."""
    text = bracketed_list(_DEGREES.sub(r"\g<name>(radians(\g<angle>))", tidy(text)))
    for candidate in (text, re.sub(r"(?<=\d)\s*[.,]$", "", text)):
        formula = formula_of(candidate)
        if formula is not None and has_operation(formula):
            return calculation(formula)
    return read_sequence(text) or _truth_question(text) or _in_base(text) or _random(text)


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
