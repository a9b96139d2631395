"""Questions about rows of numbers: "the first 10 primes", "sum of the even numbers below 50"."""

import re
from dataclasses import dataclass, replace

from embedded_model.formula import (
    Formula,
    Number,
    may_be_long,
    may_end_whole,
    modules_of,
    python_text,
)
from embedded_model.intents import Calculate
from embedded_model.reading.arithmetic import parse_formula
from embedded_model.reading.numerals import ordinal

_IS_PRIME = "n > 1 and all(n % d for d in range(2, math.isqrt(n) + 1))"
_FIBONACCI = """def fibonacci():
    a, b = 0, 1
    while True:
        yield a
        a, b = b, a + b
"""


@dataclass(frozen=True, slots=True)
class _Kind:
    """A row of numbers: all those that pass a test, or all values of a term in n."""

    name: str
    test: str = ""
    term: str = ""
    start: int = 1

    @property
    def generator(self) -> str:
        if self.name.startswith("fibonacci"):
            return "fibonacci()"
        condition = f" if {self.test}" if self.test else ""
        return f"({self.term or 'n'} for n in count({self.start}){condition})"


_COUNT = (
    r"(?:\d[\d,]*|[a-z]+(?:[ -](?!(?:prime|fib|even|odd|nat|whol|squ|cub|mult|num|pow))[a-z]+)?)"
)
_KIND = (
    r"(?:(?P<prime>primes?)|(?P<parity>(?:even|odd) )?"
    r"(?:(?P<square>(?:perfect )?squares?)|(?P<cube>cubes?))"
    r"|(?P<even>evens?)|(?P<odd>odds?)|(?P<fibonacci>fibonacci?s?|fib)|(?P<factorial>factorials)"
    r"|multiples of (?P<multiple>\d+)|powers of (?P<power>\d+)"
    r"|(?P<plain>natural|whole|positive|counting|numbers?|integers?))"
    r"(?: (?:numbers?|integers?|terms?|sequence|series|values))*(?: of (?:the )?fibonacci"
    r"(?: sequence| series)?)?"
)
_ROW = (
    r"(?:all )?(?:of )?(?:the )?(?:first (?P<count>" + _COUNT + r") "
    r"|(?P<bare>\d+) (?=\w+s\b|\w+ (?:numbers|terms)\b))?" + _KIND
)
_RANGE = (
    r"(?: (?:that are |which are )?(?:(?:from |between |in )?(?P<low>-?\d[\d,]*) ?"
    r"(?:to|and|through|thru|till|until|up to|-) ?(?P<high>-?\d[\d,]*)"
    r"|(?P<way>up to|below|under|less than|smaller than|until|till|not above|<=|<|to|in)"
    r"(?: the first| and including)? (?P<limit>" + _COUNT + r")))?(?: inclusive)?"
)
_ASK = (
    r"(?:(?:list|show|print|name|generate|give|find|get|display|write|enumerate|output|tell|count"
    r"|what are|what is|what's|which are|calculate|compute)(?: me| us| out| down)*)?(?: |^)"
)
_WHAT = (
    r"(?:(?:the )?(?:(?P<sum>sum up|sum|total|add up|add together|add)"
    r"|(?P<product>product|multiply)"
    r"|(?P<mean>average|mean)|(?P<many>number|count|how many)|(?P<max>largest|biggest|greatest)"
    r"|(?P<min>smallest|lowest))(?: of| all| up)* )?"
)
_SERIES = re.compile(rf"{_ASK}?{_WHAT}{_ROW}(?: (?:are|is) there)?{_RANGE}")
_SPAN_ONLY = re.compile(
    r"(?:(?:the )?(?:sum|total)(?: of)?|sum up|add(?: up)?)(?: all)?(?: the)? ?"
    r"(?:from |between )?(?P<low>-?\d[\d,]*) (?:to|through|thru|up to|until|till) "
    r"(?P<high>-?\d[\d,]*)"
)
_NTH = re.compile(
    rf"{_ASK}?(?:the )?(?P<rank>\d+(?:st|nd|rd|th)|[a-z-]+) {_KIND}"
    rf"|(?:the )?fib(?:onacci)?(?: number)?(?: of| number)? ?\(?(?P<index>\d+)\)?"
)
_SINGULAR_WORDS = {"largest", "smallest", "greatest", "next", "random", "biggest", "a", "the"}


