"""Code inside a message: in fences, in backticks, after a colon, on lines of its own, or bare.

What is found is kept to the letter. In the prose a mark (`§0§`) takes its place.
"""

import re
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice

from embedded_model.reading.python_text import is_bare_expression, is_code, is_inline_code
from embedded_model.wording import straighten_quotes

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
# Words between "the code" and the code itself. Each is a fine name in Python, too: "below" on a
# line of its own parses, and so does "below: x = 1".
_POINTERS = (
    r"(?:below|underneath|above|here|now|please|pls|for me|too|as well|shown|given|that follows"
    r"|which follows|what follows|follows)(?!\s*[-+*/%|&]?=|\s*[.(\[])"
)
# A header that says: the code follows.
_HEADER = re.compile(
    r"\b(?:run|execute|exec|eval|evaluate|try|test|code|python|script"
    r"|snippet|this|it|following|prints?|lines?|program|expression|block|(?:output|result)s? of"
    rf"|outputs?|return|do|interpret|process)(?:,?\s+{_POINTERS})*\W*$",
    re.IGNORECASE,
)
_RUN_VERB = re.compile(
    r"\b(?:run|execute|exceute|excute|exec|eval|evaluate|rnu|interpret|try"
    r"|test)\b(?:\s+(?:this|the|my|following"
    r"|python3?|py|code|snippet|script|command|program|line|also|it"
    rf"|statement|expression|block|lines|{_POINTERS}))*\s*:?\s+",
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
            if candidate and (is_code(candidate) or is_bare_expression(candidate)):
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
            if is_inline_code(candidate, accepts_bare=accepts_bare):
                return start, stop, candidate
    return None


def _unquoted(span: str) -> str:
    """Take the quotes off `"print(5)"`; an empty text when there are none."""
    span = straighten_quotes(span)
    is_quoted = len(span) > 2 and span[0] == span[-1] and span[0] in "\"'"  # noqa: PLR2004  # quotes around something
    return span[1:-1].strip() if is_quoted else ""
