"""One package from a caller's wish to a session that can import it.

validate → vet the name → resolve → vet the closure → fetch and unpack each wheel by its
hash → look at what they define → link them into a set and rename it into place. A package
set is immutable and named by its content; a new package makes a new set, which holds the
former one's packages at their versions.
"""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Final, Protocol

from packaging.version import Version
from servicekit.deadline import Deadline
from servicekit.errors import DeadlineExceeded, NotFound, StackError, TooBusy
from servicekit.logs import get_logger
from servicekit.wire.execution import (
    InstalledPackage,
    PackageInstalled,
    PackageList,
    PackageRequest,
)

from sandbox.errors import InstallFailed, PackageAwaitsApproval, PackageRefused
from sandbox.metrics import PACKAGE_INSTALLS, PACKAGE_REFUSALS, PACKAGE_SECONDS
from sandbox.packages.lock import LockedPackage, set_id
from sandbox.packages.names import NameRules
from sandbox.packages.objection import Objection, objected
from sandbox.packages.refusal import refusal
from sandbox.packages.requirement import Wish, parse_wish
from sandbox.sessions import LiveSession, Sessions

log = get_logger()

# Installs go one at a time; who would be later than this in the line is sent away.
_WAITING_INSTALLS: Final = 32
# The index's answer to a wish is asked for again after a while: releases are withdrawn.
_RESOLVED_SECONDS: Final = 3600.0
_RESOLVED_WISHES: Final = 256
_LOGGED_CHARACTERS: Final = 100


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

    async def discard(self, wheels: Iterable[UnpackedWheel]) -> None:
        """Delete wheels that no set uses."""


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


