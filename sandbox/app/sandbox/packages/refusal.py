"""How a refusal reads: the rule, what was probably meant, and what an operator can do."""

from collections.abc import Mapping
from typing import Final, Literal

from sandbox.errors import PackageRefused

Rule = Literal[
    "archive", "file-count", "file-name", "links", "other-package", "outside", "pth", "record",
    "sitecustomize", "size", "traversal", "hash", "no-wheel", "yanked", "incompatible",
    "conflict", "not-ascii", "invalid-name", "option", "url", "marker", "extras", "path",
    "version", "installer", "alias", "standard-library", "blocked", "allow-list", "unlisted",
    "dashes", "look-alike", "word-order", "affix", "near-name", "shadows", "preinstalled",
    "store-size", "undated", "too-new", "source",
]  # fmt: skip
"""The stable names of all rules; a metric counts by them."""

_BY_NAME: Final = (
    "on a line of rules/allowed.txt in the packages' folder, or in SANDBOX_PACKAGES_ALLOW"
)
_OF_THE_CALLER: Final = "No operator is needed: ask in another way."
_OF_THE_FILE: Final = "An operator can't let it in: what the index has of it is not sound."
_WITHOUT_IT: Final = (
    f"An operator can let it in, and that file is left out then: its name, {_BY_NAME}."
)
_A_WHEEL: Final = (
    "An operator can put a wheel of it on an index of one's own (SANDBOX_PACKAGES_INDEX_URL)."
)
_OPERATOR: Final[Mapping[Rule, str]] = {
    **dict.fromkeys(
        (
            *("not-ascii", "invalid-name", "option", "url", "marker", "extras", "path", "version"),
            "conflict",
        ),
        _OF_THE_CALLER,
    ),
    **dict.fromkeys(
        (
            *("archive", "file-name", "links", "other-package", "record", "traversal", "hash"),
            "sitecustomize",
        ),
        _OF_THE_FILE,
    ),
    "size": "An operator can raise SANDBOX_PACKAGES_MAX_SET_BYTES.",
    "yanked": "An operator can set SANDBOX_PACKAGES_YANKED=allow.",
    **dict.fromkeys(("pth", "outside"), _WITHOUT_IT),
    **dict.fromkeys(("no-wheel", "incompatible", "source"), _A_WHEEL),
}


def refusal(
    rule: Rule, package: str, why: str, *, meant: str | None = None, operator: str | None = None
) -> PackageRefused:
    """Return the error for a package that a rule does not let in.

    Parameters
    ----------
    rule
        The rule's stable name.
    package
        The package as the caller wrote it; it is shown cut and escaped.
    why
        One sentence.
    meant
        The package that was probably meant.
    operator
        What the operator of this sandbox can do, as a sentence; None for what holds for the rule.
    """
    operator = operator or _OPERATOR.get(rule)
    text = shown(package)
    sentences = [why]
    if meant is not None:
        sentences.append(f"Did you mean {meant}?")
    if operator is not None:
        sentences.append(operator)
    return PackageRefused(
        " ".join(sentences), rule=rule, package=text, meant=meant, operator=operator
    )


def shown(package: str) -> str:
    """Return a caller's text as it may stand in an answer: plain ASCII, and short."""
    return package.encode("ascii", "backslashreplace").decode("ascii")[:80]
