"""One package from a caller's wish to a session that can import it.

validate → vet the name → resolve → vet the closure → fetch and unpack each wheel by its
hash → look at what they define → link them into a set and rename it into place. A package
set is immutable and named by its content; a new package makes a new set, which holds the
former one's packages at their versions.
"""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from time import monotonic
from typing import Final

from servicekit.deadline import Deadline
from servicekit.errors import StackError
from servicekit.hangup import ended
from servicekit.logs import get_logger
from servicekit.wire.execution import (
    InstalledPackage,
    PackageInstalled,
    PackageList,
    PackageRequest,
)

from sandbox.errors import InstallFailed, PackageAwaitsApproval, PackageRefused, RunnerDown
from sandbox.metrics import PACKAGE_INSTALLS, PACKAGE_REFUSALS, PACKAGE_SECONDS
from sandbox.packages.install_line import InstallLine, until
from sandbox.packages.lock import LockedPackage, set_id
from sandbox.packages.names import NameRules
from sandbox.packages.objection import Objection, objected
from sandbox.packages.ports import (
    Interpreter,
    Inventory,
    PackageSet,
    Resolver,
    Rulebook,
    SetStore,
    UnpackedWheel,
    Wheels,
)
from sandbox.packages.presence import installed as described
from sandbox.packages.presence import not_removable, preinstalled, present
from sandbox.packages.refusal import refusal
from sandbox.packages.requirement import Wish, parse_wish
from sandbox.sessions import LiveSession, Sessions

log = get_logger()

# The index's answer to a wish is asked for again after a while: releases are withdrawn.
_RESOLVED_SECONDS: Final = 3600.0
_RESOLVED_WISHES: Final = 256
_LOGGED_CHARACTERS: Final = 100