class Packages:
    """Installs packages and knows who sees which."""

    def __init__(
        self,
        *,
        rulebook: Rulebook,
        inventory: Inventory,
        resolver: Resolver,
        wheels: Wheels,
        store: SetStore,
        sessions: Sessions,
        timeout_seconds: float = 120.0,
    ) -> None:
        self._rulebook = rulebook
        self._inventory = inventory
        self._resolver = resolver
        self._wheels = wheels
        self._store = store
        self._sessions = sessions
        self._timeout_seconds = timeout_seconds
        self._turn = asyncio.Lock()
        self._waiting = 0
        self._resolved: OrderedDict[tuple[str, ...], tuple[float, tuple[LockedPackage, ...]]] = (
            OrderedDict()
        )

    async def install(self, order: PackageRequest, *, deadline: Deadline) -> PackageInstalled:
        """Install a package for one session, for every new one, or for both.

        A cancelled or failed call leaves nothing behind.

        Raises
        ------
        PackageRefused, PackageUnknown
            A rule refuses it, or the index has none.
        PackageAwaitsApproval
            An operator has to let it in first.
        SessionUnknown, SessionEnded
            There is no such session.
        IndexUnavailable, InstallFailed, RunnerDown
            Something that is needed does not work.
        TooBusy, DeadlineExceeded
            Too many wait, or the request's time ended.
        """
        outcome = "failed"
        try:
            wish = parse_wish(order.package, order.version)
            installed = await self._install(wish, order.session_id, deadline)
            if order.session_id is not None and order.also_new_sessions:
                await self._install(wish, None, deadline)
            outcome = "present" if installed.already_present else "installed"
        except (PackageRefused, PackageAwaitsApproval) as error:
            outcome = error.type
            rule = error.extensions.get("rule", "")
            PACKAGE_REFUSALS.labels(rule=rule).inc()
            log.info("packages.refused", rule=rule, package=_loggable(order.package))
            raise
        except StackError as error:
            outcome = error.type
            raise
        finally:
            PACKAGE_INSTALLS.labels(outcome=outcome).inc()
        return installed

    async def remove(
        self, package: str, session_id: str | None, *, deadline: Deadline
    ) -> PackageList:
        """Take a package, and what only it needed, from a session or from new sessions.

        Returns
        -------
        PackageList
            What is seen from now on.

        Raises
        ------
        NotFound
            It was not installed, or only because another one needs it.
        """
        name = parse_wish(package, None).name
        interpreter = await self._inventory.interpreter(deadline)
        async with self._my_turn(deadline):
            current = self._current(session_id)
            if current is None or name not in current.wishes:
                raise _not_removable(name, current, interpreter)
            async with _until(deadline.within(self._timeout_seconds), deadline):
                made = await self._without(name, current, interpreter)
            await self._apply(made, session_id, deadline)
            await self._store.make_room(self._sessions.package_sets())
        log.info("packages.removed", package=name, members=len(made.packages))
        return await self.list_for(session_id, deadline=deadline)

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

    async def _install(
        self, wish: Wish, session_id: str | None, deadline: Deadline
    ) -> PackageInstalled:
        started = monotonic()
        self._current(session_id)  # an unknown session is told so before any work
        interpreter = await self._inventory.interpreter(deadline)
        if (present := _preinstalled(wish, interpreter)) is not None:
            return present
        rules = self._rulebook.rules()
        if (objection := rules.objection(wish.name)) is not None:
            raise self._object([objection], wish)
        async with self._my_turn(deadline):
            current = self._current(session_id)
            if (present := _present(wish, current)) is not None:
                return present
            async with _until(deadline.within(self._timeout_seconds), deadline):
                made, is_cached = await self._with(wish, current, interpreter)
            await self._apply(made, session_id, deadline)
            await self._store.make_room(self._sessions.package_sets())
        seconds = monotonic() - started
        PACKAGE_SECONDS.labels(cached="yes" if is_cached else "no").observe(seconds)
        log.info(
            "packages.installed",
            package=wish.name,
            members=len(made.packages),
            cached=is_cached,
            duration_ms=round(seconds * 1000, 1),
        )
        return _installed(wish, made, current)

    def _object(self, objections: Sequence[Objection], wish: Wish) -> StackError:
        error = objected(objections)
        if isinstance(error, PackageAwaitsApproval):
            self._rulebook.ask([each for each in objections if each.waits], wish=wish.name)
        return error

    async def _with(
        self, wish: Wish, current: PackageSet | None, interpreter: Interpreter
    ) -> tuple[PackageSet, bool]:
        """Return a set with the wish added, and whether nothing had to be fetched for it."""
        members = () if current is None else current.packages
        pins = [_pin(each) for each in members if each.name != wish.name]
        wishes = (wish.name, *(() if current is None else current.wishes))
        return await self._make_set(wish, pins, _own(interpreter), wishes, interpreter)

    async def _without(
        self, name: str, current: PackageSet, interpreter: Interpreter
    ) -> PackageSet:
        """Return a set with what the other wishes need, at the versions that they have."""
        left = [
            each for each in current.packages if each.name in current.wishes and each.name != name
        ]
        if not left:
            identity = self._store.name_of(set_id((), python=interpreter.python))
            return await self._store.assemble(identity, (), wishes=(), is_trusted=lambda _: True)
        head, *others = left
        held = [_pin(each) for each in current.packages if each.name != name]
        made, _ = await self._make_set(
            Wish(head.name, head.version),
            [_pin(each) for each in others],
            [*_own(interpreter), *held],
            tuple(each.name for each in left),
            interpreter,
        )
        return made

    async def _make_set(
        self,
        wish: Wish,
        pins: Sequence[str],
        constraints: Sequence[str],
        wishes: Sequence[str],
        interpreter: Interpreter,
    ) -> tuple[PackageSet, bool]:
        closure = await self._closure(wish, pins, constraints, interpreter.python)
        wanted = tuple(each for each in closure if each.name not in interpreter.packages)
        rules = self._rulebook.rules()
        found = [rules.dependency_objection(each.name) for each in wanted if each.name != wish.name]
        if objections := [each for each in found if each is not None]:
            raise self._object(objections, wish)
        identity = self._store.name_of(set_id(wanted, python=interpreter.python))
        if (made := self._store.find(identity)) is not None:
            return made, True
        async with self._unpacked(wanted, rules, wish, interpreter) as (wheels, is_cached):
            made = await self._store.assemble(
                identity,
                wheels,
                wishes=tuple(dict.fromkeys(wishes)),
                is_trusted=rules.is_trusted,
            )
        return made, is_cached

    async def _closure(
        self, wish: Wish, pins: Sequence[str], constraints: Sequence[str], python: str
    ) -> tuple[LockedPackage, ...]:
        key = (python, wish.line(), *pins, "/", *constraints)
        known = self._resolved.get(key)
        if known is not None and monotonic() - known[0] < _RESOLVED_SECONDS:
            return known[1]
        closure = await self._resolver.resolve(
            wish, pins=pins, constraints=constraints, python=python
        )
        self._resolved[key] = (monotonic(), closure)
        self._resolved.move_to_end(key)
        while len(self._resolved) > _RESOLVED_WISHES:
            self._resolved.popitem(last=False)
        return closure

    @asynccontextmanager
    async def _unpacked(
        self,
        wanted: Sequence[LockedPackage],
        rules: NameRules,
        wish: Wish,
        interpreter: Interpreter,
    ) -> AsyncIterator[tuple[list[UnpackedWheel], bool]]:
        """Hold the closure's wheels; those that are new vanish if the block fails."""
        fresh: list[UnpackedWheel] = []

        async def hold(package: LockedPackage) -> UnpackedWheel:
            if (known := self._wheels.find(package)) is not None:
                return known
            added = await self._wheels.add(
                package, is_trusted=rules.is_trusted(package.name), python=interpreter.python
            )
            fresh.append(added)
            return added

        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(hold(package)) for package in wanted]
            wheels = [task.result() for task in tasks]
            found = [rules.shadowing(each.package.name, each.modules) for each in wheels]
            if objections := [each for each in found if each is not None]:
                raise self._object(objections, wish)
            if not await self._store.make_room(self._sessions.package_sets(), wheels):
                raise refusal(
                    "store-size",
                    wish.name,
                    "All that is installed takes too much space, and sessions use it.",
                    operator="An operator can raise SANDBOX_PACKAGES_MAX_STORE_BYTES.",
                )
            yield wheels, not fresh
        except BaseException as error:  # noqa: BLE001  # also when it is cancelled; raised again below
            await asyncio.shield(self._wheels.discard(fresh))
            raise _first_of(error) from None

    async def _apply(self, made: PackageSet, session_id: str | None, deadline: Deadline) -> None:
        self._store.touch(made.set_id)
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
            async with _until(deadline, deadline):
                await self._turn.acquire()
        finally:
            self._waiting -= 1
        try:
            yield
        finally:
            self._turn.release()


