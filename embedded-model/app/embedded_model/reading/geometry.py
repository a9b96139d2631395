"""Areas, volumes and lengths of plain shapes: "area of a circle with radius 5"."""

import re

from embedded_model.intents import Calculate
from embedded_model.reading.numerals import digitised

_NAMES = {
    "radius": "r", "diameter": "d", "side": "s", "sides": "s", "edge": "s", "edges": "s",
    "side length": "s", "edge length": "s", "length": "s", "width": "w", "height": "h",
    "base": "s", "breadth": "w", "depth": "h", "legs": "s", "sides of": "s", "dimensions": "s",
}  # fmt: skip
# Shape and what is asked of it: the letters it is given by, in their usual order, and the formula.
_RULES: dict[tuple[str, str], tuple[str, str]] = {
    ("area", "circle"): ("r", "math.pi * r**2"),
    ("circumference", "circle"): ("r", "2 * math.pi * r"),
    ("perimeter", "circle"): ("r", "2 * math.pi * r"),
    ("area", "square"): ("s", "s**2"),
    ("perimeter", "square"): ("s", "4 * s"),
    ("area", "rectangle"): ("sw", "s * w"),
    ("perimeter", "rectangle"): ("sw", "2 * (s + w)"),
    ("diagonal", "rectangle"): ("sw", "math.hypot(s, w)"),
    ("diagonal", "square"): ("s", "s * math.sqrt(2)"),
    ("area", "triangle"): ("sh", "s * h / 2"),
    ("hypotenuse", "triangle"): ("sw", "math.hypot(s, w)"),
    ("volume", "cube"): ("s", "s**3"),
    ("surface area", "cube"): ("s", "6 * s**2"),
    ("volume", "sphere"): ("r", "4 / 3 * math.pi * r**3"),
    ("surface area", "sphere"): ("r", "4 * math.pi * r**2"),
    ("volume", "cylinder"): ("rh", "math.pi * r**2 * h"),
    ("volume", "cone"): ("rh", "math.pi * r**2 * h / 3"),
    ("volume", "box"): ("swh", "s * w * h"),
}
_SHAPES = (
    "circle|square|rectangle|(?:right |right-angled |right angled )?triangle|cube|sphere|ball"
    "|cylinder|cone|box|cuboid"
)
_QUESTION = re.compile(
    rf"(?:the )?(?P<what>surface area|area|perimeter|circumference|volume|diagonal|hypotenuse)"
    rf"(?: (?:of|for))?(?: (?:an?|the) (?P<shape>{_SHAPES}))?"
    r"(?: (?:with|of|that has|whose|having|if|where|given))?(?: (?:the|an?|its))*(?P<given>.+)"
)
_NAME = "|".join(sorted(_NAMES, key=len, reverse=True))
_GIVEN = re.compile(
    rf" ?(?:and |, ?|by |x |\* )?(?:with |of |the |a |an |its )*(?P<name>(?:{_NAME})"
    r"(?: (?:of|is|being|=))?(?: length)?)? ?(?P<number>\d+(?:\.\d+)?)"
    r"(?: (?P<after>radius|diameter|side|edge|width|height|base))?"
)


def read_shape(text: str) -> Calculate | None:
    """Read a question for a measure of a shape; None when anything in it is not understood."""
    match = _QUESTION.fullmatch(_shape_first(digitised(text)))
    if match is None:
        return None
    default = {"hypotenuse": "triangle", "circumference": "circle"}.get(match["what"], "")
    shape = (match["shape"] or default).rpartition(" ")[2]
    named = {"ball": "sphere", "cuboid": "box"}.get(shape, shape)
    rule = _RULES.get((match["what"], named))
    values = _values(match["given"])
    if rule is None or values is None:
        return None
    setup = _bound(rule[0], values)
    if setup is None:
        return None
    head = "import math\n" if "math." in rule[1] else ""
    code = f"{head}{setup}\nvalue = {rule[1]}\nprint(value)"
    return Calculate(code, f"The {text.removeprefix('the ')}")


def _shape_first(text: str) -> str:
    """Turn "a 4 by 5 rectangle" into "a rectangle 4 by 5"."""
    return re.sub(rf"\ba ([\d.]+(?: (?:by|x|\*) [\d.]+)*) ({_SHAPES})$", r"a \2 \1", text)


def _values(given: str) -> list[tuple[str, str]] | None:
    """Read "radius 3 and height 5", "4 by 5": letters (or none) with numbers, or None."""
    found: list[tuple[str, str]] = []
    position = 0
    given = f" {given.strip()}"
    while position < len(given):
        match = _GIVEN.match(given, position)
        if match is None or match.end() == position:
            return None
        name = re.sub(r" (?:of|is|being|=)$", "", match["name"] or match["after"] or "")
        found.append((_NAMES.get(name.removesuffix(" length"), ""), match["number"]))
        position = match.end()
    return found


def _bound(letters: str, values: list[tuple[str, str]]) -> str | None:
    """Bind numbers to letters; a diameter gives the radius; None when they do not fit."""
    if len(values) != len(letters):
        return None
    bound: dict[str, str] = {}
    for (name, number), expected in zip(values, letters, strict=True):
        letter, value = name or expected, number
        if letter == "d" and "r" in letters:
            letter, value = "r", f"{number} / 2"
        if letter in bound or letter not in letters:
            # The sides of a plane figure may be named as one likes.
            free = [own for own in letters if own not in bound]
            if not set(letters) <= {"s", "w"}:
                return None
            letter = free[0]
        bound[letter] = value
    return "\n".join(f"{letter} = {number}" for letter, number in bound.items())
