"""Makes the workers of one session: the first one, and one more for each reset."""

from dataclasses import dataclass

from sandbox_runner import landlock
from sandbox_runner.held_worker import HeldWorker
from sandbox_runner.policy import SessionLimits
from sandbox_runner.worker import Confinement


@dataclass(frozen=True, slots=True)
class WardenConfig:
    """What a session is not asked about: the runner's own bounds.

    Attributes
    ----------
    user_tasks
        Processes and threads that others of the same user run, or may come to run.
    """

    landlock_abi: int
    allow_subprocesses: bool
    bounds: SessionLimits
    package_sets: str | None
    max_timeout_seconds: float
    user_tasks: int
    has_namespaces: bool = False

    @property
    def is_scoped(self) -> bool:
        """Whether a warden enters a signal scope, which keeps its signals inside its session.

        With namespaces the session's init sends them, and behind Landlock nothing can be mounted.
        """
        return self.landlock_abi >= landlock.ABI_SCOPES and not self.has_namespaces


class WorkerFork:
    """Makes the workers of one session: the first one, and one more for each reset."""

    def __init__(self, confinement: Confinement, config: WardenConfig) -> None:
        self.config = config
        self._confinement = confinement

    def begin(self) -> HeldWorker:
        """Fork a worker and return at once."""
        config = self.config
        return HeldWorker.fork(
            self._confinement, is_scoped=config.is_scoped, is_single=not config.allow_subprocesses
        )

    def finish(self, held: HeldWorker, limits: SessionLimits) -> None:
        """Wait until a worker is confined; limit and freeze it.

        Raises
        ------
        EOFError, OSError
            It could not be set up.
        """
        held.await_ready()
        held.limit(limits, self.config.user_tasks)
        held.tree.freeze()
