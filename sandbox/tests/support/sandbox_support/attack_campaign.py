"""Plays the attacks of several modes side by side: most of their time is waiting for a limit."""

import threading
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from statistics import median

from sandbox_support.attack_case import OVER_HTTP, AttackCase
from sandbox_support.attack_lane import Evidence, NotRun, laid_out, play
from sandbox_support.attack_mode import ELSEWHERE, MODES, Mode

# Two cores, and attacks that use one up.
_MODES_AT_ONCE = 3
_PATIENCE_SECONDS = 600.0


class Campaign:
    """All attacks that are wanted, by mode.

    Parameters
    ----------
    wanted
        The cases of each mode, in the order in which they are played.
    """

    def __init__(self, wanted: dict[Mode, Sequence[AttackCase]]) -> None:
        self._stop = threading.Event()
        self._evidence: dict[tuple[str, str], Future[Evidence]] = {
            (mode.name, case.name): Future() for mode, cases in wanted.items() for case in cases
        }
        self._pool = ThreadPoolExecutor(_MODES_AT_ONCE, thread_name_prefix="attacks")
        for mode, cases in wanted.items():
            self._pool.submit(self._fight, mode, tuple(cases))

    def evidence(self, mode: str, case: str) -> Evidence:
        """Return what was seen of an attack; waits until it has been played.

        Raises
        ------
        NotRun
            The mode can't be tried here.
        """
        return self._evidence[mode, case].result(_PATIENCE_SECONDS)

    def recoveries(self, mode: str) -> list[float]:
        """Return how long fresh sessions took after the attacks of a mode, in seconds, sorted."""
        futures = [future for (name, _), future in self._evidence.items() if name == mode]
        return sorted(future.result(_PATIENCE_SECONDS).recovery_seconds for future in futures)

    def close(self) -> None:
        """End what still goes on."""
        self._stop.set()
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _fight(self, mode: Mode, cases: Sequence[AttackCase]) -> None:
        futures = [self._evidence[mode.name, case.name] for case in cases]
        try:
            with laid_out(mode) as bait:
                for case, future in zip(cases, futures, strict=True):
                    if self._stop.is_set():
                        return
                    try:
                        future.set_result(play(bait, case))
                    except Exception as error:  # noqa: BLE001  # the test of this case tells of it
                        future.set_exception(error)
        except Exception as error:  # noqa: BLE001  # the tests of this mode tell of it
            for future in futures:
                if not future.done():
                    future.set_exception(error)

    def report(self) -> list[str]:
        """Return a line for each mode: how many attacks, how quick the next session, or why not."""
        where = "the containers stage tries it (STACK_CONTAINERS=1)"
        elsewhere = [f"{mode.name}: not run here: {where}" for mode in ELSEWHERE]
        return [*(line for mode in MODES for line in self._lines(mode)), *elsewhere]

    def _lines(self, mode: Mode) -> list[str]:
        """Return the line of a mode, and what HTTP shows otherwise of the cases that were tried."""
        tried = {case for name, case in self._evidence if name == mode.name and mode.is_http}
        differences = (f"  NOTE {case}: {OVER_HTTP[case]}" for case in sorted(tried & {*OVER_HTTP}))
        return [self._line(mode), *differences]

    def _line(self, mode: Mode) -> str:
        futures = [future for (name, _), future in self._evidence.items() if name == mode.name]
        if not futures:
            return f"{mode.name}: not asked for"
        reason = self.why_not_run(mode.name)
        if reason is not None:
            return f"{mode.name}: NOT RUN: {reason}"
        done = [future for future in futures if future.done() and not future.exception()]
        if not done:
            return f"{mode.name}: none of {len(futures)} attacks came to its end"
        times = sorted(future.result().recovery_seconds * 1000 for future in done)
        return (
            f"{mode.name}: {len(done)} of {len(futures)} attacks; a fresh session then answers in "
            f"{median(times):.0f} ms (p50), {times[-1]:.0f} ms at most"
        )

    def why_not_run(self, mode: str) -> NotRun | None:
        """Return why a mode could not be tried, if so."""
        for (name, _), future in self._evidence.items():
            if name == mode and future.done() and isinstance(found := future.exception(), NotRun):
                return found
        return None
