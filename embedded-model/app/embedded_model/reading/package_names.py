"""Names of packages in a text, with versions: which they are, and which are known."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from rapidfuzz.distance import OSA

from embedded_model import lexicon

_MIN_SLIP_LETTERS = 5


_NAME = re.compile(
    r"(?P<name>[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)(?P<extras>\[[\w,.-]*\])?"
    r"(?P<spec>(?P<sign>===?|@|=|>=|<=|~=|!=|<|>)v?(?P<version>[\w.+*!-]+))?"
)


_VERSION = re.compile(r"v?(?P<version>\d+(?:\.\d+)*(?:[a-z]+\d*)?(?:\.?(?:post|dev)\d+)?)")


# "The requests library, version 2.31": the version is that of the name before it.
_VERSION_BEHIND = re.compile(
    r"(?:\s+(?:package|library|lib|module))?\s*,?\s+(?=(?:(?:in|at|with) )?version v?\d)",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Item:
    """A package as named: in a version, or in a range of them."""

    name: str
    version: str | None
    is_ranged: bool = False


@cache
def known_names() -> frozenset[str]:
    """Return the names of well-known packages, lower case."""
    return frozenset(lexicon.ordered_words("packages"))


def is_known(name: str) -> bool:
    """Say whether a name is a well-known package's."""
    return canonical(name) in known_names()


def canonical(name: str) -> str:
    """Return a name as the index compares it (PEP 503), but with dots kept as typed."""
    return re.sub(r"[-_]+", "-", name).lower()


@cache
def meant_name(name: str) -> str | None:
    """Return the well-known name that an unknown one is a slip away from."""
    if name in known_names() or len(name) < _MIN_SLIP_LETTERS or "[" in name:
        return None
    return next(
        (
            known
            for known in lexicon.ordered_words("packages")
            if known[0] == name[0]
            and len(known) >= _MIN_SLIP_LETTERS
            and known.isalpha()
            and name.isalpha()
            and OSA.distance(name, known, score_cutoff=1) == 1
        ),
        None,
    )


def items_in(text: str, *, is_loose: bool) -> tuple[Item, ...] | None:
    """Read a list of packages with versions; None when any part is no package."""
    text = text.replace('"', " ").replace("'", " ")
    text = re.sub(r"\s*(===?|>=|<=|~=)\s*", r"\1", text)
    text = _VERSION_BEHIND.sub(" ", text)
    for spoken, name in lexicon.pairs("package_aliases"):
        text = re.sub(rf"(?<![-\w]){re.escape(spoken)}(?![-\w])", name, text, flags=re.IGNORECASE)
    parts = [
        part.strip() for part in re.split(r",|;|\band\b|&|\bplus\b|\balso\b|\bas well as\b", text)
    ]
    items: list[Item] = []
    for part in parts:
        found = _part(part, is_loose=is_loose) if part else ()
        if found is None:
            return None
        items.extend(found)
    return tuple(items) or None


def _part(part: str, *, is_loose: bool) -> tuple[Item, ...] | None:
    tokens = part.split()
    tokens = [token for token in tokens if not token.startswith("-")] if is_loose else tokens
    while tokens and tokens[0].lower() in lexicon.section_words("package_words", "articles"):
        tokens = tokens[1:]
    items: list[Item] = []
    index = 0
    while index < len(tokens):
        item, taken = _item(tokens[index:])
        if item is None:
            return None
        items.append(item)
        index += taken
    is_plain_list = is_loose or len(items) <= 1
    if not is_plain_list and not all(is_known(item.name) or item.version for item in items):
        return None
    return tuple(items)


def _item(tokens: Sequence[str]) -> tuple[Item | None, int]:
    match = _NAME.fullmatch(tokens[0])
    if (
        match is None
        or match["name"].lower() in lexicon.section_words("package_words", "plain")
        or match["name"].isdecimal()
    ):
        return None, 1
    name = match["name"] + (match["extras"] or "")
    if match["spec"]:
        is_exact = match["sign"] in {"==", "===", "@", "="}
        return Item(name, match["version"] if is_exact else None, is_ranged=not is_exact), 1
    following = [token.lower() for token in tokens[1:4]]
    skipped = 0
    while following[skipped:] and following[skipped] in {
        "version",
        "ver",
        "in",
        "at",
        "with",
        "v",
        "release",
        "(version",
    }:
        skipped += 1
    if following[skipped:]:
        version = _VERSION.fullmatch(following[skipped].rstrip(")"))
        if version is not None:
            taken = 2 + skipped
            if tokens[taken : taken + 2] and re.match(r"or|\+", tokens[taken]):
                return Item(name, None, is_ranged=True), len(tokens)
            return Item(name, version["version"]), taken
    return Item(name, None), 1
