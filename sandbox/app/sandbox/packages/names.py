"""Which names are let in: not the blocked ones, and not those that imitate a well-known one.

A name that is well known itself is never suspicious. Any other is compared with the
well-known ones in the ways that squatters use: a slip of the keyboard, a look-alike
letter, dashes left out or put in, words in another order, an added `python-` or `3`.
"""

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files
from typing import Final

from packaging.utils import canonicalize_name
from rapidfuzz.distance import OSA

from sandbox.packages.refusal import refusal

# A squatter imitates what many type: the head of the list is compared with, all of it is known.
_IMITATED: Final = 2500
# One edit turns nearly any short name into another.
_LEAST_LETTERS: Final = 4
_TWO_EDITS_LETTERS: Final = 8
_PREFIXES: Final = (
    "python-",
    "python3-",
    "python",
    "py-",
    "py",
    "pip-",
    "lib",
    "real-",
    "official-",
)
_SUFFIXES: Final = (
    "-python", "-python3", "python", "-py", "py", "-lib", "-dev", "-official", "-pip", "-package",
    "-latest", "-new", "-fixed", "-v2", "-3", "-2", "3", "2",
)  # fmt: skip
_GLYPHS: Final = (("rn", "m"), ("vv", "w"), ("0", "o"), ("1", "l"), ("i", "l"), ("5", "s"))
_INSTALLERS: Final = frozenset({"pip", "setuptools", "wheel", "uv", "distribute", "easy-install"})

_ALLOW: Final = "An operator can let it in with SANDBOX_PACKAGES_ALLOW={name}."


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
        Names that no rule refuses.
    """

    popular: Sequence[str]
    aliases: Mapping[str, str]
    blocked: Mapping[str, str]
    allowed: frozenset[str] = frozenset()

    def vet(self, name: str) -> None:
        """Let a requested name pass.

        Raises
        ------
        PackageRefused
            A rule refuses it; the error says which, and what was probably meant.
        """
        if name in self.allowed:
            return
        if name in _INSTALLERS:
            raise refusal(
                "installer",
                name,
                f"{name} installs packages; here the sandbox does that. Ask for the package that "
                "you need itself.",
            )
        if (meant := self.aliases.get(name)) is not None:
            raise refusal("alias", name, f"The package is not called {name}.", meant=meant)
        if name.replace("-", "_") in sys.stdlib_module_names and name not in self._known:
            raise refusal(
                "standard-library", name, f"{name} is part of Python; import it without installing."
            )
        self.vet_dependency(name)

    def vet_dependency(self, name: str) -> None:
        """Let a name of the closure pass; installers are ordinary there.

        Raises
        ------
        PackageRefused
            It is blocked or imitates a well-known name.
        """
        if name in self.allowed:
            return
        if (reason := self.blocked.get(name)) is not None:
            raise refusal("blocked", name, f"{name} is blocked: {reason}.", meant=self._near(name))
        if name in self._known:
            return
        found = self._imitated(name)
        if found is not None:
            rule, meant = found
            raise refusal(
                rule,
                name,
                f"{name} is little known, and its name is nearly that of a well-known package.",
                meant=meant,
                operator=_ALLOW.format(name=name),
            )

    @cached_property
    def _known(self) -> frozenset[str]:
        return frozenset(self.popular)

    @cached_property
    def _head(self) -> tuple[str, ...]:
        return tuple(name for name in self.popular[:_IMITATED] if len(name) >= _LEAST_LETTERS)

    @cached_property
    def _by_form(self) -> tuple[Mapping[str, str], Mapping[str, str], Mapping[str, str]]:
        # The more popular name wins where two share a form: it is written last.
        names = tuple(reversed(self._head))
        return (
            {_squashed(name): name for name in names},
            {_skeleton(name): name for name in names},
            {_bag_of_words(name): name for name in names},
        )

    def _imitated(self, name: str) -> tuple[str, str] | None:
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
        head = frozenset(self._head)
        for bare in _bare_forms(name):
            if bare in head:
                return bare
        return None

    def _near(self, name: str) -> str | None:
        if len(name) < _LEAST_LETTERS:
            return None
        best: tuple[int, str] | None = None
        for known in self._head:
            edits = 2 if min(len(known), len(name)) >= _TWO_EDITS_LETTERS else 1
            distance = OSA.distance(name, known, score_cutoff=edits)
            if 0 < distance <= edits and (best is None or distance < best[0]):
                best = (distance, known)
        return best[1] if best else None


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


def load_name_rules(*, allow: Iterable[str] = (), block: Iterable[str] = ()) -> NameRules:
    """Read the rules that are shipped, and add the operator's."""
    data = files("sandbox.packages") / "data"
    aliases: dict[str, str] = json.loads((data / "aliases.json").read_text("utf-8"))
    blocked: dict[str, str] = json.loads((data / "blocked.json").read_text("utf-8"))
    allowed = (data / "allowed.txt").read_text("utf-8").split()
    own = {str(canonicalize_name(name)): "an operator of this sandbox blocked it" for name in block}
    return NameRules(
        popular=tuple((data / "popular.txt").read_text("utf-8").split()),
        aliases=aliases,
        blocked=blocked | own,
        allowed=frozenset(str(canonicalize_name(name)) for name in (*allowed, *allow)) - own.keys(),
    )
