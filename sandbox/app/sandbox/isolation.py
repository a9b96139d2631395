"""How well this machine isolates a run, as the runner's probe found it."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from servicekit.logs import get_logger

from sandbox.cells import CellRunner, Protection, RunnerHello
from sandbox.errors import RunnerDown, SandboxOff
from sandbox.metrics import PROTECTION, RUNNER_START

log = get_logger()

# Falling numbers, so that a chart shows a loss as a fall.
_STATES = {"active": 3, "degraded": 2, "disabled": 1, "unavailable": 0}


class Isolation:
    """Asks the runner how it is and keeps its last answer.

    Parameters
    ----------
    runner
        Whom to ask.
    own
        Protections that are the service's and not the runner's.
    """

    def __init__(self, runner: CellRunner, own: Sequence[Protection] = ()) -> None:
        self._runner = runner
        self._own = tuple(own)
        self._last: RunnerHello | None = None

    async def look(self) -> RunnerHello:
        """Ask the runner, and log a change of what it says once."""
        said = await self._runner.hello()
        hello = replace(said, protections=(*said.protections, *self._own))
        last, self._last = self._last, hello
        if last is None or (last.is_safe, _states(last)) != (hello.is_safe, _states(hello)):
            _log_state(hello)
        RUNNER_START.set(hello.started_seconds)
        for item in hello.protections:
            PROTECTION.labels(item.name).set(_STATES.get(item.state, 0))
        return hello

    async def check_runner(self) -> None:
        """Raise when the runner does not answer."""
        await self.look()

    async def check_isolation(self) -> None:
        """Raise when the runner answers and can't isolate a run."""
        try:
            hello = await self.look()
        except RunnerDown:
            return  # the other check's matter
        if not hello.runs_code:
            raise SandboxOff(
                "The sandbox is off: this machine can't isolate untrusted code, and /health says "
                "what is missing. All else works; run it on Linux with Landlock to have it."
            )

    def report(self) -> Mapping[str, object]:
        """Return what `/health` shows of the protections, each by name with its state."""
        if self._last is None:
            return {}
        return {
            "is_safe": self._last.is_safe,
            "runs_code": self._last.runs_code,
            "python": self._last.python,
            "protections": {
                item.name: {"state": item.state, "detail": item.detail}
                for item in self._last.protections
            },
            "slots": {"size": self._last.slots, "in_use": self._last.slots_in_use},
        }


def _states(hello: RunnerHello) -> dict[str, str]:
    return {item.name: item.state for item in hello.protections}


def _log_state(hello: RunnerHello) -> None:
    states = _states(hello)
    if hello.is_safe:
        log.info("sandbox.on", python=hello.python, protections=states)
    elif hello.runs_code:
        log.warning(
            "sandbox.unsafe", reason="SANDBOX_RUNNER_ALLOW_UNSAFE is set", protections=states
        )
    else:
        log.warning("sandbox.off", reason="the kernel can't isolate a run", protections=states)
