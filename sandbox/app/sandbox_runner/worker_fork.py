"""Makes the workers of one session: the first one, and one more for each reset."""

from dataclasses import dataclass

from sandbox_runner.cell import Namespace
from sandbox_runner.held_worker import HeldWorker
from sandbox_runner.policy import SessionLimits
from sandbox_runner.worker import Confinement


@dataclass(frozen=True, slots=True)
class WardenConfig:
    """What a session is not asked about: the runner's own bounds.

    Attributes
    ----------
    uid, gid
        Who all of the session is.
    user_tasks
        Processes and threads that others of the same user run, or may come to run.
    has_namespaces
        Whether the warden is process 1 of namespaces of its own.
    signal_scope
        Descriptor of a signal scope that the warden is to enter, so that its signals stay inside
        its session. Namespaces keep them too, and behind Landlock nothing can be mounted.
    """

    uid: int
    gid: int
    allow_subprocesses: bool
    bounds: SessionLimits
    package_sets: str | None
    max_timeout_seconds: float
    user_tasks: int
    has_namespaces: bool
    signal_scope: int | None

    @property
    def keeps_signals(self) -> bool:
        """Whether a signal to everybody reaches exactly the session."""
        return self.has_namespaces or self.signal_scope is not None


class WorkerFork:
    """Makes the workers of one session: the first one, and one more for each reset."""

    def __init__(
        self, confinement: Confinement, config: WardenConfig, namespace: Namespace
    ) -> None:
        self.config = config
        self._confinement = confinement
        self._namespace = namespace

    def begin(self) -> HeldWorker:
        """Fork a worker and return at once."""
        config = self.config
        return HeldWorker.fork(
            self._confinement,
            self._namespace,
            is_scoped=config.keeps_signals,
            is_single=not config.allow_subprocesses,
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