def _integer(text: str) -> int | None:
    number = parse_formula(text)
    is_whole = isinstance(number, Number) and number.text.isdecimal()
    if isinstance(number, Number) and is_whole:
        return int(number.text)
    sign, digits = text[:1], text.removeprefix("-").replace(",", "")
    return -int(digits) if sign == "-" and digits.isdecimal() else None


_KINDS = {
    "prime": _Kind("prime numbers", _IS_PRIME),
    "even": _Kind("even numbers", "n % 2 == 0"),
    "odd": _Kind("odd numbers", "n % 2 == 1"),
    "square": _Kind("square numbers", term="n**2"),
    "cube": _Kind("cube numbers", term="n**3"),
    "factorial": _Kind("factorials", term="math.factorial(n)"),
    "fibonacci": _Kind("fibonacci numbers", term="n"),
}


def _kind(groups: dict[str, str | None]) -> _Kind:
    if base := groups["multiple"]:
        return _Kind(f"multiples of {base}", f"n % {base} == 0")
    if base := groups["power"]:
        return _Kind(f"powers of {base}", term=f"{base}**n", start=0)
    kind = next((kind for name, kind in _KINDS.items() if groups[name]), _Kind("numbers"))
    if parity := groups["parity"]:  # a power is even where its base is
        name = f"{parity}{kind.name}"
        return replace(kind, name=name, test=_KINDS[parity.strip()].test)
    return kind


def read_sequence(text: str) -> Calculate | None:
    """Read a question about a row of numbers that takes the whole text."""
    text = " ".join(text.split()).strip(" .?,:")
    if digits := _digits(text):
        return digits
    text = _of_numbers(text.strip(" .?!,:"))
    return _span(text) or _series(text) or _nth(text) or _factors(text) or _ordered(text)


_POWERS_OF = re.compile(
    r"(?P<power>squares?|cubes?) of (?:all )?(?:of )?(?:the )?(?P<first>first \w+ )?"
    r"(?P<parity>(?:even|odd) )?(?:natural |whole |positive )?(?:numbers|integers)\b"
)


def _of_numbers(text: str) -> str:
    """Write "the squares of the first 10 even numbers" as the first 10 even squares."""
    text = re.sub(r"\b(squares?|cubes?) of (?=-?\d+ (?:to|through|up to)\b)", r"\1 from ", text)
    match = _POWERS_OF.search(text)
    if match is None:
        return text
    short = f"{match['first'] or ''}{match['parity'] or ''}{match['power']}"
    return text[: match.start()] + short + text[match.end() :]


_DIGITS = re.compile(
    r"(?:the )?(?P<what>sum|number|product|count) (?:of )?(?:the |all |all the )?digits (?:of|in) "
    r"(?:the number )?(?P<a>.+)"
    r"|how many digits (?:are |are there |does |has |is )?(?:in |there in )?(?:the number )?"
    r"(?P<b>.+?)"
    r"(?: have| has)?"
    r"|(?:add|sum)(?: up)? (?:the |all |all the )?digits (?:of|in) (?:the number )?(?P<c>.+)"
    r"|(?P<reverse>reverse) (?:the )?(?:digits (?:of|in) |number )(?P<d>.+)"
)


_UNENDING = re.compile(r"math\.(?!factorial|comb|gcd|lcm|isqrt)")


def _is_whole(number: Formula) -> bool:
    """Say whether a formula has digits to count: no constant, no quotient, no root."""
    return not may_end_whole(number) and not _UNENDING.search(python_text(number))


def _digits(text: str) -> Calculate | None:
    """Read "the sum of the digits of 12345", "how many digits does 2^100 have"."""
    match = _DIGITS.fullmatch(text)
    number = parse_formula(match["a"] or match["b"] or match["c"] or match["d"]) if match else None
    if match is None or number is None or may_be_long(number) or not _is_whole(number):
        return None
    python = python_text(number)
    head = "import math\n" if modules_of(number) else ""
    digits = f"{head}digits = [int(digit) for digit in str({python}) if digit.isdecimal()]\n"
    of = f"of the digits of {python}"
    if match["b"] or match["what"] in {"number", "count"}:
        return Calculate(f"{digits}print(len(digits))", f"The number {of}")
    if match["reverse"]:
        return Calculate(f"{head}print(str({python})[::-1])", f"{python} reversed")
    if match["what"] == "product":
        return Calculate(f"import math\n{digits}print(math.prod(digits))", f"The product {of}")
    return Calculate(f"{digits}print(sum(digits))", f"The sum {of}")


