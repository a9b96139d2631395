"""Code inside a message: in fences, in backticks, after a colon, on lines of its own, or bare.

What is found is kept to the letter. In the prose a mark (`§0§`) takes its place.
"""

import ast
import re
import textwrap
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice

from embedded_model.reading.arithmetic import parse_formula
from embedded_model.wording import straighten, straighten_quotes

PYTHON_NAMES = frozenset({"", "python", "py", "python3", "py3", "ipython", "pycon", "text", "code"})
SHELL_NAMES = frozenset({"bash", "sh", "shell", "console", "zsh", "cmd", "terminal", "powershell"})

# Nobody names a variable so and uses it with a blank behind: `ls -la`, `rm -rf /`, `cat x.txt`.
_COMMAND = re.compile(
    r"\s*(?:\$ )?(?:sudo |(?:ls|rm|cat|cd|cp|mv|mkdir|rmdir|touch|chmod|chown|curl|wget|grep"
    r"|sed|awk|apt|apt-get|yum|brew|npm|npx|yarn|git|docker|kubectl|ssh|scp|ping|ps|kill|top|df|du"
    r"|whoami|pwd|uname|ifconfig|tar|unzip|make|gcc|systemctl|service|echo|pip3?|conda|uv|python3?|bash"
    r"|sh)"
    r"(?:\s+[^\s=(.\[]|\s+\.|\s*$))"
)
_FENCE = re.compile(
    r"(?P<fence>```|~~~)[ \t]*(?P<language>[\w+#-]*)[ \t]*\n(?P<code>.*?)(?:\n[ \t]*)?(?P=fence)"
    r"|(?P<flat>```)(?P<flat_code>[^\n]+?)```",
    re.DOTALL,
)
_OPEN_FENCE = re.compile(
    r"(?:```|~~~)[ \t]*(?P<language>[\w+#-]*)[ \t]*\n(?P<code>.*)\Z", re.DOTALL
)
_BACKTICKS = re.compile(r"``([^`\n]+)``|`([^`\n]+)`")
_STATEMENT = re.compile(
    r"^\s*(?:print\s*\(|import \w|from [\w.]+ import |def \w+\s*\(|class \w+.*:|for .+ in .+:"
    r"|while .+:|if .+:|try:|with .+:|@\w|async def |raise \w|assert \S|[\w.\[\]'\"]+ ?[-+*/]?= ?\S"
    r"|[a-zA-Z_][\w.]*\(.*|#)"
)
# A header that says: the code follows.
_HEADER = re.compile(
    r"\b(?:run|execute|exec|eval|evaluate|try|test|code|python|script"
    r"|snippet|this|it|following|prints?"
    r"|outputs?|return|do|interpret|process)\W*$",
    re.IGNORECASE,
)
_RUN_VERB = re.compile(
    r"\b(?:run|execute|exceute|excute|exec|eval|evaluate|rnu|interpret|try"
    r"|test)\b(?:\s+(?:this|the|my|following"
    r"|python3?|py|code|snippet|script|command|program|line|also|it"
    r"|statement|expression))*\s*:?\s+",
    re.IGNORECASE,
)
_MAX_INLINE = 4000
_MAX_HEAD = 4000
# Where code inside a sentence may begin and end is tried out; nobody needs more tries than these.
_MAX_STARTS = 120
_MAX_TAILS = 30
_MAX_SPANS = 200
_TAILS = re.compile(
    r"\s(?=(?:in (?:python|the sandbox)|with python|using python|and|then"
    r"|prints?|outputs?|returns?|evaluates?|gives?|gets?|do"
    r"|does|please|pls|for me|produce|yield"
    r"|equals?|to|result|show|display|mean|is|what|after|before|also|thanks"
    r"|now|again)\b)|[?.!,;]+(?=\s|$)|$",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Code:
    """A piece of code found in a message."""

    text: str
    language: str = ""
    is_fenced: bool = False

    @property
    def is_python(self) -> bool:
        """Say whether nothing declares another language."""
        return self.language in PYTHON_NAMES

    @property
    def is_command(self) -> bool:
        """Say whether it is undeclared, no Python, and begins as a shell's commands do."""
        is_open = self.language in {"", "text", "code"}
        return is_open and _COMMAND.match(self.text) is not None and not is_code(self.text)

    @property
    def is_shell(self) -> bool:
        """Say whether it is declared as shell commands."""
        return self.language in SHELL_NAMES


# Keeps a piece of code, and returns the mark that takes its place.
Keep = Callable[[Code], str]


@dataclass(frozen=True, slots=True)
class MarkedText:
    """Prose with marks, and the code that they stand for."""

    prose: str
    codes: tuple[Code, ...]


def mark(index: int) -> str:
    """Return the mark of a piece of code."""
    return f"§{index}§"


def find_code(message: str) -> MarkedText:
    """Take all code out of a message."""
    codes: list[Code] = []
    text = message.replace("§", " ").replace("\r\n", "\n")

    def keep(code: Code) -> str:
        codes.append(code)
        return f" {mark(len(codes) - 1)} "

    text = _FENCE.sub(lambda match: keep(_fenced(match)), text)
    text = _OPEN_FENCE.sub(
        lambda match: keep(Code(match["code"].rstrip(), match["language"].lower(), True)), text
    )
    text = _with_ticks_inside(text, keep)
    text = _BACKTICKS.sub(lambda match: _backticked(match, keep), text)
    if not codes and (whole := _whole(text)) is not None:
        return MarkedText(mark(0), (Code(whole),))
    text = _after_header(text, keep)
    text = _own_lines(_after_verb(text, keep), keep)
    return MarkedText(_inside_lines(text, keep), tuple(codes))


def _with_ticks_inside(text: str, keep: Keep) -> str:
    """Keep code that has backticks in its own strings or comments: `run print("a `b`")`.

    Notes
    -----
    A backtick is no sign of Python's: what parses with one in it has it in a literal.
    """
    if "`" not in text or "\u00a7" in text:
        return text
    stripped = textwrap.dedent(text.strip("\n")).strip()
    if is_code(stripped):
        return keep(Code(stripped))
    for verb in islice(_RUN_VERB.finditer(text), 3):
        rest = textwrap.dedent(text[verb.end() :]).strip()
        if "`" in rest and is_code(rest):
            return f"{text[: verb.end()]}{keep(Code(rest))}"
    if len(text) > _MAX_INLINE:
        return text
    found = _inline(text)
    while found is not None and "`" in found[2]:
        start, stop, code = found
        text = f"{text[:start]}{keep(Code(code))}{text[stop:]}"
        found = _inline(text)
    return text


_NAME = re.compile(r"[^\W\d][\w.-]*|[\w.-]+==[\w.]+")
_BEFORE_CODE = re.compile(
    r"\b(?:run|execute|evaluate|eval|exec|print|code|output of|value of|python)\W*$", re.IGNORECASE
)


def _backticked(match: re.Match[str], keep: Keep) -> str:
    """Keep code in backticks; a name there, such as `numpy` in a sentence, is only a word."""
    inside = (match[1] or match[2]).strip()
    before, after = match.string[: match.start()], match.string[match.end() :]
    is_alone = not before.strip() and not after.strip()
    if _NAME.fullmatch(inside) and not is_alone and not _BEFORE_CODE.search(before):
        return inside
    return keep(Code(inside))


def _fenced(match: re.Match[str]) -> Code:
    if match["flat"]:
        first, _, rest = match["flat_code"].strip().partition(" ")
        named = rest and first.lower() in (PYTHON_NAMES | SHELL_NAMES) - {""}
        return Code(rest if named else match["flat_code"].strip(), is_fenced=True)
    return Code(match["code"].rstrip("\n"), match["language"].lower(), is_fenced=True)


def _whole(text: str) -> str | None:
    """Return the message itself when it is nothing but code."""
    stripped = text.strip("\n").rstrip()
    for candidate in (textwrap.dedent(stripped).strip(), straighten_quotes(stripped).strip()):
        if is_code(candidate):
            return candidate
    lines = stripped.strip().splitlines()
    looks_broken = bool(lines) and _looks_broken(stripped.strip())
    return stripped.strip() if looks_broken else None


def _looks_broken(text: str) -> bool:
    """Say whether a text was meant as code, though Python refuses it."""
    lines = [line for line in text.splitlines() if line.strip()]
    begins = bool(
        re.match(r"(?:print\s*\(|import \w+ |def \w+\(|for \w+ in |while |class \w+)", text)
    )
    if len(lines) > 1:
        return begins and all(_STATEMENT.match(line) or line[0] in " \t)" for line in lines)
    return (
        text.startswith(("print(", "print ("))
        and text.count(" and what ") == 0
        and not _splits(text)
    )


def _splits(text: str) -> bool:
    """Say whether good code stands at the front and prose after it."""
    return any(
        is_code(text[: match.start()].strip()) for match in _TAILS.finditer(text) if match.start()
    )


def _after_header(text: str, keep: Keep) -> str:
    """Find code after `run this:` or on the lines after `run this`."""
    for match in re.finditer(r":[ \t]*\n?|\n", text):
        if match.start() > _MAX_HEAD:
            break
        head, tail = text[: match.start()], text[match.end() :]
        if not _HEADER.search(head) or "§" in tail:
            continue
        body = textwrap.dedent(tail.strip("\n")).rstrip()
        for candidate in (body.strip(), straighten_quotes(body).strip(), _unquoted(body.strip())):
            if candidate and (is_code(candidate) or _is_bare_expression(candidate)):
                return f"{head}: {keep(Code(candidate))}"
        if _STATEMENT.match(body) and _looks_broken(body.strip()):
            return f"{head}: {keep(Code(body.strip()))}"
    return text


def _after_verb(text: str, keep: Keep) -> str:
    """Find code of several lines whose first stands behind the verb: `run x = 1`, `print(x)`."""
    for verb in islice(_RUN_VERB.finditer(text), 3):
        rest = text[verb.end() :].rstrip()
        if (
            ("\n" in rest or len(rest) > _MAX_INLINE // 2)
            and "\u00a7" not in rest
            and is_code(rest)
        ):
            return f"{text[: verb.end()]}{keep(Code(rest))}"
    return text


def _own_lines(text: str, keep: Keep) -> str:
    """Find lines of code between lines of prose."""
    lines = text.split("\n")
    if len(lines) < 2:  # noqa: PLR2004  # one line is handled with its words
        return text
    spans = (
        (start, stop)
        for start in range(len(lines))
        if _STATEMENT.match(lines[start])
        for stop in range(len(lines), start, -1)
        if lines[stop - 1].strip()
    )
    # Parsing every span of a long message would take quadratic time.
    for start, stop in islice(spans, _MAX_SPANS):
        block = textwrap.dedent("\n".join(lines[start:stop])).strip()
        if is_code(block):
            return "\n".join([*lines[:start], keep(Code(block)), *lines[stop:]])
    return text


def _inside_lines(text: str, keep: Keep) -> str:
    """Find code within a sentence: `what does print(1) print?`."""
    if len(text) > _MAX_INLINE:
        return text
    found = _inline(text)
    while found is not None:
        start, stop, code = found
        text = f"{text[:start]}{keep(Code(code))}{text[stop:]}"
        found = _inline(text)
    return text


def _inline(text: str) -> tuple[int, int, str] | None:
    for verb in _RUN_VERB.finditer(text):
        found = _longest(text, verb.end(), accepts_bare=True)
        if found is not None:
            return found
    if not re.search(r"[(\[]|\bimport\b|[\"'] ?[*+%]|[*+%] ?[\"']", text):
        return None
    for start in _starts(text):
        found = _longest(text, start, accepts_bare=False)
        if found is not None:
            return found
    return None


def _starts(text: str) -> Iterator[int]:
    found = re.finditer(r"(?:^|(?<=[\s:;,]))(?=[\w\"'\[({])", text)
    yield from (match.start() for match in islice(found, _MAX_STARTS))


def _longest(text: str, start: int, *, accepts_bare: bool) -> tuple[int, int, str] | None:
    line_end = text.find("§", start)
    limit = len(text) if line_end < 0 else line_end
    tails = (match.start() for match in _TAILS.finditer(text, start, limit))
    stops = list(islice((tail for tail in tails if tail > start), _MAX_TAILS))
    if limit not in stops and limit > start:
        stops.append(limit)
    for stop in sorted(stops, reverse=True):
        span = text[start:stop].strip().rstrip(",")
        for candidate in dict.fromkeys((span, straighten_quotes(span), _unquoted(span))):
            if _is_inline_code(candidate, accepts_bare=accepts_bare):
                return start, stop, candidate
    return None


def _unquoted(span: str) -> str:
    """Take the quotes off `"print(5)"`; an empty text when there are none."""
    span = straighten_quotes(span)
    is_quoted = len(span) > 2 and span[0] == span[-1] and span[0] in "\"'"  # noqa: PLR2004  # quotes around something
    return span[1:-1].strip() if is_quoted else ""


def _is_inline_code(candidate: str, *, accepts_bare: bool) -> bool:
    if not candidate or "\n\n" in candidate:
        return False
    tree = _parse(candidate)
    if tree is None:
        return False
    if accepts_bare:
        return is_code(candidate) or (_is_bare_expression(candidate) and not _is_sum(candidate))
    return is_code(candidate) and any(
        isinstance(
            node, ast.Call | ast.ListComp | ast.Import | ast.ImportFrom | ast.Subscript | ast.BinOp
        )
        for node in ast.walk(tree)
    )


@lru_cache(maxsize=2048)
def _parse(text: str) -> ast.Module | None:
    with warnings.catch_warnings():
        # Python warns about `1and 2`; prose must not end up on our log.
        warnings.simplefilter("ignore")
        try:
            return ast.parse(text)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return None


def is_code(text: str) -> bool:
    """Say whether a text is Python and looks as nobody writes prose or a sum."""
    tree = _parse(text)
    if tree is None or not tree.body or _is_sum(text) or _has_loose_call(tree, text):
        return False
    if _runs_into_prose(tree, text):
        return False
    return any(_is_telling(statement) for statement in tree.body)


def _has_loose_call(tree: ast.Module, text: str) -> bool:
    """Say whether a "call" is prose before a bracket: `compute (3 + 4)`, `what is 5(3)`."""
    lines = [line.encode() for line in text.splitlines()]
    for node in ast.walk(tree):
        if isinstance(node, ast.AnnAssign | ast.Compare) and (
            _is_prose_node(node) or _names_the_means(node)
        ):
            return True
        if isinstance(node, ast.Call):
            named, opening = node.func, b"("
        elif isinstance(node, ast.Subscript):
            named, opening = node.value, b"["
        else:
            continue
        if isinstance(named, ast.Constant) and isinstance(node, ast.Call):
            return True
        if isinstance(named, ast.Name) and named.id != "print" and named.end_col_offset:
            row = (named.end_lineno or 1) - 1
            if lines[row][named.end_col_offset : named.end_col_offset + 1] != opening:
                return True
    return False


def _runs_into_prose(tree: ast.Module, text: str) -> bool:
    """Say whether the code takes in a word before it or the sentence behind it."""
    if len(tree.body) == 1 and _is_joined_prose(tree.body[0]):
        return True
    lines = [line.encode() for line in text.splitlines()]
    return any(
        isinstance(node, ast.Attribute) and _is_next_sentence(node, lines)
        for node in ast.walk(tree)
    )


def _is_joined_prose(statement: ast.stmt) -> bool:
    """Say whether "tokyo and print(1)" is a word of prose, joined to code."""
    return (
        isinstance(statement, ast.Expr)
        and isinstance(statement.value, ast.BoolOp)
        and any(isinstance(value, ast.Name) for value in statement.value.values)
    )


def _is_next_sentence(node: ast.Attribute, lines: Sequence[bytes]) -> bool:
    """Say whether `print(1). Then` is code, a full stop and the next sentence."""
    if node.value.end_lineno != node.end_lineno or node.end_col_offset is None:
        return False
    line = lines[(node.end_lineno or 1) - 1]
    between = line[node.value.end_col_offset or 0 : node.end_col_offset - len(node.attr.encode())]
    return between.endswith(b" ") and not between.startswith(b" ")


_PROSE_NAMES = frozenset(
    [
        "run",
        "execute",
        "exec",
        "eval",
        "evaluate",
        "test",
        "try",
        "code",
        "python",
        "script",
        "snippet",
        "please",
        "this",
        "it",
        "what",
        "who",
        "that",
        "which",
        "there",
        "question",
        "task",
        "example",
        "note",
        "output",
        "input",
        "result",
        "calculate",
        "compute",
        "install",
        "here",
        "time",
    ]
)


def _names_the_means(node: ast.AnnAssign | ast.Compare) -> bool:
    """Say whether `print(1) in python` only happens to be Python."""
    if not isinstance(node, ast.Compare):
        return False
    last = node.comparators[-1]
    means = {"python", "python3", "sandbox", "terminal", "jupyter", "ipython", "repl"}
    return (
        isinstance(node.ops[-1], ast.In) and isinstance(last, ast.Name) and last.id.lower() in means
    )


def _is_prose_node(node: ast.AnnAssign | ast.Compare) -> bool:
    """Say whether "Execute: x = 1" or "What is f(x)" only happens to be Python."""
    if isinstance(node, ast.AnnAssign):
        return isinstance(node.target, ast.Name) and node.target.id.lower() in _PROSE_NAMES
    is_identity = isinstance(node.ops[0], ast.Is | ast.IsNot | ast.In)
    return is_identity and isinstance(node.left, ast.Name) and node.left.id.lower() in _PROSE_NAMES


def _is_sum(text: str) -> bool:
    lowered = straighten(text).lower()
    parts = [lowered, *re.split(r"\s+and\s+|,\s*(?:and\s+)?", lowered)]
    is_several = lowered not in parts[1:]
    return _is_formula(lowered) or (is_several and all(map(_is_formula, parts[1:])))


def _is_formula(text: str) -> bool:
    return parse_formula(text) is not None or parse_formula(text, variable="x") is not None


def _is_telling(statement: ast.stmt) -> bool:
    match statement:
        case ast.Expr(value=value):
            return _is_telling_expression(value)
        case ast.AnnAssign(value=None):
            return False  # "note: this" is prose
        case ast.Pass() | ast.Break() | ast.Continue() | ast.Global() | ast.Nonlocal():
            return False
        case ast.Return() | ast.Delete():
            return False
        case _:
            return True


def _is_telling_expression(value: ast.expr) -> bool:
    if isinstance(value, ast.Call):
        return True
    if isinstance(value, ast.Compare | ast.BoolOp | ast.Name | ast.Constant | ast.UnaryOp):
        return any(isinstance(node, ast.Call) for node in ast.walk(value))
    if isinstance(value, ast.BinOp):
        return any(
            isinstance(node, ast.Call | ast.List | ast.JoinedStr | ast.Subscript)
            or (isinstance(node, ast.Constant) and isinstance(node.value, str))
            for node in ast.walk(value)
        )
    if isinstance(value, ast.Tuple):
        return any(_is_telling_expression(item) for item in value.elts)
    return any(
        isinstance(
            node,
            ast.Call | ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp | ast.List
            | ast.Dict | ast.Lambda | ast.Subscript | ast.JoinedStr,
        )
        for node in ast.walk(value)
    )  # fmt: skip


def _is_bare_expression(text: str) -> bool:
    """Say whether a text after "run" is an expression with a sign or a literal in it."""
    tree = _parse(text)
    if tree is None or len(tree.body) != 1 or not isinstance(tree.body[0], ast.Expr):
        return False
    value = tree.body[0].value
    if isinstance(value, ast.Compare):
        return not any(isinstance(operator, ast.In | ast.NotIn | ast.Is) for operator in value.ops)
    if isinstance(value, ast.BinOp):  # `hello-world` is a name, and no difference
        return any(isinstance(node, ast.Constant | ast.Call) for node in ast.walk(value))
    return isinstance(value, ast.List | ast.Dict | ast.Set | ast.JoinedStr)
