"""Plans of sessions to be forked: all that one needs, settled before the fork.

What is the same for all is opened and packed once. A fork that did it itself would copy the memory
that it takes.
"""

import os
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Self

from sandbox_runner import landlock, worker
from sandbox_runner.control import Spawn
from sandbox_runner.policy import path_rules, slot_rule
from sandbox_runner.protections import Shield, interpreter_paths
from sandbox_runner.settings import RunnerSettings
from sandbox_runner.user_tasks import UserTasks
from sandbox_runner.view import SESSION_FOLDER
from sandbox_runner.worker import Confinement
from sandbox_runner.worker_fork import WardenConfig, WorkerFork

# Libraries that start threads would use up the address space and the process limit.
ENVIRONMENT: Final = MappingProxyType(
    {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "LANG": "C.UTF-8",
        "LC_ALL": "C.UTF-8",
        "MPLBACKEND": "Agg",
        "OPENBLAS_NUM_THREADS": "1",
        "OMP_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
        "NUMEXPR_NUM_THREADS": "1",
        "MALLOC_ARENA_MAX": "2",
        # Its semaphores are refused; this says so without a warning in each session.
        "JOBLIB_MULTIPROCESSING": "0",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
)


OTHER_TASKS: Final = 256
"""What else may come to run as the same user while a session lives: a second stack's sessions."""


def tasks_of_others(settings: RunnerSettings) -> int:
    """Return what may come to run as the same user while a session lives, beside its own.

    The runner as a whole may have more (`pids_limit` in containers): all that all sessions may.
    """
    # A few threads in each other session; few, where a fork bomb would use them up.
    return (2 if settings.subprocesses else 16) * settings.slots + OTHER_TASKS


@dataclass(frozen=True, slots=True)
class ForkPlan:
    """How the workers of one session are made, and the ruleset that they share."""

    fork: WorkerFork
    ruleset: int | None

    def __enter__(self) -> Self:
        """Hold the ruleset."""
        return self

    def __exit__(self, *_: object) -> None:
        """Let go of it: the session has it by now."""
        if self.ruleset is not None:
            os.close(self.ruleset)


class ForkPlans:
    """Makes the plans of a zygote."""

    def __init__(self, settings: RunnerSettings, shield: Shield) -> None:
        self._settings = settings
        self._shield = shield
        self._uid, self._gid = os.getuid(), os.getgid()
        self._namespace = worker.prepare()
        self._filter = None if shield.filter is None else shield.filter.pack()
        self._signal_scope = None
        if shield.view is None and shield.landlock_abi >= landlock.ABI_SCOPES:
            self._signal_scope = landlock.create_signal_scope()
        self._opened = landlock.OpenRules(
            path_rules(
                interpreter_paths(),
                packages=settings.package_sets,
                allow_subprocesses=settings.subprocesses,
                workspace=settings.workspace_rule,
            )
        )
        self._user_tasks = UserTasks(self._uid, margin=tasks_of_others(settings))

    @property
    def has_namespaces(self) -> bool:
        """Whether each warden is forked into namespaces of its own."""
        return self._shield.view is not None

    def close(self) -> None:
        """Let go, in a fork, of what is the zygote's."""
        self._opened.close()

    def plan(self, order: Spawn) -> ForkPlan:
        """Return the plan of a session.

        Raises
        ------
        OSError
            Its folder can't be opened, or the kernel is short of something.
        """
        config = self._config()
        ruleset = self._ruleset(order)
        confinement = self._confinement(order, ruleset)
        return ForkPlan(WorkerFork(confinement, config, self._namespace), ruleset)

    def _ruleset(self, order: Spawn) -> int | None:
        """Return what Landlock leaves open to a session; a view shows the same files."""
        abi = self._shield.landlock_abi
        if abi == 0:
            return None
        return landlock.create_ruleset((slot_rule(order.slot),), abi, self._opened.current())

    def _confinement(self, order: Spawn, ruleset: int | None) -> Confinement:
        view = self._shield.view
        folder = order.slot if view is None else SESSION_FOLDER
        own = {"HOME": folder, "TMPDIR": folder, "MPLCONFIGDIR": folder}
        workspace = self._settings.workspace_rule
        if workspace is not None:
            own["WORKSPACE"] = workspace.path
        return Confinement(
            slot=order.slot,
            ruleset=ruleset,
            filter=self._filter,
            environment=MappingProxyType({**ENVIRONMENT, **own}),
            workspace=workspace,
            view=view,
        )

    def _config(self) -> WardenConfig:
        return WardenConfig(
            uid=self._uid,
            gid=self._gid,
            allow_subprocesses=self._settings.subprocesses,
            bounds=self._settings.bounds,
            package_sets=self._settings.package_sets,
            max_timeout_seconds=self._settings.max_timeout_seconds,
            has_namespaces=self.has_namespaces,
            user_tasks=self._user_tasks.bound(),
            signal_scope=self._signal_scope,
        )
