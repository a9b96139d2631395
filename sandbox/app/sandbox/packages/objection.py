"""What a name rule says against a package, and how a caller reads it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sandbox.errors import PackageAwaitsApproval, PackageRefused
from sandbox.packages.refusal import Rule, refusal, shown

_NO_WAY: Final = "An operator can't let it in by name."


@dataclass(frozen=True, slots=True)
class Objection:
    """Why a name is not let in.

    Attributes
    ----------
    meant
        The package that was probably meant.
    can_be_allowed
        Whether an operator can let the name in by naming it.
    waits
        Whether the name waits for approval; else it is refused.
    """

    rule: Rule
    name: str
    why: str
    meant: str | None = None
    can_be_allowed: bool = False
    waits: bool = False


def objected(objections: Sequence[Objection]) -> PackageRefused | PackageAwaitsApproval:
    """Return the error for names that the rules object to.

    What no operator can allow comes first: the rest would be in vain. Otherwise all names
    are told at once, so that an operator is asked once.
    """
    final = next((each for each in objections if not each.can_be_allowed), None)
    if final is not None:
        return refusal(final.rule, final.name, final.why, meant=final.meant, operator=_NO_WAY)
    head = objections[0]
    names = [each.name for each in objections]
    lines = " and ".join(names)
    how = (
        f"An operator can let it in: {lines}, one a line, in rules/allowed.txt of the packages' "
        "folder, or in SANDBOX_PACKAGES_ALLOW."
    )
    if not any(each.waits for each in objections):
        others = f" The same holds for {', '.join(names[1:])}." if len(names) > 1 else ""
        return refusal(head.rule, head.name, head.why + others, meant=head.meant, operator=how)
    meant = f" Did you mean {head.meant}?" if head.meant else ""
    return PackageAwaitsApproval(
        f"{head.why}{meant} An operator has been asked to approve {', '.join(names)}; until then "
        f"nothing is installed. {how}",
        rule=head.rule,
        package=shown(head.name),
        names=names,
        meant=head.meant,
        operator=how,
    )
