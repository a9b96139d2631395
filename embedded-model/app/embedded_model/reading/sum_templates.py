"""Sums that are said in verbs: "divide 144 by 12", "20% off 80", "add up 1 2 3"."""

import re
from collections.abc import Callable

from embedded_model.formula import Binary, Formula, Function, Negation, Number, Percent, percent_of
from embedded_model.reading.arithmetic import parse_formula

_A, _B, _N = "(?P<a>.+?)", "(?P<b>.+)", r"(?P<b>\d+|[a-z]+)"


_PCT = r"(?:%|percent|per cent|pct)"


_LEVY = "(?:tip|tax|sales tax|vat|gst|interest|markup|gratuity|commission|surcharge|raise)"


_BILL = "(?:a bill of|my bill of|the bill of|a price of|a total of|a|the|my)"


PLACES = "(?:decimals?|decimal places?|decimal digits?|digits?|places?|dp)"


MAX_PLACES = 15  # what a float holds


Build = Callable[[Formula, Formula], Formula | None]


def _rounded(value: Formula, places: Formula) -> Formula | None:
    """Round to so many places, unless a float has fewer digits than that."""
    is_held = not isinstance(places, Number) or float(places.text) <= MAX_PLACES
    return Function("round", (value, places)) if is_held else None


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
            (
                rf"(?:add|adding|put)(?: an?)? {_A} ?{_PCT}(?: {_LEVY})? "
                rf"(?:to|on|onto|on top of)(?: {_BILL})? {_B}"
            ),
            lambda a, b: Binary("+", b, percent_of(a, b)),
        ),
        (
            (
                rf"(?:subtract|take|take away|take off|deduct|knock|remove)(?: an?)? {_A} ?{_PCT}"
                rf"(?: discount)? (?:from|off|off of|away from)(?: {_BILL})? {_B}"
            ),
            lambda a, b: Binary("-", b, percent_of(a, b)),
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
            rf"(?:round|rounding) {_A} (?:off )?to {_N}(?: {PLACES})?",
            _rounded,
        ),
        (
            rf"{_A}(?: rounded(?: off)?)? (?:to|with) {_N} {PLACES}",
            _rounded,
        ),
        (
            rf"{_A} (?:out )?of {_B} (?:as|in) (?:a |an )?(?:{_PCT}|percentage)",
            lambda a, b: Binary("/", Binary("*", a, Number("100")), b),
        ),
        (
            rf"(?:what |which )?(?:{_PCT}|percentage) is {_A} (?:out )?of {_B}",
            lambda a, b: Binary("/", Binary("*", a, Number("100")), b),
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


_SINGLE: tuple[tuple[re.Pattern[str], Callable[[Formula], Formula]], ...] = (
    (re.compile(r"(?:square|squaring) (?P<a>.+)"), lambda a: Binary("**", a, Number("2"))),
    (re.compile(r"(?:cube|cubing) (?P<a>.+)"), lambda a: Binary("**", a, Number("3"))),
    (re.compile(r"(?:halve|halving) (?P<a>.+)"), lambda a: Binary("/", a, Number("2"))),
    (re.compile(r"(?:round) (?P<a>.+)"), lambda a: Function("round", (a,))),
    (
        re.compile(
            r"(?:round )?(?P<a>.+?)(?: rounded)? to the nearest (?:whole number|integer|int)"
        ),
        lambda a: Function("round", (a,)),
    ),
    (
        re.compile(r"(?P<a>.+?) rounded up|round up (?P<b>.+)"),
        lambda a: Function("ceil", (a,)),
    ),
    (
        re.compile(r"(?P<a>.+?) rounded down|round down (?P<b>.+)"),
        lambda a: Function("floor", (a,)),
    ),
    (
        re.compile(r"(?:multiply |multiplying )?(?P<a>.+?) (?:times|multiplied by|by) itself"),
        lambda a: Binary("*", a, a),
    ),
    (
        re.compile(r"(?P<a>.+?) (?:as|in) (?:a |an )?(?:percent|percentage|%)"),
        lambda a: Binary("*", a, Number("100")),
    ),
    (re.compile(r"(?P<a>.+) doubled"), lambda a: Binary("*", a, Number("2"))),
    (re.compile(r"(?P<a>.+) tripled"), lambda a: Binary("*", a, Number("3"))),
    (re.compile(r"(?P<a>.+) halved"), lambda a: Binary("/", a, Number("2"))),
    (re.compile(r"negate (?P<a>.+)"), Negation),
    (re.compile(r"(?P<a>.+) in half"), lambda a: Binary("/", a, Number("2"))),
)


_THESE = r"(?: (?:up|together|all|of|these|the|following|numbers|values|:))*"


_LISTED = re.compile(r",|\d(?: and)? -?\d")


_LIST_VERBS = (
    (
        re.compile(
            rf"(?:add up|add together|adding up|sum up|total up|you add|add|adding|sum|total)"
            rf"{_THESE} "
        ),
        "sum",
    ),
    (re.compile(rf"(?:you multiply|multiply|multiplying){_THESE} "), "product"),
)


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
            inner = next(group for group in match.groups() if group)
            operand = parse_formula(inner, variable=variable)
            if operand is not None:
                return apply(operand)
    return None


def _listed(text: str, variable: str | None) -> Formula | None:
    """Read a verb before a list: "add 5, 10 and 15"."""
    for verb, noun in _LIST_VERBS:
        if _LISTED.search(text) and (match := verb.match(text)) is not None:
            items = re.sub(r"\b(?:up|together)$", "", text[match.end() :]).strip()
            return parse_formula(f"{noun} of {items}", variable=variable)
    return None


def _templated(text: str, variable: str | None) -> Formula | None:
    for pattern, build in _TEMPLATES:
        if (match := pattern.fullmatch(text)) is not None:
            left = parse_formula(match["a"], variable=variable)
            right = parse_formula(match["b"], variable=variable)
            if left is not None and right is not None:
                return _built(build, left, right, is_share="percent" in pattern.pattern)
    return None


def _built(build: Build, left: Formula, right: Formula, *, is_share: bool) -> Formula | None:
    """Apply a template; what is meant by "add 10 to 5%" nobody can tell."""
    built = build(left, right)
    has_share = isinstance(left, Percent) or isinstance(right, Percent)
    is_sum = isinstance(built, Binary) and built.operator in {"+", "-"}
    return None if has_share and (is_sum or is_share) else built
