"""The composition root: settings → adapters → decisions → routes."""

import asyncio
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, closing
from pathlib import Path

from fastapi import FastAPI
from servicekit.health import Dependency
from servicekit.logs import get_logger
from servicekit.mcp_bridge import RouteTools
from servicekit.service import Service, build_app

from sandbox.adapters.confine import installer_protection
from sandbox.adapters.download import Download
from sandbox.adapters.inventory import CellInventory
from sandbox.adapters.package_index import PackageIndex, settings_of
from sandbox.adapters.package_store import PackageStore
from sandbox.adapters.rules_folder import RulesFolder
from sandbox.adapters.runner import SocketRunner
from sandbox.adapters.runner_session import check_code
from sandbox.adapters.uv import Uv, UvOptions
from sandbox.adapters.wheel_cache import WheelCache
from sandbox.admission import Admission
from sandbox.cells import CellRunner, Protection
from sandbox.execution import Execution
from sandbox.executions import Executions
from sandbox.files import SessionFiles
from sandbox.isolation import Isolation
from sandbox.limits import TimeBounds
from sandbox.packages.install import Packages
from sandbox.packages.ports import Resolver
from sandbox.packages.tree import TreeLimits
from sandbox.reserve import Reserve
from sandbox.routes import execute, files, packages, sessions
from sandbox.routes import executions as execution_routes
from sandbox.routes.wiring import Wiring
from sandbox.sessions import SessionLimits, Sessions
from sandbox.settings import SandboxSettings
from sandbox.waiting import WaitingRoom

log = get_logger()

_INSTRUCTIONS = (
    "Runs Python in isolation. A session keeps variables and files from cell to cell; a run "
    "without one has a fresh session that ends with it."
)


def create_app(
    settings: SandboxSettings,
    *,
    runner: CellRunner | None = None,
    resolver: Resolver | None = None,
) -> Service:
    """Compose the service.

    Parameters
    ----------
    runner, resolver
        Stand-ins for the runner at its socket and for the package tool.
    """

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[Wiring]:
        with closing(_store(settings)) as store:
            store.prepare()
            async with _running(settings, _wire(settings, store, runner, resolver)) as wiring:
                yield wiring

    return build_app(
        name="sandbox",
        summary="Runs untrusted Python in isolation and installs vetted packages",
        settings=settings,
        lifespan=lifespan,
        routers=(
            execute.router,
            execution_routes.router,
            sessions.router,
            files.router,
            packages.router,
        ),
        dependencies=_dependencies,
        health_details=_report,
        raw_bodies=(files.UPLOADS,),
        hot_routes=(execute.HOT,),
        mcp=RouteTools("tool", _INSTRUCTIONS),
        default_deadline_seconds=settings.request_deadline_seconds,
    )


@asynccontextmanager
async def _running(settings: SandboxSettings, wiring: Wiring) -> AsyncIterator[Wiring]:
    """Do what goes on beside the requests, and end the sessions in the end."""
    tasks = (
        asyncio.create_task(_sweep(wiring.sessions, settings.session_idle_seconds)),
        asyncio.create_task(wiring.reserve.keep()),
        asyncio.create_task(wiring.sessions.keep()),
    )
    try:
        yield wiring
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        wiring.reserve.give_up()
        wiring.sessions.close_all()


def _store(settings: SandboxSettings) -> PackageStore:
    return PackageStore(
        settings.packages_dir, _set_limits(settings), max_bytes=settings.packages_max_store_bytes
    )


def _wire(
    settings: SandboxSettings,
    store: PackageStore,
    runner: CellRunner | None,
    resolver: Resolver | None,
) -> Wiring:
    runner = runner or SocketRunner(
        settings.runner_socket, connect_seconds=settings.connect_seconds
    )
    reserve = Reserve(
        runner, size=settings.spare_sessions, package_path=lambda: _path_of(store.default_place())
    )
    room = WaitingRoom(most_calls=settings.queue_limit, most_bytes=settings.queue_max_bytes)
    live = Sessions(
        reserve,
        SessionLimits(
            live=settings.max_sessions,
            idle_seconds=settings.session_idle_seconds,
        ),
        store.default_place,
        room,
    )
    times = TimeBounds(settings.default_timeout_seconds, settings.max_timeout_seconds)
    executions = Executions()
    admission = Admission(slots=settings.slots, room=room)
    return Wiring(
        execution=Execution(admission, live, times, executions, check_code),
        executions=executions,
        sessions=live,
        files=SessionFiles(live),
        packages=_packages(settings, reserve, resolver, store, live),
        isolation=Isolation(reserve, (Protection("package-installer", *installer_protection()),)),
        reserve=reserve,
    )


def _path_of(place: tuple[str, Path] | None) -> Path | None:
    return None if place is None else place[1]


def _packages(
    settings: SandboxSettings,
    runner: CellRunner,
    resolver: Resolver | None,
    store: PackageStore,
    live: Sessions,
) -> Packages:
    index = PackageIndex(settings_of(os.environ, index_url=settings.packages_index_url))
    download = Download(index, max_bytes=settings.packages_max_set_bytes)
    return Packages(
        rulebook=RulesFolder(
            settings.packages_dir / "rules",
            allow=settings.packages_allow,
            block=settings.packages_block,
            policy=settings.packages_policy,
        ),
        inventory=CellInventory(runner),
        resolver=resolver or Uv(_uv_options(settings, index)),
        wheels=WheelCache(settings.packages_dir, download, _set_limits(settings)),
        store=store,
        sessions=live,
        timeout_seconds=settings.packages_timeout_seconds,
    )


def _set_limits(settings: SandboxSettings) -> TreeLimits:
    return TreeLimits(settings.packages_max_set_bytes, settings.packages_max_set_files)


def _uv_options(settings: SandboxSettings, index: PackageIndex) -> UvOptions:
    return UvOptions(
        index=index,
        min_age_days=settings.packages_min_age_days,
        may_be_yanked=settings.packages_yanked == "allow",
        timeout_seconds=settings.packages_timeout_seconds,
        max_cache_bytes=settings.packages_max_set_bytes,
        cache=settings.packages_dir / "cache",
    )


def _report(wiring: Wiring) -> Mapping[str, object]:
    """Return what `/health` shows."""
    return wiring.isolation.report()


def _dependencies(wiring: Wiring) -> Sequence[Dependency]:
    return (
        Dependency("sandbox-runner", wiring.isolation.check_runner),
        # Soft: where the kernel can't isolate, the sandbox is off and all else works.
        Dependency("isolation", wiring.isolation.check_isolation, is_hard=False),
    )


async def _sweep(live: Sessions, idle_seconds: float) -> None:
    while True:
        await asyncio.sleep(min(30.0, max(0.05, idle_seconds / 4)))
        live.evict_overdue()
