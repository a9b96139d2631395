"""The `.env` file: KEY=VALUE lines, quotes, comments, `export`."""

import re

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", '"': '"', "\\": "\\", "$": "$"}


class DotenvError(ValueError):
    """A line that is no assignment; the sentence names the line."""


def parse_dotenv(text: str) -> dict[str, str]:
    r"""Read assignments; the last one of a name wins.

    Parameters
    ----------
    text
        The file's content. A value may stand bare (a `#` after white space starts a comment), in
        single quotes (taken literally) or in double quotes (`\n`, `\t`, `\"`, `\\`, `\$`).

    Raises
    ------
    DotenvError
        When a line is no assignment or a quote is not closed.

    Notes
    -----
    Nothing is expanded: `$HOME` stays `$HOME`. A value ends with its line.
    """
    values: dict[str, str] = {}
    for number, raw in enumerate(text.removeprefix("\ufeff").splitlines(), start=1):
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        name, separator, rest = line.removeprefix("export ").partition("=")
        if not separator or not _NAME.match(name.strip()):
            raise DotenvError(f"line {number} is not NAME=value: {_shown(line)}")
        try:
            values[name.strip()] = _value(rest.strip())
        except ValueError as error:
            raise DotenvError(f"line {number}, {name.strip()}: {error}") from None
    return values


def _shown(line: str) -> str:
    # The left side only: the right side of a mistyped line may be a key.
    return repr(line.partition("=")[0][:40])


def _value(text: str) -> str:
    if text.startswith("'"):
        return _single_quoted(text)
    if text.startswith('"'):
        return _double_quoted(text)
    if text.startswith("#"):
        return ""
    return re.split(r"\s+#", text, maxsplit=1)[0]


def _single_quoted(text: str) -> str:
    end = text.find("'", 1)
    if end < 0:
        raise ValueError("the quote ' is not closed")
    _require_nothing_after(text[end + 1 :])
    return text[1:end]


def _double_quoted(text: str) -> str:
    out: list[str] = []
    characters = iter(enumerate(text[1:], start=1))
    for position, character in characters:
        if character == '"':
            _require_nothing_after(text[position + 1 :])
            return "".join(out)
        if character != "\\":
            out.append(character)
            continue
        _, escaped = next(characters, (0, ""))
        out.append(_ESCAPES.get(escaped, "\\" + escaped))
    raise ValueError('the quote " is not closed')


def _require_nothing_after(rest: str) -> None:
    if rest.strip() and not rest.strip().startswith("#"):
        raise ValueError("there is text after the closing quote")
