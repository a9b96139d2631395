"""Is this service healthy, is it ready: answered from checks that run in the background.

`/health` is a report. `/ready` says whether this service can do its work, from its own
life and its hard dependencies; no check calls another service's `/ready`.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel

from servicekit.errors import StackError
from servicekit.logs import get_logger
from servicekit.metrics import DEPENDENCY_UP

CHECK_SECONDS = 5.0
# While something is down it is looked at often: a start must not wait for a slow clock. What stays
# down is looked at less often, for each look stands in its log; whoever asks is told the present.
RECHECK_SECONDS = 0.2
MAX_RECHECK_SECONDS = 2.0
CHECK_TIMEOUT_SECONDS = 3.0

log = get_logger()


@dataclass(frozen=True, slots=True)
class Dependency:
    """Something that this service needs.

    Parameters
    ----------
    name
        As it stands on `/health` and in `dependency_up{dependency}`.
    check
        Raises when the dependency is down; its message is shown.
    is_hard
        Whether the service can't do its work without it.
    """

    name: str
    check: Callable[[], Awaitable[None]]
    is_hard: bool = True


class DependencyHealth(BaseModel):
    """The last check of one dependency."""

    status: Literal["ok", "error"]
    is_hard: bool
    detail: str | None = None


class HealthReport(BaseModel):
    """`ok`; `warn` when something optional is down; `error` when something needed is."""

    status: Literal["ok", "warn", "error"]
    service: str
    version: str
    dependencies: dict[str, DependencyHealth]
    details: dict[str, object] | None = None


class Readiness(BaseModel):
    """Whether work can be done now, and what it waits for."""

    ready: bool
    waiting_for: dict[str, str]


class NotReady(StackError):
    """A hard dependency is down, or the service is ending."""

    type = "not-ready"
    title = "Not ready"
    http_status = 503
    rpc_code = -32006


def _reason(error: BaseException) -> str:
    if isinstance(error, StackError):
        return error.detail
    if isinstance(error, TimeoutError):
        return f"no answer within {CHECK_TIMEOUT_SECONDS:g} s"
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


class HealthMonitor:
    """Runs the checks and keeps their last results.

    Parameters
    ----------
    service, version
        Shown in the report.
    dependencies
        What to check.
    details
        Further facts for the report, read at each request (the sandbox's protections).
    """

    def __init__(
        self,
        *,
        service: str,
        version: str,
        dependencies: Sequence[Dependency],
        details: Callable[[], Mapping[str, object]] | None = None,
    ) -> None:
        self._service = service
        self._version = version
        self._dependencies = tuple(dependencies)
        self._details = details or dict
        self._failures: dict[str, str | None] = {
            dependency.name: "not checked yet" for dependency in dependencies
        }
        self._checked_at = 0.0
        self._lock = asyncio.Lock()
        self.is_draining = False

    async def _check(self, dependency: Dependency) -> None:
        failure: str | None = None
        try:
            async with asyncio.timeout(CHECK_TIMEOUT_SECONDS):
                await dependency.check()
        except Exception as error:  # noqa: BLE001  # whatever a check raises means "down"
            failure = _reason(error)
        known = self._failures[dependency.name]
        self._failures[dependency.name] = failure
        DEPENDENCY_UP.labels(dependency.name).set(0 if failure else 1)
        if failure and (known is None or known == "not checked yet"):
            log.warning("dependency.down", dependency=dependency.name, reason=failure)
        elif known and not failure and known != "not checked yet":
            log.info("dependency.up", dependency=dependency.name)

    async def refresh(self, *, older_than_seconds: float = 0.0) -> None:
        """Run all checks side by side, unless the last results are young enough."""
        async with self._lock:
            if time.monotonic() - self._checked_at < older_than_seconds:
                return
            async with asyncio.TaskGroup() as group:
                for dependency in self._dependencies:
                    group.create_task(self._check(dependency))
            self._checked_at = time.monotonic()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Check in the background for as long as the block runs."""
        task = asyncio.create_task(self._watch())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _watch(self) -> None:
        pause = RECHECK_SECONDS
        while True:
            await self.refresh()
            if any(self._failures.values()):
                await asyncio.sleep(pause)
                pause = min(pause * 1.25, MAX_RECHECK_SECONDS)
            else:
                await asyncio.sleep(CHECK_SECONDS)
                pause = RECHECK_SECONDS

    async def report(self) -> HealthReport:
        """Return the full report."""
        await self.refresh(
            older_than_seconds=RECHECK_SECONDS if any(self._failures.values()) else CHECK_SECONDS
        )
        down = [d for d in self._dependencies if self._failures[d.name]]
        status: Literal["ok", "warn", "error"] = "warn" if down else "ok"
        if self.is_draining or any(dependency.is_hard for dependency in down):
            status = "error"
        return HealthReport(
            status=status,
            service=self._service,
            version=self._version,
            dependencies={
                d.name: DependencyHealth(
                    status="error" if self._failures[d.name] else "ok",
                    is_hard=d.is_hard,
                    detail=self._failures[d.name],
                )
                for d in self._dependencies
            },
            details=dict(self._details()) or None,
        )

    async def readiness(self) -> Readiness:
        """Return whether work can be done; what was down a moment ago is looked at again."""
        if any(self._failures.values()):
            await self.refresh(older_than_seconds=RECHECK_SECONDS)
        waiting = {
            d.name: str(self._failures[d.name])
            for d in self._dependencies
            if d.is_hard and self._failures[d.name]
        }
        if self.is_draining:
            waiting = {"itself": "the service is ending"} | waiting
        return Readiness(ready=not waiting, waiting_for=waiting)
