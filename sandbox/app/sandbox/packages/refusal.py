"""How a refusal reads: the rule, what was probably meant, and what an operator can do."""

from typing import Literal

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
        What the operator of this sandbox can do, as a sentence.
    """
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
