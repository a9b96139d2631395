"""Plots: "plot sin from 0 to 10", "bar chart of a=3, b=5"."""

import re

from embedded_model.formula import Formula, python_text
from embedded_model.intents import AskBack, Draw
from embedded_model.reading.arithmetic import parse_formula
from embedded_model.reading.sum_templates import formula_of

_VERB = r"(?:plot|draw|graph|chart|sketch|visualise|visualize|diagram)"
_KIND = r"(?P<kind>line|bar|pie|scatter|histogram|column|function)"
_NOUN = r"(?:plot|graph|chart|diagram|histogram|curve|drawing|sketch|line|picture|figure|image)"
_BEGINNING = re.compile(
    rf"^(?:(?:make|create|generate|produce|show|give|build|do|render|paint)(?: me| us)? )?"
    rf"(?:{_VERB} )?(?:me )?(?:a |an |the )?(?:simple |nice |quick "
    rf")?(?:{_KIND} ?)?(?:{_NOUN} ?)?(?:(?:of|for|with|from|showing) )?"
)
_ANCHOR = re.compile(
    rf"\b(?:{_VERB}|histogram|(?:bar|pie|line|scatter|column) (?:chart|plot"
    r"|graph|diagram)|curve of)\b"
)
_BOUND = r"[-+]?(?:\d[\d.,]*(?: ?\*? ?(?:pi|π))?|pi|π|[a-z]+(?: (?:hundred|thousand|pi))?)"
_RANGE = re.compile(
    r"(?<![a-z])(?:,? ?(?:(?:for|with|where|when|over|on|in|and) (?:x "
    r")?)?(?:in |is |=|going |goes |ranging |values |running )?(?:the "
    r")?(?:range |interval |domain )?(?:of )?)"
    rf"(?:(?:from|between|in|over|on|=|for) ?(?:x ?= ?)?(?P<low>{_BOUND}) "
    rf"?(?:to|and|until|till|up to|through|\.\.+|-|,) ?(?P<high>{_BOUND})"
    rf"|[\[(](?P<low2>{_BOUND}) ?, ?(?P<high2>{_BOUND})[\])]"
    rf"|(?P<low3>[-\d.]+) ?\.\.+ ?(?P<high3>{_BOUND}))\s*$"
)
_PREFIX = re.compile(
    r"^(?:(?:the |a )?(?:function|curve|graph|values?|numbers?|data|points?"
    r"|equation|line|expression|formula|plot)s? )?(?:of )?(?:(?:y|f ?\( ?x "
    r"?\)|g ?\( ?x ?\)) ?= ?)?(?:the )?"
)
_PAIR = re.compile(r"(?P<name>[^\W\d][\w ]*?) ?(?:=|:|is|->) ?(?P<value>-?\d+(?:\.\d+)?)%?")
_POINT = re.compile(r"\( ?(-?\d+(?:\.\d+)?) ?, ?(-?\d+(?:\.\d+)?) ?\)")
_MAX_POINTS = 500
PICTURE = "plot.png"


def mentions_plot(text: str) -> bool:
    """Say whether a text begins by asking for a drawing."""
    return bool(_ANCHOR.search(text[:60]))


def read_plot(text: str) -> Draw | AskBack | None:
    """Read a request for a plot; None when it is none."""
    text = re.sub(r" ([,.:?!])", r"\1", text).strip(" .?!")
    is_asked = re.match(
        r"(?:(?:make|create|generate|produce|show|give|build|do|render)(?: me| "
        rf"us)? )?(?:a |an |the )?(?:simple |nice |quick )?(?:{_VERB}|{_KIND}(?: "
        rf"(?:{_NOUN}|of))|{_NOUN} of)\b",
        text,
    )
    if not is_asked:
        return None
    beginning = _BEGINNING.match(text)
    kind = (beginning and beginning["kind"]) or ("histogram" if "histogram" in text[:30] else "")
    rest = text[beginning.end() if beginning else 0 :].strip(" :,")
    if rest in {
        "",
        "something",
        "anything",
        "it",
        "that",
        "this",
        "some data",
        "data",
        "me",
        "a function",
        "function",
        "stuff",
    }:
        return AskBack(
            "What shall I plot? For instance: plot sin(x) from 0 to 10, or a bar chart of a=3, b=5."
        )
    return _data(kind, rest) or _functions(rest)


# --- data
def _data(kind: str, rest: str) -> Draw | None:
    if points := _points(rest):
        xs, ys = (", ".join(column) for column in zip(*points, strict=True))
        call = "scatter" if kind == "scatter" else "plot"
        return _drawing(f"x = [{xs}]\ny = [{ys}]\nplt.{call}(x, y)", "your points")
    if pairs := _pairs(rest):
        names = ", ".join(f'"{name}"' for name, _ in pairs)
        values = ", ".join(value for _, value in pairs)
        body = f"labels = [{names}]\nvalues = [{values}]\n"
        if kind == "pie":
            return _drawing(
                body + 'plt.pie(values, labels=labels, autopct="%1.1f%%")', "a pie chart"
            )
        call = "plot" if kind in {"line", "function"} else "bar"
        return _drawing(body + f"plt.{call}(labels, values)", f"a {kind or 'bar'} chart")
    return _series(kind, rest)


