"""From the text that a caller sent to a name and perhaps an exact version, and nothing else.

The installer reads its input as a small language (options, URLs, paths, includes,
markers). None of it may be spoken by a caller, so only a plain name passes.
"""

import re
import unicodedata
from dataclasses import dataclass
from typing import Final

from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import Specifier
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from sandbox.packages.refusal import Rule, refusal

_NAME: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,98}[A-Za-z0-9])?")
_VERSION: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.!+_-]{0,62}[A-Za-z0-9])?")
# The resolver reads the parts of a version as 64-bit numbers.
_ENDLESS_NUMBER: Final = re.compile(r"[0-9]{19}")
_ARCHIVES: Final = (".whl", ".zip", ".tar", ".gz", ".bz2", ".xz", ".egg", ".tgz")
# Letters of other scripts that look like ours: the ones that squatters use.
_LOOKALIKES: Final = str.maketrans("аеорсухіјѕԁһԛɡɩοανυρтмкԝ", "aeopcyxijsdhqgioavuptmkw")
# Accents on a letter, and what shows as nothing: joiners, marks of direction.
_UNSEEN: Final = frozenset({"Mn", "Cf"})


@dataclass(frozen=True, slots=True)
class Wish:
    """A package by its normalized name, and the exact version if one was named."""

    name: str
    version: str | None = None

    def line(self) -> str:
        """Return the requirement as the resolver reads it."""
        return self.name if self.version is None else f"{self.name}=={self.version}"


def parse_wish(package: str, version: str | None) -> Wish:
    """Read a caller's wish.

    Raises
    ------
    PackageRefused
        It is not a plain name with at most one exact version.
    """
    _refuse_syntax(package)
    name, pinned = _split(package)
    if version is not None:
        version = _exact(package, version)
    if version is not None and pinned is not None and Version(version) != Version(pinned):
        raise refusal("version", package, "The package and `version` name two versions.")
    return Wish(name, version or pinned)


def _refuse_syntax(package: str) -> None:
    if not package.isascii():
        letters = unicodedata.normalize("NFKD", package)
        seen = (each for each in letters if unicodedata.category(each) not in _UNSEEN)
        plain = "".join(seen).translate(_LOOKALIKES)
        meant = str(canonicalize_name(plain)) if _NAME.fullmatch(plain) else None
        raise refusal("not-ascii", package, "A package's name is plain ASCII.", meant=meant)
    if any(not character.isprintable() for character in package):
        raise refusal("invalid-name", package, "The name holds a line break or control character.")
    questions: tuple[tuple[Rule, bool, str], ...] = (
        ("option", package.lstrip().startswith("-"), "An option is not a package."),
        ("url", "://" in package or "@" in package, "Packages come from the index, not from URLs."),
        ("marker", ";" in package, "Environment markers are not taken."),
        ("extras", "[" in package or "]" in package, "Extras are not taken; name the packages."),
        ("path", _is_path(package), "Packages come from the index, not from files."),
    )
    for rule, is_hit, why in questions:
        if is_hit:
            raise refusal(rule, package, f"{why} Give a plain name such as six.")


def _is_path(package: str) -> bool:
    text = package.strip().lower()
    return "/" in text or "\\" in text or text.startswith((".", "~")) or text.endswith(_ARCHIVES)


def _split(package: str) -> tuple[str, str | None]:
    if _NAME.fullmatch(package):
        return str(canonicalize_name(package)), None
    try:
        requirement = Requirement(package)
    except InvalidRequirement:
        raise refusal(
            "invalid-name", package, "This is not a package's name. Give one name, such as six."
        ) from None
    pins = list(requirement.specifier)
    if not _NAME.fullmatch(requirement.name) or requirement.url or requirement.marker:
        raise refusal("invalid-name", package, "This is not a package's name.")
    if len(pins) != 1 or not _is_exact(pins[0]):
        raise refusal(
            "version", package, "Name one exact version (six==1.17.0), or none for the newest."
        )
    return str(canonicalize_name(requirement.name)), _exact(package, pins[0].version)


def _is_exact(pin: Specifier) -> bool:
    return pin.operator == "==" and not pin.version.endswith(".*")


def _exact(package: str, version: str) -> str:
    try:
        if not _VERSION.fullmatch(version) or _ENDLESS_NUMBER.search(version):
            raise InvalidVersion(version)
        return str(Version(version))
    except InvalidVersion:
        raise refusal(
            "version",
            package,
            "`version` is one exact version such as 1.17.0; leave it out for the newest.",
        ) from None