def _span(text: str) -> Calculate | None:
    match = _SPAN_ONLY.fullmatch(text)
    bounds = [_integer(match[name]) for name in ("low", "high")] if match else [None]
    if None in bounds:
        return None
    low, high = bounds
    return Calculate(f"print(sum(range({low}, {high} + 1)))", f"The sum of {low} to {high}")


def _series(text: str) -> Calculate | None:
    match = _SERIES.fullmatch(text)
    if match is None:
        return None
    groups = match.groupdict()
    kind, what = _kind(groups), _aggregate(groups)
    picked = _picked(kind, groups)
    if picked is None or (groups["plain"] and what == "count"):
        return None
    values, described = picked
    code = f"values = {values}\n{_PRINTS[what]}"
    label = f"{_LABELS[what]}{described}"
    return Calculate(_with_head(code), f"{label[:1].upper()}{label[1:]}{_COLON[what]}")


_PRINTS = {
    "sum": "print(sum(values))",
    "product": "print(math.prod(values))",
    "mean": "print(statistics.mean(values))",
    "count": "print(len(values))",
    "max": "print(max(values))",
    "min": "print(min(values))",
    "list": 'print(", ".join(map(str, values)) or "none")',
}
_LABELS = {
    "sum": "the sum of ", "product": "the product of ", "mean": "the average of ",
    "count": "the number of ", "max": "the largest of ", "min": "the smallest of ", "list": "",
}  # fmt: skip
_COLON = dict.fromkeys(_LABELS, "") | {"list": ":"}


def _aggregate(groups: dict[str, str | None]) -> str:
    named = {"sum": "sum", "product": "product", "mean": "mean", "many": "count"}
    named |= {"max": "max", "min": "min"}
    return next((what for group, what in named.items() if groups[group]), "list")


def _picked(kind: _Kind, groups: dict[str, str | None]) -> tuple[str, str] | None:
    """Return the values as Python, and in words; None without an end to them."""
    if wanted := groups["count"] or groups["bare"]:  # "first" may be gone as courtesy
        count = _integer(wanted)
        if count is None or groups["limit"] or groups["low"]:
            return None
        return f"list(islice({kind.generator}, {count}))", f"the first {count} {kind.name}"
    if groups["limit"]:
        return _below(kind, groups["way"] or "", groups["limit"])
    if groups["low"] and groups["high"]:
        low, high = _integer(groups["low"]), _integer(groups["high"])
        if low is None or high is None:
            return None
        return _between(kind, low, high), f"the {kind.name} from {low} to {high}"
    return None


def _below(kind: _Kind, way: str, bound: str) -> tuple[str, str] | None:
    limit = _integer(bound)
    if limit is None:
        return None
    is_open = way in {"below", "under", "less than", "smaller than", "<"}
    sign, said = ("<", "below") if is_open else ("<=", "up to")
    values = f"list(takewhile(lambda n: n {sign} {limit}, {kind.generator}))"
    if not kind.term:
        condition = f" if {kind.test}" if kind.test else ""
        values = f"[n for n in range(1, {limit}{'' if is_open else ' + 1'}){condition}]"
    return values, f"the {kind.name} {said} {limit}"


def _between(kind: _Kind, low: int, high: int) -> str:
    if kind.name.startswith("fibonacci"):
        return f"[n for n in takewhile(lambda n: n <= {high}, fibonacci()) if n >= {low}]"
    # "the squares from 1 to 5" are those of 1 to 5.
    condition = f" if {kind.test}" if kind.test else ""
    return f"[{kind.term or 'n'} for n in range({low}, {high} + 1){condition}]"


def _with_head(code: str) -> str:
    tools = [name for name in ("count", "islice", "takewhile") if f"{name}(" in code]
    modules = [name for name in ("math", "statistics") if f"{name}." in code]
    lines = [f"import {name}" for name in modules]
    lines += [f"from itertools import {', '.join(tools)}"] if tools else []
    head = "\n".join(lines)
    parts = [part for part in (head, _FIBONACCI if "fibonacci()" in code else "") if part]
    return "\n\n".join([*parts, code]) if parts else code


