"""What a caller is told of a package that is there, was added, or can't be removed."""

from packaging.version import Version
from servicekit.errors import NotFound, StackError
from servicekit.wire.execution import PackageInstalled

from sandbox.packages.ports import Interpreter, PackageSet
from sandbox.packages.refusal import refusal
from sandbox.packages.requirement import Wish


def preinstalled(wish: Wish, interpreter: Interpreter) -> PackageInstalled | None:
    """Return the answer for a package that the interpreter has; None when it has not.

    Raises
    ------
    PackageRefused
        Another version of it is asked for.
    """
    version = interpreter.packages.get(wish.name)
    if version is None:
        return None
    if wish.version is not None and Version(wish.version) != Version(version):
        raise refusal(
            "preinstalled",
            wish.name,
            f"The interpreter comes with {wish.name} {version}, which can't be replaced.",
            operator="An operator can change the interpreter's own packages.",
        )
    return PackageInstalled(package=wish.name, version=version, installed=(), already_present=True)


def present(wish: Wish, current: PackageSet | None) -> PackageInstalled | None:
    """Return the answer for a package that the set has already; None when it has not."""
    member = None if current is None else current.find(wish.name)
    if member is None or (wish.version and Version(wish.version) != Version(member.version)):
        return None
    return PackageInstalled(
        package=member.name, version=member.version, installed=(), already_present=True
    )


def installed(wish: Wish, made: PackageSet, before: PackageSet | None) -> PackageInstalled:
    """Return what a new set brings over the one before."""
    known = set() if before is None else {(each.name, each.version) for each in before.packages}
    member = made.find(wish.name)
    return PackageInstalled(
        package=wish.name,
        version=member.version if member else "",
        installed=tuple(each for each in made.packages if (each.name, each.version) not in known),
    )


def not_removable(name: str, current: PackageSet | None, interpreter: Interpreter) -> StackError:
    """Return the error for a package that was not asked for, and say why it is there."""
    if name in interpreter.packages:
        return NotFound(f"{name} comes with the interpreter and can't be removed.")
    if current is not None and current.find(name) is not None:
        asked = ", ".join(current.wishes)
        return NotFound(f"{name} is there because others need it; what was asked for: {asked}.")
    return NotFound(f"{name} is not installed.")
