"""The resolver's words, turned into our errors. No I/O."""

import re
from typing import Final

from servicekit.errors import StackError

from sandbox.errors import IndexUnavailable, InstallFailed, PackageUnknown
from sandbox.packages.refusal import Rule, refusal
from sandbox.packages.requirement import Wish

_UNREACHABLE: Final = (
    "failed to fetch",
    "error sending request",
    "request failed after",
    "dns error",
    "connection refused",
    "connection reset",
    "operation timed out",
    "tls handshake",
    "invalid peer certificate",
    "http status server error",
    "could not connect",
    "network connectivity is disabled",
)
_UNDATED: Final = "missing an upload date"
_CUT_SIGNS: Final = ("exclude-newer", _UNDATED)
# Rule, uv's words for it, and ours; the first that fits is taken.
_REFUSALS: Final[tuple[tuple[Rule, tuple[str, ...], str], ...]] = (
    ("hash", ("hash mismatch",), "A downloaded file is not what its hash says."),
    (
        "no-wheel",
        ("no usable wheels", "building from source is disabled"),
        (
            "It, or something that it needs, exists only as source code; installing that would run "
            "code of its authors. Ask for a package that ships wheels."
        ),
    ),
    (
        "yanked",
        ("was yanked",),
        "The release was withdrawn by its authors. Ask for another version.",
    ),
    (
        "size",
        ("file too large",),
        "One of its files is larger than a whole package set may be.",
    ),
    (
        "incompatible",
        ("no matching", "requires-python", "python version", "compatible tag"),
        "It has no release for this interpreter and machine.",
    ),
    (
        "conflict",
        ("unsatisfiable", "no solution"),
        (
            "What it needs does not agree with what is installed already. {cause} Try another "
            "version, or a session of its own."
        ),
    ),
)
_UNPRINTABLE: Final = re.compile(r"(?:https?|file)://\S+|\x1b\[[0-9;]*m")


def is_about_age(stderr: str) -> bool:
    """Whether releases that are too young, or of no known age, may be the reason."""
    return any(sign in stderr for sign in _CUT_SIGNS)


def is_undated(stderr: str) -> bool:
    """Whether the index does not say how old its files are."""
    return _UNDATED in stderr


def yanked_pins(stderr: str) -> tuple[str, ...]:
    """Return each `name==version` that uv calls yanked."""
    return tuple(re.findall(r"`([^`]+)` is yanked", stderr))


def _is_unreachable(stderr: str) -> bool:
    text = stderr.lower()
    return any(sign in text for sign in _UNREACHABLE)


def explain_failure(wish: Wish, stderr: str) -> StackError:
    """Turn uv's words into one of our errors; addresses in them (they may hold keys) are cut."""
    text = " ".join(_UNPRINTABLE.sub("", stderr).split())
    low = text.lower()
    if _is_unreachable(stderr):
        return IndexUnavailable(
            "The package index does not answer, so nothing was installed. Try again later; an "
            "operator can check the index, proxy and certificate settings.",
            retry_after_seconds=10.0,
        )
    if f"{wish.name} was not found" in low:
        return PackageUnknown(
            f"The index has no package {wish.name}. Check the spelling.", package=wish.name
        )
    if wish.version is not None and f"there is no version of {wish.name}==" in low:
        return PackageUnknown(
            f"{wish.name} has no version {wish.version}. Leave the version out for the newest.",
            package=wish.name,
        )
    for rule, signs, why in _REFUSALS:
        if any(sign in low for sign in signs):
            return refusal(rule, wish.name, why.format(cause=_cause(text)))
    return InstallFailed(f"The package tool failed: {_cause(text)}")


def _cause(text: str) -> str:
    cause = text.split("cause:", 1)[-1].split("hint:", 1)[0].strip()
    return cause[:300] + ("…" if len(cause) > 300 else "")  # noqa: PLR2004  # a few sentences
