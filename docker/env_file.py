"""The lines of `.env`, as both generations of Compose and our scripts read them alike.

Compose takes more forms than these, each generation others. Standard library alone, from Python 3.9
on: it runs on the host. `docker/compose.sh` knows the same forms.
"""
# ruff: noqa: INP001  # a part of check_settings.py, no package

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

_PLAIN = re.compile(
    r"""[ \t]*([A-Za-z_][A-Za-z0-9_]*)=
    (?:'([^']*)'|"([^"\\]*)"|([^'"\s].*?)|)
    [ \t]*(?:(?<=[ \t])(?<!=[ \t])\#.*)?""",
    re.VERBOSE,
)
# Some programs begin a new line at them, and others don't.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
_RULE = (
    "Write NAME=value: no export, no colon, no space beside the =; with a quote in front, one at "
    "its end as well, and no \\ between double ones."
)


@dataclass(frozen=True)
class Assignment:
    """One line; `is_quoted` if its value stands in single quotes."""

    name: str
    value: str
    is_quoted: bool


def read_env_file(path: Path) -> list[Assignment]:
    """Return the assignments of `.env`, none without that file.

    Raises
    ------
    ValueError
        Where lines are no assignments, or are read in several ways. The sentence has their numbers
        alone: any part of a mistyped line may be a key.
    """
    if not path.exists():
        return []
    text = path.read_bytes().decode("utf-8")
    if text.startswith("\ufeff"):
        raise ValueError(".env begins with an invisible byte order mark. Save it without that.")
    found, wrong = [], []
    for number, raw in enumerate(text.split("\n"), start=1):
        line = raw.removesuffix("\r")
        match = _PLAIN.fullmatch(line)
        if _CONTROL.search(line):
            wrong.append(number)
        elif match:
            name, single, double, bare = match.groups()
            found.append(Assignment(name, single or double or bare or "", single is not None))
        elif line.strip() and not line.lstrip().startswith("#"):
            wrong.append(number)
    if wrong:
        shown = ", ".join(map(str, wrong))
        raise ValueError(f".env: what stands in line {shown} is read in several ways. {_RULE}")
    return found


def expanded(
    lines: Iterable[Assignment], ours: set[str], key_files: Mapping[str, str]
) -> list[str]:
    """Return a sentence for each setting of ours that Compose gives another value.

    Parameters
    ----------
    ours
        The names that somebody here reads.
    key_files
        The variable that names a key's file, by the key.

    Notes
    -----
    Compose v2 expands `$NAME`, `${NAME}` and `$$`, except in single quotes; docker-compose 1.29
    `${NAME}` alone, in single quotes as well.
    """
    sentences = []
    for each in lines:
        if each.name not in ours or ("${" if each.is_quoted else "$") not in each.value:
            continue
        file = key_files.get(each.name)
        quoted = "" if "${" in each.value else "put it in single quotes, or "
        cure = f"write it into a file ({file})" if file else "write out what it stands for"
        sentences.append(
            f".env: {each.name} has a $, where Compose puts in something else: {quoted}{cure}."
        )
    return sentences
