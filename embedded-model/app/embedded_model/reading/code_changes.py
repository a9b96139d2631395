"""The last code again with something else in it: "now with 20", "x = 3", "20 instead of 10"."""

import io
import re
import tokenize

from embedded_model.intents import AskBack, Intent, RunCode
from embedded_model.reading.numerals import digitised

INSTEAD = re.compile(
    r"^(?:with |use |try |using )?(?P<new>\S+) (?:instead of|rather than) "
    r"(?P<old>\S+)$|^(?:change|replace|swap) (?:the )?(?P<old2>\S+) (?:to"
    r"|by|with|for|into) (?P<new2>\S+)$"
)


VALUE = re.compile(
    r"^(?P<of>of |for |to |by |until |at |x ?= ?)?(?:the )?(?:number "
    r")?(?P<value>-?\d[\d,]*(?:\.\d+)?)(?P<percent> ?(?:%|percent))?(?: "
    r"instead| then| too| as well)?$"
)


_ASSIGN = re.compile(
    r"^(?P<name>[a-z_]\w*) ?(?:=|as|is|to|being|equal to|set to|equals) ?(?P<value>\S+)$"
)


def changed_code(last: RunCode, fragment: str, *, is_led: bool) -> tuple[Intent, ...]:
    """Return the last code with the fragment's value in it; empty when it fits nowhere."""
    fragment = digitised(fragment)
    if match := _ASSIGN.match(fragment):
        pattern = rf"(?m)^(\s*{re.escape(match['name'])}\s*=\s*)(\S+)\s*$"
        changed, count = re.subn(
            pattern, rf"\g<1>{match['value']}", last.code, count=1, flags=re.IGNORECASE
        )
        return (RunCode(changed),) if count else ()
    if match := INSTEAD.match(fragment):
        old, new = match["old"] or match["old2"], match["new"] or match["new2"]
        changed, count = re.subn(rf"(?<![\w.]){re.escape(old)}(?![\w.])", new, last.code)
        return (RunCode(changed),) if count else ()
    value = VALUE.match(fragment)
    if value is None or value["percent"] or not is_led:
        return ()
    place = _number_to_change(last.code)
    if place is None:
        return (
            AskBack(
                "Which number in the code shall I replace? Say for instance: 20 instead of 10."
            ),
        )
    start, stop = place
    return (RunCode(last.code[:start] + value["value"] + last.code[stop:]),)


def _number_to_change(code: str) -> tuple[int, int] | None:
    """Find what "now with 20" replaces: the only number, a range's end, the only assignment."""
    starts = [0]
    for line in code.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    try:
        tokens = list(tokenize.generate_tokens(io.StringIO(code).readline))
    except (tokenize.TokenError, SyntaxError):
        return None
    numbers = [
        (starts[token.start[0] - 1] + token.start[1], starts[token.end[0] - 1] + token.end[1])
        for token in tokens
        if token.type == tokenize.NUMBER
    ]
    ranged = [
        span
        for span in numbers
        if re.search(r"range\([^()]*$", code[: span[0]])
        and code[span[1] :].lstrip().startswith(")")
    ]
    assigned = [span for span in numbers if re.search(r"(?m)^\w+\s*=\s*$", code[: span[0]][-60:])]
    argument = [
        span
        for span in numbers
        if re.search(r"\w\($", code[: span[0]]) and code[span[1] :].startswith(")")
    ]
    for candidates in (numbers, ranged, assigned, argument):
        if len(candidates) == 1:
            return candidates[0]
    return None
