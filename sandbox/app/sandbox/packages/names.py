"""Which names are let in: not the blocked ones, and not those that imitate a well-known one.

A name that is well known itself is never suspicious. Any other is compared with the
well-known ones in the ways that squatters use: a slip of the keyboard, a look-alike
letter, dashes left out or put in, words in another order, an added `python-` or `3`.
"""

import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final, Literal

from packaging.utils import canonicalize_name
from rapidfuzz.distance import OSA

from sandbox.packages.objection import Objection
from sandbox.packages.refusal import Rule

# A squatter imitates what many type: the head of the list is compared with, all of it is known.
_IMITATED: Final = 2500
# One edit turns nearly any short name into another.
_LEAST_LETTERS: Final = 4
_TWO_EDITS_LETTERS: Final = 8
_LEAST_LETTERS_BESIDE_AFFIX: Final = 6
_LEAST_LETTERS_OF_ALIAS: Final = 6
_PREFIXES: Final = (
    "python-", "python3-", "python", "py-", "py", "pip-", "lib", "real-", "official-",
)  # fmt: skip
_SUFFIXES: Final = (
    "-python", "-python3", "python", "-py", "py", "-lib", "-dev", "-official", "-pip", "-package",
    "-latest", "-new", "-fixed", "-v2", "-3", "-2", "3", "2",
)  # fmt: skip
_GLYPHS: Final = (("rn", "m"), ("vv", "w"), ("0", "o"), ("1", "l"), ("i", "l"), ("5", "s"))
_INSTALLERS: Final = frozenset(
    {"pip", "setuptools", "wheel", "uv", "distribute", "easy-install", "pipx", "conda"}
)
# Modules that careless packages bring at the top, whatever they are called.
_CARELESS_MODULES: Final = frozenset(
    {"tests", "test", "testing", "docs", "examples", "scripts", "utils", "config", "setup", "src"}
)

NamePolicy = Literal["open", "ask", "ask-unlisted", "allow-list"]
"""What happens to names that are not blocked.

open
    All are let in but the suspicious ones, which are refused.
ask
    As `open`, but a suspicious name waits for an operator's approval.
ask-unlisted
    As `ask`, and each name that is not well known waits too.
allow-list
    Only the operator's own names are let in, dependencies included.
"""