def _nth(text: str) -> Calculate | None:
    match = _NTH.fullmatch(text)
    if match is None:
        return None
    if match["index"]:
        index, kind = int(match["index"]), _Kind("fibonacci numbers", term="n")
    else:
        rank = ordinal(match["rank"])
        if rank is None or match["rank"] in _SINGULAR_WORDS or match["plain"]:
            return None
        index, kind = int(rank), _kind(match.groupdict())
    # The first fibonacci number is F(1) = 1, though the row begins with 0.
    skipped = index if kind.name.startswith("fibonacci") else index - 1
    code = f"print(next(islice({kind.generator}, {skipped}, None)))"
    return Calculate(_with_head(code), f"Number {index} of the {kind.name}")


_FACTORS = re.compile(
    rf"{_ASK}?(?:all )?(?:the )?(?:(?P<prime>prime (?:factors?|factori[sz]ation|decomposition)"
    r"|factori[sz]ation)|(?P<all>factors|divisors)) (?:of |for )(?:the number )?(?P<a>\d+)"
    r"|(?P<verb>factori[sz]e|factor) (?:the number )?(?P<b>\d+)(?: into primes)?"
)
_DIVIDE_OUT = """factors, d = [], 2
while d * d <= n:
    while n % d == 0:
        factors.append(d)
        n //= d
    d += 1
if n > 1:
    factors.append(n)
print(", ".join(map(str, factors)) or "none")"""


def _factors(text: str) -> Calculate | None:
    match = _FACTORS.fullmatch(text)
    if match is None:
        return None
    number = int(match["a"] or match["b"])
    if match["all"]:
        code = f'n = {number}\nprint(", ".join(str(d) for d in range(1, n + 1) if n % d == 0))'
        return Calculate(code, f"The divisors of {number}:")
    return Calculate(f"n = {number}\n{_DIVIDE_OUT}", f"The prime factors of {number}:")


_ITEM = r"-?\d+(?:\.\d+)?"
_LIST = rf"[\[({{]? ?{_ITEM}(?:(?: ?, ?and | ?, ?| and | ){_ITEM})+ ?[\])}}]?"
_ORDER = (
    r"(?:(?:in |into |from )?(?:an? )?(?P<{0}>descending|decreasing|reversed?|falling"
    r"|(?:large|big|great|high)(?:est)? to (?:small|low)(?:est)?)|(?:in |into |from )?(?:an? )?"
    r"(?:ascending|increasing|numerical|rising|(?:small|low)(?:est)? to "
    r"(?:large|big|great|high)(?:est)?))(?: order)?"
)
_THESE = (
    r"(?:these|the|this|my|following|numbers?|list|values?|integers?|array|of|:)"
    r"(?: (?:these|the|this|my|following|numbers?|list|values?|integers?|array|of|:))*"
)
_SORT = re.compile(
    rf"(?:sort|order|arrange|rank)(?: {_THESE})?(?: {_ORDER.format('down')} ?:?)? ?:? ?"
    rf"(?P<list>{_LIST})(?: {_ORDER.format('down2')})?"
)
_REVERSE = re.compile(rf"(?:reverse|invert|flip)(?: {_THESE})? ?:? ?(?P<list>{_LIST})")
_OF_LIST = re.compile(
    rf"(?:{_ASK})?(?:the )?(?P<what>sum|total|product|average|mean|maximum|max|minimum|min|largest"
    rf"|smallest|biggest|length|median)(?: number| value| element| item)?(?: (?:of|in))?"
    rf"(?: {_THESE})? ?:? ?(?P<list>[\[({{].+[\])}}])"
)


def _ordered(text: str) -> Calculate | None:
    if (match := _SORT.fullmatch(text)) is not None:
        items = _items(match["list"])
        is_down = bool(match["down"] or match["down2"])
        code = f"sorted({items}{', reverse=True' if is_down else ''})"
        return Calculate(f"print({code})", "Sorted:")
    if (match := _REVERSE.fullmatch(text)) is not None:
        return Calculate(f"print({_items(match['list'])}[::-1])", "Reversed:")
    return None


def _items(text: str) -> str:
    return f"[{', '.join(re.findall(_ITEM, text))}]"


def bracketed_list(text: str) -> str:
    """Take square brackets off a list behind a function's name: "the mean of [1, 2]"."""
    match = _OF_LIST.fullmatch(text)
    inner = match["list"].strip("[](){} ") if match else ""
    if match is None or not re.fullmatch(rf"{_ITEM}(?: ?,? ?{_ITEM})*", inner):
        return text
    return f"{match['what']} of {', '.join(re.findall(_ITEM, inner))}"
