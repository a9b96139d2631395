"""The rule files: the shipped ones, and an operator's own of the same form.

    allowed.txt    one name a line; # begins a comment
    blocked.json   {"name": "the reason, as a caller reads it"}
    aliases.json   {"what people type": "the package"}
    popular.txt    well-known names, the most downloaded first; an operator's own go before

Names may be written in any case, with dashes, dots or underscores.
"""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Final

from packaging.utils import canonicalize_name

from sandbox.packages.names import NamePolicy, NameRules

RULE_FILES: Final = ("allowed.txt", "blocked.json", "aliases.json", "popular.txt")
_NAME: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?")


class RuleFileError(ValueError):
    """A rule file can't be read; the text says which and where."""


@dataclass(frozen=True)
class RuleData:
    """What one folder of rule files says."""

    allowed: tuple[str, ...] = ()
    blocked: Mapping[str, str] | None = None
    aliases: Mapping[str, str] | None = None
    popular: tuple[str, ...] = ()


def parse_rule_files(texts: Mapping[str, str]) -> RuleData:
    """Read rule files.

    Parameters
    ----------
    texts
        Content by file name; a file that is not there says nothing.

    Raises
    ------
    RuleFileError
        A line is no name, or JSON is of another form.
    """
    return RuleData(
        allowed=_names("allowed.txt", texts.get("allowed.txt", "")),
        blocked=_table("blocked.json", texts.get("blocked.json", "{}")),
        aliases={
            name: _name("aliases.json", meant)
            for name, meant in _table("aliases.json", texts.get("aliases.json", "{}")).items()
        },
        popular=_names("popular.txt", texts.get("popular.txt", "")),
    )


@cache
def shipped_rules() -> RuleData:
    """Return the rules that are shipped."""
    data = files("sandbox.packages") / "data"
    return parse_rule_files({name: (data / name).read_text("utf-8") for name in RULE_FILES})


def name_rules(
    own: RuleData,
    *,
    allow: Iterable[str] = (),
    block: Iterable[str] = (),
    policy: NamePolicy = "open",
) -> NameRules:
    """Join the shipped rules with an operator's files and settings; the operator's win.

    Parameters
    ----------
    allow, block
        Names from settings. What is blocked there is not allowed by any file.
    """
    shipped = shipped_rules()
    told = {
        str(canonicalize_name(name)): "an operator of this sandbox blocked it" for name in block
    }
    own_blocked = {**(own.blocked or {}), **told}
    named = {str(canonicalize_name(name)) for name in (*own.allowed, *allow)}
    allowed = (named | set(shipped.allowed)) - own_blocked.keys()
    return NameRules(
        popular=tuple(dict.fromkeys((*own.popular, *shipped.popular))),
        aliases={**(shipped.aliases or {}), **(own.aliases or {})},
        blocked={**(shipped.blocked or {}), **own_blocked},
        allowed=frozenset(allowed),
        policy=policy,
    )


def _names(file: str, text: str) -> tuple[str, ...]:
    lines = (line.split("#", 1)[0].strip() for line in text.splitlines())
    return tuple(_name(file, line) for line in lines if line)


def _name(file: str, text: str) -> str:
    if not _NAME.fullmatch(text):
        raise RuleFileError(f"{file}: {text[:60]!r} is no package's name")
    return str(canonicalize_name(text))


def _table(file: str, text: str) -> dict[str, str]:
    try:
        table = json.loads(text)
    except ValueError as error:
        raise RuleFileError(f"{file} is no JSON: {error}") from None
    if not isinstance(table, dict) or not all(isinstance(value, str) for value in table.values()):
        raise RuleFileError(f'{file} is not of the form {{"name": "text"}}')
    return {_name(file, name): value for name, value in table.items()}
