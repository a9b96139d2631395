"""Asks the cell interpreter what it has, by a cell: so it works wherever the runner is."""

import asyncio
import json
from typing import Final

from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version
from servicekit.deadline import Deadline
from servicekit.errors import DeadlineExceeded

from sandbox.cells import CellRunner, CellSession
from sandbox.errors import RunnerDown
from sandbox.limits import NO_LIMITS
from sandbox.packages.ports import Interpreter

_TIMEOUT_SECONDS: Final = 20.0
_FULL_PAUSES: Final = (0.05, 0.2)
_CODE: Final = """
import importlib.metadata, json, platform
print(json.dumps({
    "python": platform.python_version(),
    "packages": sorted({(d.metadata["Name"] or "", d.version or "")
                        for d in importlib.metadata.distributions()}),
}))
"""


class CellInventory:
    """Runs one cell in a fresh session, without any package set, and keeps its answer."""

    def __init__(self, runner: CellRunner) -> None:
        self._runner = runner
        self._known: Interpreter | None = None
        self._asking = asyncio.Lock()

    async def interpreter(self, deadline: Deadline) -> Interpreter:
        """Return the cell interpreter and what it has; it is asked once.

        Raises
        ------
        RunnerDown
            It can't be asked.
        DeadlineExceeded
            The request's time ended first, or while another one asked.
        """
        if self._known is None:
            try:
                async with asyncio.timeout(deadline.remaining()), self._asking:
                    if self._known is None:
                        self._known = await self._ask(deadline)
            except TimeoutError:
                raise DeadlineExceeded(
                    "The time for this request ended before the sandbox had listed its "
                    "interpreter's packages. Try again with more time."
                ) from None
        return self._known

    async def _ask(self, deadline: Deadline) -> Interpreter:
        session = await self._open(deadline)
        try:
            seconds = min(_TIMEOUT_SECONDS, max(0.1, deadline.remaining()))
            outcome = await session.run(_CODE, timeout_seconds=seconds, limits=NO_LIMITS)
        finally:
            session.close()
        if outcome.status != "ok":
            raise RunnerDown(
                f"The sandbox could not list its interpreter's packages ({outcome.status}); "
                "try again."
            )
        return parse_inventory(outcome.stdout)

    async def _open(self, deadline: Deadline) -> CellSession:
        for pause in (*_FULL_PAUSES, None):
            session = await self._runner.open(
                package_path=None, limits=NO_LIMITS, deadline=deadline
            )
            if session is not None:
                return session
            if pause is None or deadline.is_expired:
                break
            await asyncio.sleep(pause)  # a spare may have been given up for this
        raise RunnerDown(
            "The sandbox has no free place to look at its interpreter. Try again in a moment, or "
            "delete a session that is not needed.",
            retry_after_seconds=2.0,
        )


def parse_inventory(text: str) -> Interpreter:
    """Read what the cell printed.

    Raises
    ------
    RunnerDown
        It is not what the cell prints.
    """
    try:
        answer = json.loads(text)
        packages = {
            str(canonicalize_name(name)): version
            for name, version in answer["packages"]
            if name and _is_version(version)
        }
        return Interpreter(python=str(Version(answer["python"])), packages=packages)
    except (ValueError, KeyError, TypeError) as error:
        raise RunnerDown("The sandbox's interpreter gave no readable list of packages.") from error


def _is_version(text: str) -> bool:
    try:
        Version(text)
    except InvalidVersion:
        return False
    return True