@asynccontextmanager
async def _until(limit: Deadline, deadline: Deadline) -> AsyncIterator[None]:
    """End the block at the limit, and blame it: the request's deadline, or our own limit."""
    try:
        async with asyncio.timeout(limit.remaining()):
            yield
    except TimeoutError:
        if not deadline.is_expired:
            raise InstallFailed(
                "The installation took too long and was stopped; nothing was installed. Try "
                "again, or name a smaller package. An operator can raise "
                "SANDBOX_PACKAGES_TIMEOUT_SECONDS."
            ) from None
        raise DeadlineExceeded(
            "The time for this request ended before the package was installed; nothing was "
            "changed. Try again with more time."
        ) from None


def _loggable(package: str) -> str | None:
    """Return a name as it may stand in the log: not what else was sent, it may hold a password."""
    plain = package.replace("-", "").replace("_", "").replace(".", "")
    is_name = plain.isascii() and plain.isalnum() and len(package) <= _LOGGED_CHARACTERS
    return package if is_name else None


def _first_of(error: BaseException) -> BaseException:
    """Return what went wrong first of the errors that a task group collected."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _pin(package: InstalledPackage) -> str:
    return f"{package.name}=={package.version}"


def _own(interpreter: Interpreter) -> list[str]:
    return [f"{name}=={version}" for name, version in interpreter.packages.items()]


def _not_removable(name: str, current: PackageSet | None, interpreter: Interpreter) -> StackError:
    if name in interpreter.packages:
        return NotFound(f"{name} comes with the interpreter and can't be removed.")
    if current is not None and current.find(name) is not None:
        asked = ", ".join(current.wishes)
        return NotFound(f"{name} is there because others need it; what was asked for: {asked}.")
    return NotFound(f"{name} is not installed.")


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
