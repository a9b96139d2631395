"""The grammar of sums: from tokens to a formula, by recursive descent.

A text is a formula only when the grammar takes all of it, to the last token.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from embedded_model.formula import (
    Binary,
    Constant,
    Formula,
    Function,
    Negation,
    Number,
    Operator,
    Percent,
    Variable,
    percent_of,
)
from embedded_model.reading.formula_tokens import Token, tokens_of

# 2024-01-05, 192.168.1.1 and 3/4/2024 look like sums and are none.
_NO_SUM = re.compile(r"\d{4}-\d\d-\d\d|\d+\.\d+\.\d+|\b\d{1,2}/\d{1,2}/\d{4}\b|\b\d{1,2}:\d\d\b")
_MAX_CHARACTERS = 2000
_SIGNS_ONLY = re.compile(r"[\d\s.,+*/^%!()x-]*\d[\d\s.,+*/^%!()x-]*|[\s+*/^%!()x-]+")
_MAX_DEPTH = 60
_MAX_OPERATIONS = 120  # one is a level of the tree, which is walked by recursion


_EXPONENT = re.compile(r"(?<![\w.])(?P<digits>\d+)e\+?(?P<exponent>\d{2,5})\b")
_FLOAT_EXPONENT = 300  # beyond it a float is endless, and 1e400 / 2 would be "inf"


_LITERAL = re.compile(r"(?<![\w.])(?:0x[\da-f]+|0b[01]+|0o[0-7]+)(?![\w.])")


class _NoFormulaError(Exception):
    """The tokens are no formula."""


@dataclass(slots=True)
class _Parser:
    tokens: Sequence[Token]
    variable: str | None = None
    index: int = 0
    depth: int = 0

    # --- looking at tokens
    def peek(self, ahead: int = 0) -> Token | None:
        place = self.index + ahead
        return self.tokens[place] if place < len(self.tokens) else None

    def is_at(self, kind: str, *values: str, ahead: int = 0) -> bool:
        token = self.peek(ahead)
        return token is not None and token.kind == kind and (not values or token.value in values)

    def take(self, kind: str, *values: str) -> bool:
        if self.is_at(kind, *values):
            self.index += 1
            return True
        return False

    def expect(self, kind: str, *values: str) -> None:
        if not self.take(kind, *values):
            raise _NoFormulaError

    # --- the grammar, loosest first
    def expression(self) -> Formula:
        self.depth += 1
        if self.depth > _MAX_DEPTH:
            raise _NoFormulaError
        left = self.term()
        while self.is_at("infix", "+", "-"):
            operator: Operator = "+" if self.is_at("infix", "+") else "-"
            self.index += 1
            right = self.term()
            # A pocket calculator's rule: 200 + 10 % is 220.
            right = percent_of(right.operand, left) if isinstance(right, Percent) else right
            left = Binary(operator, left, right)
        self.depth -= 1
        return left

    def term(self) -> Formula:
        left = self.signed()
        while True:
            if self.is_at("infix", "*", "/", "//"):
                operator = self._multiplication()
                left = Binary(operator, left, self.signed())
            elif self.is_at("infix", "mod") or self._is_modulo_sign():
                self.index += 1
                left = Binary("%", left, self.signed())
            elif self.is_at("infix", "choose"):
                self.index += 1
                left = Function("comb", (left, self.signed()))
            elif isinstance(left, Percent) and self.take("word", "of"):
                left = percent_of(left.operand, self.term())
            elif _is_ratio(left) and self.take("word", "of"):
                left = _share(left, self.signed())
            elif self._begins_factor():
                left = Binary("*", left, self.power())
            else:
                return left

    def _multiplication(self) -> Operator:
        token = self.peek()
        self.index += 1
        if token is not None and token.value == "//":
            return "//"
        return "*" if token is not None and token.value == "*" else "/"

    def _is_modulo_sign(self) -> bool:
        """`17 % 5`: the sign stands between two operands."""
        return self.is_at("postfix", "%") and self._begins_operand(1)

    def _begins_operand(self, ahead: int) -> bool:
        return self.is_at("number", ahead=ahead) or self.is_at("bracket", "(", ahead=ahead)

    def _begins_factor(self) -> bool:
        """`5(3+2)` and `2pi`: a product without a sign."""
        return (
            self.is_at("bracket", "(")
            or self.is_at("constant")
            or (self.variable is not None and (self._is_variable() or self.is_at("prefix")))
        )

    def _is_variable(self) -> bool:
        token = self.peek()
        return token is not None and self.variable is not None and token.value == self.variable

    def signed(self) -> Formula:
        if self.take("infix", "-"):
            return Negation(self.signed())
        if self.take("infix", "+"):
            return self.signed()
        return self.power()

    def power(self) -> Formula:
        base = self.postfixed()
        if self.take("infix", "**"):
            exponent = self._rank()
            return Binary("**", base, exponent if exponent is not None else self.signed())
        return base

    def _rank(self) -> Formula | None:
        """`to the 8th power`."""
        token = self.peek()
        if token is None or token.kind != "word" or not token.value.startswith("#"):
            return None
        self.index += 1
        self.take("infix", "**")
        return Number(token.value[1:])

    def postfixed(self) -> Formula:
        value = self.primary()
        while True:
            if self.take("postfix", "!"):
                value = Function("factorial", (value,))
            elif self.take("postfix", "squared"):
                value = Binary("**", value, Number("2"))
            elif self.take("postfix", "cubed"):
                value = Binary("**", value, Number("3"))
            elif self.is_at("postfix", "percent", "%") and not self._is_modulo_sign():
                self.index += 1
                value = Percent(value)
            else:
                return value

    def primary(self) -> Formula:  # noqa: PLR0911  # one return a case
        self.take("word", "the")
        token = self.peek()
        if token is None:
            raise _NoFormulaError
        if self._is_variable():
            self.index += 1
            return Variable(token.value)
        self.index += 1
        match token.kind:
            case "number":
                return Number(token.value)
            case "constant":
                return Constant(token.value)
            case "bracket" if token.value == "(":
                inner = self.expression()
                self.expect("bracket", ")")
                return inner
            case "prefix":
                return self.prefixed(token.value)
            case "list":
                return self.listed(token.value)
            case "word":
                return self.worded(token.value)
            case _:
                raise _NoFormulaError

    def prefixed(self, name: str) -> Formula:
        if name in {"log", "ln", "log10", "log2"}:
            return self.logarithm(name)
        self.take("word", "of")
        if self.variable is not None and self._ends_name():
            return _apply(name, Variable(self.variable))
        return _apply(name, self._operand())

    def _ends_name(self) -> bool:
        return self.peek() is None

    def _operand(self) -> Formula:
        if self.take("infix", "-"):
            return Negation(self._operand())
        return self.power()

    def logarithm(self, name: str) -> Formula:
        base: Formula | None = {"log10": Number("10"), "log2": Number("2")}.get(name)
        if self.take("word", "base"):
            base = self.primary()
        self.take("word", "of")
        if self.variable is not None and self._ends_name():
            return Function("log", (Variable(self.variable),))
        argument = self._operand()
        if self.take("word", "base") or (
            self.is_at("word", "in", "to", "with") and self.is_at("word", "base", ahead=1)
        ):
            self.take("word", "base") if self.take("word", "in", "to", "with") else None
            base = self.primary()
        if base is None:
            return Function("log", (argument,))
        exact = {"10": "log10", "2": "log2"}.get(base.text) if isinstance(base, Number) else None
        return Function(exact, (argument,)) if exact else Function("log", (argument, base))

    def listed(self, name: str) -> Formula:
        self.take("word", "of")
        is_call = self.take("bracket", "(")
        items = [self.expression()]
        while self._take_comma() or (not is_call and self.is_at("number")):
            items.append(self.expression())
        if is_call:
            self.expect("bracket", ")")
        return _of_list(name, items)

    def _take_comma(self) -> bool:
        if self.take("word", ","):
            self.take("word", "and")
            return True
        return self.take("word", "and", "&")

    def worded(self, word: str) -> Formula:
        if word.startswith("#") and self.take("prefix", "sqrt"):  # 4th root of
            self.take("word", "of")
            return Function("root", (self._operand(), Number(word[1:])))
        if word == "remainder":
            return self.remainder()
        if word in {"a", "an"} and self.peek() is not None:
            return self.primary()
        raise _NoFormulaError

    def remainder(self) -> Formula:
        self.take("word", "of", "when", "if")
        left = self.power()
        if not self.take("word", "and"):
            self.take("word", "is")
            self.expect("infix", "/", "by")
        return Binary("%", left, self.power())


def _is_ratio(formula: Formula) -> bool:
    """`3/4 of 20`."""
    return (
        isinstance(formula, Binary)
        and formula.operator == "/"
        and isinstance(formula.left, Number)
        and isinstance(formula.right, Number)
    )


def _share(ratio: Formula, whole: Formula) -> Formula:
    """`2/3 of 90`: multiplied before it is divided, which is exact where 2/3 is not."""
    assert isinstance(ratio, Binary)  # noqa: S101  # the caller has looked
    above = ratio.left
    product = whole if above == Number("1") else Binary("*", whole, above)
    return Binary("/", product, ratio.right)


_FRACTIONS = {"half": "2", "third": "3", "quarter": "4", "fifth": "5", "tenth": "10"}
_MULTIPLES = {"double": "2", "triple": "3"}
_POWERS = {"square": "2", "cube": "3"}


def _apply(name: str, operand: Formula) -> Formula:  # noqa: PLR0911  # one return a case
    if name in _FRACTIONS:
        return Binary("/", operand, Number(_FRACTIONS[name]))
    if name in _MULTIPLES:
        return Binary("*", Number(_MULTIPLES[name]), operand)
    if name in _POWERS:
        return Binary("**", operand, Number(_POWERS[name]))
    match name:
        case "threequarters":
            return Binary("/", Binary("*", operand, Number("3")), Number("4"))
        case "twothirds":
            return Binary("/", Binary("*", operand, Number("2")), Number("3"))
        case "neg":
            return Negation(operand)
        case "reciprocal":
            return Binary("/", Number("1"), operand)
        case _:
            return Function(name, (operand,))


def _of_list(name: str, items: Sequence[Formula]) -> Formula:
    pairwise: dict[str, Operator] = {"difference": "-", "quotient": "/"}
    if name in pairwise:
        if len(items) != 2:  # noqa: PLR2004  # a pair
            raise _NoFormulaError
        return Binary(pairwise[name], items[0], items[1])
    if name in {"sum", "product"}:
        total = items[0]
        for item in items[1:]:
            total = Binary("+" if name == "sum" else "*", total, item)
        return total
    return Function(name, tuple(items))


def parse_formula(text: str, *, variable: str | None = None) -> Formula | None:
    """Read a text as one formula; None unless the grammar takes all of it."""
    if not text or len(text) > _MAX_CHARACTERS or _NO_SUM.search(text):
        return None
    text = _LITERAL.sub(lambda match: str(int(match[0], 0)), _EXPONENT.sub(_whole, text))
    tokens = tokens_of(_implicit(text, variable), variable=variable)
    if not tokens or _operations(tokens) > _MAX_OPERATIONS or any(map(_is_endless, tokens)):
        return None
    tokens = _trimmed(tokens)
    parser = _Parser(tokens, variable)
    try:
        formula = parser.expression()
    except _NoFormulaError:
        return None
    return formula if parser.index == len(tokens) else None


def _whole(match: re.Match[str]) -> str:
    """Write a number that no float holds as a power of ten."""
    if int(match["exponent"]) <= _FLOAT_EXPONENT:
        return match[0]
    return f"({match['digits']} * 10 ** {match['exponent']})"


def _is_endless(token: Token) -> bool:
    return token.kind == "number" and math.isinf(float(token.value))


def _operations(tokens: Sequence[Token]) -> int:
    """Count what may nest: signs, functions and brackets; numbers of a list do not."""
    return sum(token.kind not in {"number", "word", "constant"} for token in tokens)


def is_too_long(text: str) -> bool:
    """Say whether a text looks like a sum, but is longer or deeper than this grammar reads."""
    if not _SIGNS_ONLY.fullmatch(text):
        return False
    return len(text) > _MAX_CHARACTERS or len(re.findall(r"[-+*/^%!(]", text)) > _MAX_OPERATIONS


def _implicit(text: str, variable: str | None) -> str:
    # 3x4 is a product of two numbers; 3x in a plot is three times the variable.
    if variable is None:
        text = re.sub(r"(?<=\d)\s*x\s*(?=[\d(.-])", " * ", text)
    return re.sub(r"(?<=\d)k\b", " k", re.sub(r"(?<=\d)(?=(?:pi|π|sqrt)\b)", " ", text))


def _trimmed(tokens: Sequence[Token]) -> tuple[Token, ...]:
    """Drop what frames a sum: `=`, a full stop's rest, "the" in front."""
    kept = list(tokens)
    while (
        kept and kept[-1].kind == "word" and kept[-1].value in {"=", "?", "equals", "equal", "is"}
    ):
        kept.pop()
    while kept and kept[0].kind == "word" and kept[0].value in {"=", "the"}:
        kept.pop(0)
    return tuple(kept)


def has_operation(formula: Formula) -> bool:
    """Say whether there is anything to calculate: a bare number is no sum."""
    match formula:
        case Number() | Constant() | Variable():
            return False
        case Negation(operand) | Percent(operand):
            return has_operation(operand)
        case _:
            return True