@dataclass(frozen=True, slots=True)
class _Made:
    """A set for a wish: whether it was there before, and whether all its wheels were."""

    packages: PackageSet
    was_there: bool
    is_cached: bool


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
        self._line = InstallLine(sessions)
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
        self._current(session_id)  # an unknown session is told so before any work
        interpreter = await self._inventory.interpreter(deadline)
        async with self._line.turn(session_id, deadline) as session:
            current = self._current(session_id)
            if current is None or name not in current.wishes:
                raise not_removable(name, current, interpreter)
            async with until(deadline.within(self._timeout_seconds), deadline):
                made = await self._without(name, current, interpreter)
            await self._hand_over(made, session)
        log.info("packages.removed", package=name, members=len(made.packages.packages))
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
        current = self._current(session_id)  # an unknown session is told so before any work
        interpreter = await self._inventory.interpreter(deadline)
        if (there := preinstalled(wish, interpreter)) is not None:
            return there
        rules = self._rulebook.rules()
        if (objection := rules.objection(wish.name)) is not None:
            raise self._object([objection], wish)
        if (there := present(wish, current)) is not None:
            return there  # though a cell runs in that session
        async with self._line.turn(session_id, deadline) as session:
            current = self._current(session_id)
            if (there := present(wish, current)) is not None:
                return there
            async with until(deadline.within(self._timeout_seconds), deadline):
                made = await self._with(wish, current, interpreter)
            await self._hand_over(made, session)
        seconds = monotonic() - started
        PACKAGE_SECONDS.labels(cached="yes" if made.is_cached else "no").observe(seconds)
        log.info(
            "packages.installed",
            package=wish.name,
            members=len(made.packages.packages),
            cached=made.is_cached,
            duration_ms=round(seconds * 1000, 1),
        )
        return described(wish, made.packages, current)

    def _object(self, objections: Sequence[Objection], wish: Wish) -> StackError:
        error = objected(objections)
        if isinstance(error, PackageAwaitsApproval):
            self._rulebook.ask([each for each in objections if each.waits], wish=wish.name)
        return error

    async def _with(
        self, wish: Wish, current: PackageSet | None, interpreter: Interpreter
    ) -> _Made:
        """Return a set with the wish added."""
        members = () if current is None else current.packages
        pins = [_pin(each) for each in members if each.name != wish.name]
        wishes = (wish.name, *(() if current is None else current.wishes))
        return await self._make_set(wish, pins, _own(interpreter), wishes, interpreter)

    async def _without(self, name: str, current: PackageSet, interpreter: Interpreter) -> _Made:
        """Return a set with what the other wishes need, at the versions that they have."""
        left = [
            each for each in current.packages if each.name in current.wishes and each.name != name
        ]
        if not left:
            identity = self._store.name_of(set_id((), python=interpreter.python))
            if (found := self._store.find(identity)) is not None:
                return _Made(found, was_there=True, is_cached=True)
            empty = await self._store.assemble(identity, (), wishes=(), is_trusted=lambda _: True)
            return _Made(empty, was_there=False, is_cached=True)
        head, *others = left
        held = [_pin(each) for each in current.packages if each.name != name]
        return await self._make_set(
            Wish(head.name, head.version),
            [_pin(each) for each in others],
            [*_own(interpreter), *held],
            tuple(each.name for each in left),
            interpreter,
        )

    async def _make_set(
        self,
        wish: Wish,
        pins: Sequence[str],
        constraints: Sequence[str],
        wishes: Sequence[str],
        interpreter: Interpreter,
    ) -> _Made:
        closure = await self._closure(wish, pins, constraints, interpreter.python)
        wanted = tuple(each for each in closure if each.name not in interpreter.packages)
        rules = self._rulebook.rules()
        doubts = [
            rules.dependency_objection(each.name) for each in wanted if each.name != wish.name
        ]
        if objections := [each for each in doubts if each is not None]:
            raise self._object(objections, wish)
        identity = self._store.name_of(set_id(wanted, python=interpreter.python))
        if (found := self._store.find(identity)) is not None:
            return _Made(found, was_there=True, is_cached=True)
        async with self._unpacked(wanted, rules, wish, interpreter) as (wheels, is_cached):
            made = await self._store.assemble(
                identity,
                wheels,
                wishes=tuple(dict.fromkeys(wishes)),
                is_trusted=rules.is_trusted,
            )
        return _Made(made, was_there=False, is_cached=is_cached)

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
        fresh: list[LockedPackage] = []

        async def hold(package: LockedPackage) -> UnpackedWheel:
            if (known := self._wheels.find(package)) is not None:
                return known
            fresh.append(package)  # before it is there: a cancelled call may still have added it
            return await self._wheels.add(
                package, is_trusted=rules.is_trusted(package.name), python=interpreter.python
            )

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
            await self._wheels.discard(fresh)
            raise _first_of(error) from None

    async def _hand_over(self, made: _Made, session: LiveSession | None) -> None:
        """Let the session see the set, or else new ones; a new set that nobody sees is deleted."""
        name = made.packages.set_id
        try:
            self._store.touch(name)
            if session is None:
                self._store.make_default(name)
            else:
                await self._give(made.packages, session)
        except BaseException:
            if not made.was_there:
                await self._store.discard(name, self._sessions.package_sets())
            raise
        try:
            await self._store.make_room(self._sessions.package_sets())
        except InstallFailed as error:  # what was asked for is done
            log.warning("packages.not_tidied", reason=error.detail)

    async def _give(self, made: PackageSet, session: LiveSession) -> None:
        self._sessions.find(session.session_id)  # it may have ended in the meantime
        # To its end, which comes soon: half of an exchange would cost the session.
        giving = asyncio.ensure_future(session.cell.use_packages(made.path))
        try:
            await ended(giving)
        finally:
            if giving.exception() is None:
                session.package_set = made.set_id
        try:
            giving.result()
        except RunnerDown:
            self._sessions.raise_if_ended(session.session_id)  # somebody deleted it meanwhile
            raise

    def _current(self, session_id: str | None) -> PackageSet | None:
        if session_id is None:
            return self._store.default()
        session: LiveSession = self._sessions.find(session_id)
        return None if session.package_set is None else self._store.find(session.package_set)


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