@dataclass(frozen=True)
class NameRules:
    """The name rules as data.

    Parameters
    ----------
    popular
        Well-known names, the most downloaded first, normalized.
    aliases
        Names that people type, with the package that they mean.
    blocked
        Names that are always refused, with the reason.
    allowed
        Names that no other rule on names refuses; not those that are blocked, install packages or
        are Python's own.
    policy
        What happens to the others.
    """

    popular: Sequence[str]
    aliases: Mapping[str, str] = field(default_factory=dict)
    blocked: Mapping[str, str] = field(default_factory=dict)
    allowed: frozenset[str] = frozenset()
    policy: NamePolicy = "open"

    def objection(self, name: str) -> Objection | None:
        """Judge a name that was asked for."""
        if name in _INSTALLERS:
            return Objection(
                "installer",
                name,
                f"{name} installs or builds packages; here the sandbox does that. Ask for the "
                "package that you need itself.",
            )
        meant = self.aliases.get(name)
        if meant is None and self._is_pythons_own(name):
            return Objection(
                "standard-library", name, f"{name} is part of Python; import it without installing."
            )
        if meant is not None and not self._is_settled(name):
            why = f"The package is not called {name}."
            return Objection("alias", name, why, meant, can_be_allowed=True)
        return self.dependency_objection(name)

    def dependency_objection(self, name: str) -> Objection | None:
        """Judge a name of the closure; installers are ordinary there."""
        if (reason := self.blocked.get(name)) is not None:
            return Objection("blocked", name, f"{name} is blocked: {reason}.", self._near(name))
        if name in self.allowed:
            return None
        if self.policy == "allow-list":
            why = f"Only packages on this sandbox's own list are let in; {name} is not on it."
            return Objection("allow-list", name, why, can_be_allowed=True)
        return None if name in self._known else self._unknown_objection(name)

    def _is_pythons_own(self, name: str) -> bool:
        return name.replace("-", "_") in sys.stdlib_module_names and name not in self._known

    def _is_settled(self, name: str) -> bool:
        """Whether an operator, or the list of blocked names, has spoken of it."""
        return name in self.allowed or name in self.blocked

    def _unknown_objection(self, name: str) -> Objection | None:
        waits = self.policy in {"ask", "ask-unlisted"}
        if (found := self._imitated(name)) is not None:
            rule, meant = found
            why = f"{name} is little known, and its name is nearly that of a well-known package."
            return Objection(rule, name, why, meant, can_be_allowed=True, waits=waits)
        if self.policy == "ask-unlisted":
            why = f"{name} is not well known."
            return Objection("unlisted", name, why, can_be_allowed=True, waits=True)
        return None

    def is_trusted(self, name: str) -> bool:
        """Whether a package is well known, or an operator allowed it."""
        return name in self._known or name in self.allowed

    def shadowing(self, name: str, modules: Iterable[str]) -> Objection | None:
        """Judge the modules that a package defines: they may be a well-known package's."""
        if self.is_trusted(name):
            return None
        for module in modules:
            if module in _CARELESS_MODULES or module in sys.stdlib_module_names:
                continue  # what stands first on the path wins, and that is Python's own
            plain = str(canonicalize_name(module))
            meant = plain if plain in self._head_names else self.aliases.get(plain)
            if meant is not None and meant != name:
                return Objection(
                    "shadows",
                    name,
                    f"It brings a module {module}, which is that of another package.",
                    meant,
                    can_be_allowed=True,
                )
        return None

    @cached_property
    def _known(self) -> frozenset[str]:
        return frozenset(self.popular)

    @cached_property
    def _head(self) -> tuple[str, ...]:
        return tuple(name for name in self.popular[:_IMITATED] if len(name) >= _LEAST_LETTERS)

    @cached_property
    def _long_aliases(self) -> tuple[str, ...]:
        # Many type these, and whoever slips has another package's name at once.
        return tuple(name for name in self.aliases if len(name) >= _LEAST_LETTERS_OF_ALIAS)

    @cached_property
    def _head_names(self) -> frozenset[str]:
        return frozenset(self.popular[:_IMITATED])

    @cached_property
    def _by_form(self) -> tuple[Mapping[str, str], Mapping[str, str], Mapping[str, str]]:
        # The more popular name wins where two share a form: it is written last.
        names = tuple(reversed(self._head))
        return (
            {_squashed(name): name for name in names},
            {_skeleton(name): name for name in names},
            {_bag_of_words(name): name for name in names},
        )

    def _imitated(self, name: str) -> tuple[Rule, str] | None:
        squashed, skeletons, bags = self._by_form
        if (meant := squashed.get(_squashed(name))) is not None:
            return "dashes", meant
        if (meant := skeletons.get(_skeleton(name))) is not None:
            return "look-alike", meant
        if "-" in name and (meant := bags.get(_bag_of_words(name))) is not None:
            return "word-order", meant
        if (meant := self._without_affix(name)) is not None:
            return "affix", meant
        near = self._near(name)
        return None if near is None else ("near-name", near)

    def _without_affix(self, name: str) -> str | None:
        once = list(_bare_forms(name))
        twice = [bare for form in once for bare in _bare_forms(form)]
        found = next((bare for bare in (*once, *twice) if bare in self._head_names), None)
        if found is not None:
            return found
        # A slip as well as an affix; only where a dash shows that it is one.
        split = [bare for bare in once if f"-{bare}" in name or f"{bare}-" in name]
        near = (self._near(bare) for bare in split if len(bare) >= _LEAST_LETTERS_BESIDE_AFFIX)
        return next((meant for meant in near if meant is not None), None)

    def _near(self, name: str) -> str | None:
        if len(name) < _LEAST_LETTERS:
            return None
        best: tuple[int, str] | None = None
        for known in (*self._head, *self._long_aliases):
            edits = 2 if min(len(known), len(name)) >= _TWO_EDITS_LETTERS else 1
            distance = OSA.distance(name, known, score_cutoff=edits)
            if 0 < distance <= edits and (best is None or distance < best[0]):
                best = (distance, known)
        return self.aliases.get(best[1], best[1]) if best else None


def _bare_forms(name: str) -> Iterable[str]:
    for prefix in _PREFIXES:
        if name.startswith(prefix):
            yield name.removeprefix(prefix)
    for suffix in _SUFFIXES:
        if name.endswith(suffix):
            yield name.removesuffix(suffix)


def _squashed(name: str) -> str:
    return name.replace("-", "")


def _skeleton(name: str) -> str:
    for glyph, plain in _GLYPHS:
        name = name.replace(glyph, plain)
    return _squashed(name)


def _bag_of_words(name: str) -> str:
    return "-".join(sorted(name.split("-")))