def _points(rest: str) -> list[tuple[str, str]]:
    left = _POINT.sub("", rest)
    if re.fullmatch(r"(?:the |points|point|data|and|,|\s)*", left):
        return [(match[1], match[2]) for match in _POINT.finditer(rest)]
    return []


def _pairs(rest: str) -> list[tuple[str, str]]:
    pieces = [piece.strip() for piece in re.split(r",|;|\band\b", rest) if piece.strip()]
    matches = [_PAIR.fullmatch(piece) for piece in pieces]
    found = [(match["name"].strip(), match["value"]) for match in matches if match is not None]
    is_all = len(found) == len(pieces) and len(found) > 1
    return found if is_all and all(name not in {"x", "y"} for name, _ in found) else []


def _series(kind: str, rest: str) -> Draw | None:
    rest = re.sub(
        r"^(?:the |these |my )?(?:numbers?|values?|data|list|series|points?)?:? ?", "", rest
    )
    pieces = re.split(r"[,;\s]+(?:and )?", rest.strip(" []()"))
    if len(pieces) < 2 or not all(re.fullmatch(r"-?\d+(?:\.\d+)?", piece) for piece in pieces):  # noqa: PLR2004  # a series
        return None
    values = f"values = [{', '.join(pieces)}]\n"
    match kind:
        case "histogram":
            return _drawing(values + "plt.hist(values)", "a histogram")
        case "bar" | "column":
            return _drawing(values + "plt.bar(range(1, len(values) + 1), values)", "a bar chart")
        case "pie":
            return _drawing(
                values + 'plt.pie(values, labels=values, autopct="%1.1f%%")', "a pie chart"
            )
        case "scatter":
            return _drawing(
                values + "plt.scatter(range(1, len(values) + 1), values)", "a scatter plot"
            )
        case _:
            return _drawing(values + 'plt.plot(values, marker="o")', "your values")


# --- functions
def _functions(rest: str) -> Draw | None:
    match = _RANGE.search(rest)
    low, high = "-10", "10"
    if match is not None:
        bounds = (
            match["low"] or match["low2"] or match["low3"],
            match["high"] or match["high2"] or match["high3"],
        )
        parsed = [parse_formula(bound) for bound in bounds]
        if parsed[0] is None or parsed[1] is None:
            return None
        low, high = (python_text(bound, "numpy") for bound in parsed if bound is not None)
        rest = rest[: match.start()]
    formulas = _formulas(rest.strip(" ,"))
    if not formulas:
        return None
    texts = [python_text(formula, "numpy") for formula in formulas]
    labels = [text.replace("np.", "") for text in texts]
    lines = [
        "plt.plot(x, "
        f"{text if 'x' in text.replace('exp', '') else f'np.full_like(x, {text})'}"
        f', label="{label}")'
        for text, label in zip(texts, labels, strict=True)
    ]
    body = "\n".join([f"x = np.linspace({low}, {high}, {_MAX_POINTS})", *lines, "plt.legend()"])
    span = f"from {low} to {high}".replace("np.", "")
    return _drawing(body, f"{' and '.join(labels)} {span}", uses_numpy=True)


def _formulas(text: str) -> list[Formula]:
    whole = _formula(text)
    if whole is not None:
        return [whole]
    pieces = [
        piece
        for piece in re.split(r",(?: and)?| and (?:also )?| & | vs\.? | versus ", text)
        if piece.strip()
    ]
    found = [_formula(piece.strip()) for piece in pieces]
    formulas = [formula for formula in found if formula is not None]
    return formulas if len(formulas) == len(pieces) else []


def _formula(text: str) -> Formula | None:
    text = _PREFIX.sub("", text).strip()
    text = re.sub(r"\b(?:a |the )?(?:wave|curve|function|graph|line)$", "", text).strip()
    if re.fullmatch(r"(?:parabola|a parabola)", text):
        text = "x^2"
    return formula_of(text, variable="x")


def _drawing(body: str, label: str, *, uses_numpy: bool = False) -> Draw:
    imports = "import matplotlib.pyplot as plt\n" + ("import numpy as np\n" if uses_numpy else "")
    grid = "" if "plt.pie" in body else "plt.grid(True)\n"
    # No display where the code runs: `plt.show()` would only warn.
    return Draw(f'{imports}\n{body}\n{grid}plt.savefig("{PICTURE}")', label)
