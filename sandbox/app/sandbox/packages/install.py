"""One package from a caller's wish to a session that can import it.

validate → vet the name → resolve → vet the closure → install by hash → check what was
written → rename into place. A package set is immutable and named by its content; a
new package makes a new set, which holds the former one's packages at their versions.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from packaging.version import Version
from servicekit.deadline import Deadline
from servicekit.errors import DeadlineExceeded, StackError, TooBusy
from servicekit.logs import get_logger
from servicekit.wire.execution import (
    InstalledPackage,
    PackageInstalled,
    PackageList,
    PackageRequest,
)

from sandbox.metrics import PACKAGE_INSTALLS
from sandbox.packages.lock import LockedPackage, set_id
from sandbox.packages.names import NameRules
from sandbox.packages.refusal import refusal
from sandbox.packages.requirement import Wish, parse_wish
from sandbox.sessions import LiveSession, Sessions

log = get_logger()

# Installs go one at a time; who would be later than this in the line is sent away.
_WAITING_INSTALLS = 32


@dataclass(frozen=True, slots=True)
class Interpreter:
    """The cell interpreter: its version (3.11.7) and the packages that it has, by name."""

    python: str
    packages: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class PackageSet:
    """An installed, immutable set."""

    set_id: str
    path: Path
    packages: tuple[InstalledPackage, ...]

    def find(self, name: str) -> InstalledPackage | None:
        """Return the member of that name."""
        return next((package for package in self.packages if package.name == name), None)


class Inventory(Protocol):
    """Knows the cell interpreter."""

    async def interpreter(self, deadline: Deadline) -> Interpreter:
        """Return the cell interpreter and what it has."""


class Resolver(Protocol):
    """Finds and installs what a wish needs."""

    async def resolve(
        self, wish: Wish, *, pins: Sequence[str], constraints: Sequence[str], python: str
    ) -> tuple[LockedPackage, ...]:
        """Return the closure of a wish together with the pinned packages."""

    async def install(
        self, packages: Sequence[LockedPackage], *, target: Path, python: str
    ) -> None:
        """Unpack the packages into `target`, checked by hash; no code of theirs runs."""


class SetStore(Protocol):
    """Keeps the package sets."""

    def find(self, set_id: str) -> PackageSet | None:
        """Return an installed set."""

    def default(self) -> PackageSet | None:
        """Return the set that new sessions see."""

    def make_default(self, set_id: str) -> None:
        """Let new sessions see this set, also after a restart."""

    def staging(self) -> AbstractAsyncContextManager[Path]:
        """Return an empty folder that vanishes with the block unless it was committed."""

    async def commit(
        self, staged: Path, *, set_id: str, packages: Sequence[LockedPackage], wish: str
    ) -> PackageSet:
        """Check a staged tree and rename it into place."""


class Packages:
    """Installs packages and knows who sees which."""

    def __init__(
        self,
        *,
        rules: NameRules,
        inventory: Inventory,
        resolver: Resolver,
        store: SetStore,
        sessions: Sessions,
    ) -> None:
        self._rules = rules
        self._inventory = inventory
        self._resolver = resolver
        self._store = store
        self._sessions = sessions
        self._turn = asyncio.Lock()
        self._waiting = 0
        self._resolved: dict[tuple[str, ...], tuple[LockedPackage, ...]] = {}

    async def install(self, order: PackageRequest, *, deadline: Deadline) -> PackageInstalled:
        """Install a package for one session, or for every new one.

        A cancelled or failed call leaves nothing behind.

        Raises
        ------
        PackageRefused, PackageUnknown
            A rule refuses it, or the index has none.
        SessionUnknown, SessionEnded
            There is no such session.
        IndexUnavailable, InstallFailed, RunnerDown
            Something that is needed does not work.
        TooBusy, DeadlineExceeded
            Too many wait, or the request's time ended.
        """
        outcome = "failed"
        try:
            installed = await self._install(order, deadline)
            outcome = "present" if installed.already_present else "installed"
        except StackError as error:
            outcome = error.type
            raise
        finally:
            PACKAGE_INSTALLS.labels(outcome=outcome).inc()
        return installed

    async def list_for(self, session_id: str | None, *, deadline: Deadline) -> PackageList:
        """List the interpreter's packages and those of the set that a session sees.

        Raises
        ------
        SessionUnknown, SessionEnded
            There is no such session.
        """
        current = self._current(session_id)
        interpreter = await self._inventory.interpreter(deadline)
        own = [
            InstalledPackage(name=name, version=version)
            for name, version in interpreter.packages.items()
        ]
        added = [] if current is None else list(current.packages)
        return PackageList(packages=tuple(sorted((*own, *added), key=lambda package: package.name)))

    async def _install(self, order: PackageRequest, deadline: Deadline) -> PackageInstalled:
        wish = parse_wish(order.package, order.version)
        self._current(order.session_id)  # an unknown session is told so before any work
        interpreter = await self._inventory.interpreter(deadline)
        if (present := _preinstalled(wish, interpreter)) is not None:
            return present
        self._rules.vet(wish.name)
        async with self._my_turn(deadline):
            current = self._current(order.session_id)
            if (present := _present(wish, current)) is not None:
                return present
            async with _until(deadline):
                made = await self._make_set(wish, current, interpreter)
            await self._apply(made, order.session_id, deadline)
        return _installed(wish, made, current)

    async def _make_set(
        self, wish: Wish, current: PackageSet | None, interpreter: Interpreter
    ) -> PackageSet:
        members = () if current is None else current.packages
        pins = tuple(f"{each.name}=={each.version}" for each in members if each.name != wish.name)
        own = tuple(f"{name}=={version}" for name, version in interpreter.packages.items())
        key = (interpreter.python, wish.line(), *pins)
        closure = self._resolved.get(key)
        if closure is None:
            closure = await self._resolver.resolve(
                wish, pins=pins, constraints=own, python=interpreter.python
            )
        wanted = tuple(each for each in closure if each.name not in interpreter.packages)
        for package in wanted:
            if package.name != wish.name:
                self._rules.vet_dependency(package.name)
        identity = set_id(wanted, python=interpreter.python)
        made = self._store.find(identity)
        if made is None:
            async with self._store.staging() as staged:
                await self._resolver.install(wanted, target=staged, python=interpreter.python)
                made = await self._store.commit(
                    staged, set_id=identity, packages=wanted, wish=wish.name
                )
            log.info("packages.installed", package=wish.name, members=len(made.packages))
        self._resolved[key] = closure
        return made

    async def _apply(self, made: PackageSet, session_id: str | None, deadline: Deadline) -> None:
        if session_id is None:
            self._store.make_default(made.set_id)
            return
        async with self._sessions.use(session_id, deadline) as session:
            await session.cell.use_packages(made.path)
            session.package_set = made.set_id

    def _current(self, session_id: str | None) -> PackageSet | None:
        if session_id is None:
            return self._store.default()
        session: LiveSession = self._sessions.find(session_id)
        return None if session.package_set is None else self._store.find(session.package_set)

    @asynccontextmanager
    async def _my_turn(self, deadline: Deadline) -> AsyncIterator[None]:
        if self._waiting >= _WAITING_INSTALLS:
            raise TooBusy(
                f"{self._waiting} installs wait already. Try again later.", retry_after_seconds=5.0
            )
        self._waiting += 1
        try:
            async with _until(deadline):
                await self._turn.acquire()
        finally:
            self._waiting -= 1
        try:
            yield
        finally:
            self._turn.release()


@asynccontextmanager
async def _until(deadline: Deadline) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(deadline.remaining()):
            yield
    except TimeoutError:
        raise DeadlineExceeded(
            "The time for this request ended before the package was installed; nothing was "
            "changed. Try again with more time."
        ) from None


def _preinstalled(wish: Wish, interpreter: Interpreter) -> PackageInstalled | None:
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


def _present(wish: Wish, current: PackageSet | None) -> PackageInstalled | None:
    member = None if current is None else current.find(wish.name)
    if member is None or (wish.version and Version(wish.version) != Version(member.version)):
        return None
    return PackageInstalled(
        package=member.name, version=member.version, installed=(), already_present=True
    )


def _installed(wish: Wish, made: PackageSet, before: PackageSet | None) -> PackageInstalled:
    known = set() if before is None else {(each.name, each.version) for each in before.packages}
    member = made.find(wish.name)
    return PackageInstalled(
        package=wish.name,
        version=member.version if member else "",
        installed=tuple(each for each in made.packages if (each.name, each.version) not in known),
    )
