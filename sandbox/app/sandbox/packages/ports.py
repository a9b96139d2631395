"""What an installation is made of: its values, and the ports to what finds and keeps packages."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from servicekit.deadline import Deadline
from servicekit.wire.execution import InstalledPackage

from sandbox.packages.lock import LockedPackage
from sandbox.packages.names import NameRules
from sandbox.packages.objection import Objection
from sandbox.packages.requirement import Wish


@dataclass(frozen=True, slots=True)
class Interpreter:
    """The cell interpreter: its version (3.11.7) and the packages that it has, by name."""

    python: str
    packages: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class UnpackedWheel:
    """One package's files as a session sees them.

    Attributes
    ----------
    path
        The folder that holds them; it never changes.
    modules
        Top-level modules that it defines.
    """

    package: LockedPackage
    path: Path
    size_bytes: int
    files: int
    modules: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PackageSet:
    """An installed, immutable set; `wishes` are the members that were asked for."""

    set_id: str
    path: Path
    packages: tuple[InstalledPackage, ...]
    wishes: tuple[str, ...] = ()

    def find(self, name: str) -> InstalledPackage | None:
        """Return the member of that name."""
        return next((package for package in self.packages if package.name == name), None)


class Inventory(Protocol):
    """Knows the cell interpreter."""

    async def interpreter(self, deadline: Deadline) -> Interpreter:
        """Return the cell interpreter and what it has."""


class Rulebook(Protocol):
    """Keeps the name rules, and the names that wait for an operator."""

    def rules(self) -> NameRules:
        """Return the rules in force."""

    def ask(self, objections: Sequence[Objection], *, wish: str) -> None:
        """Note names that wait for an operator's approval."""


class Resolver(Protocol):
    """Finds what a wish needs."""

    async def resolve(
        self, wish: Wish, *, pins: Sequence[str], constraints: Sequence[str], python: str
    ) -> tuple[LockedPackage, ...]:
        """Return the closure of a wish together with the pinned packages."""


class Wheels(Protocol):
    """Keeps unpacked wheels by their hash."""

    def find(self, package: LockedPackage) -> UnpackedWheel | None:
        """Return an unpacked wheel."""

    async def add(self, package: LockedPackage, *, is_trusted: bool, python: str) -> UnpackedWheel:
        """Fetch a wheel by its hash and unpack it; no code of it runs."""

    async def discard(self, packages: Iterable[LockedPackage]) -> None:
        """Delete wheels that no set uses, as far as they are there."""


class SetStore(Protocol):
    """Keeps the package sets."""

    def name_of(self, content: str) -> str:
        """Return the id of the set with a content address; who sees one set can't guess another."""

    def find(self, set_id: str) -> PackageSet | None:
        """Return an installed set."""

    def default(self) -> PackageSet | None:
        """Return the set that new sessions see."""

    def make_default(self, set_id: str) -> None:
        """Let new sessions see this set, also after a restart."""

    def touch(self, set_id: str) -> None:
        """Note that a set is used now."""

    async def assemble(
        self,
        set_id: str,
        wheels: Sequence[UnpackedWheel],
        *,
        wishes: Sequence[str],
        is_trusted: Callable[[str], bool],
    ) -> PackageSet:
        """Link wheels into a set and rename it into place."""

    async def make_room(self, in_use: frozenset[str], coming: Sequence[UnpackedWheel] = ()) -> bool:
        """Delete what nobody uses until all fit; False when they do not."""

    async def discard(self, set_id: str, in_use: frozenset[str]) -> None:
        """Delete a set and what only it was linked from, unless somebody sees it."""
