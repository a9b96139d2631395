"""Starts the units in dependency order by readiness, keeps them running, ends them in reverse."""

import asyncio
import collections
import contextlib
import signal
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import assert_never

from launcher.backoff import Backoff
from launcher.console import Console
from launcher.log_file import LogFile
from launcher.log_line import read_log_line
from launcher.process import Child, Spawner
from launcher.readiness import NotReady, Prober, Ready, Silent
from launcher.repeats import Repeats
from launcher.units import Unit

# sysexits.h: settings that make no sense will not make sense on the next start either.
EX_CONFIG = 78
_TRIES_BEFORE_FIRST_READY = 3
_TAIL_LINES = 12
_FIRST_POLL_SECONDS = 0.02
_LONGEST_POLL_SECONDS = 0.25
_OUTPUT_DRAIN_SECONDS = 1.0


@dataclass(frozen=True)
class Patience:
    """How long the supervisor waits for what."""

    start_seconds: float = 60.0
    stop_seconds: float = 15.0
    # A unit that answers but is not ready yet may wait for the outside world: go on without it.
    not_ready_seconds: float = 8.0
    backoff: Backoff = field(default_factory=Backoff)


@dataclass(frozen=True)
class StartFailure:
    """Why the stack did not start."""

    sentence: str
    is_configuration: bool = False

    @property
    def exit_status(self) -> int:
        """What the launcher ends with."""
        return EX_CONFIG if self.is_configuration else 1


@dataclass
class _Slot:
    unit: Unit
    child: Child | None = None
    # Set once dependants may start: ready, or known not to become ready soon.
    settled: asyncio.Event = field(default_factory=asyncio.Event)
    keeper: asyncio.Task[None] | None = None
    ready_at: float | None = None
    was_ready: bool = False
    has_given_up: bool = False
    repeats: Repeats = field(default_factory=Repeats)
    tail: collections.deque[str] = field(
        default_factory=lambda: collections.deque(maxlen=_TAIL_LINES)
    )


class Supervisor:
    """Runs a stack of units until it is told to stop."""

    def __init__(
        self,
        units: Sequence[Unit],
        *,
        spawner: Spawner,
        prober: Prober,
        console: Console,
        log_dir: Path,
        patience: Patience | None = None,
        is_verbose: bool = False,
    ) -> None:
        self._slots = {unit.name: _Slot(unit) for unit in units}
        self._spawner = spawner
        self._prober = prober
        self._console = console
        self._log_dir = log_dir
        self._patience = patience or Patience()
        self._is_verbose = is_verbose
        self._stopping = asyncio.Event()
        self._failed = asyncio.Event()
        self._failure: StartFailure | None = None

    async def run(
        self, stop: asyncio.Event, *, on_running: Callable[[], Awaitable[None]]
    ) -> StartFailure | None:
        """Start everything, call `on_running`, wait for `stop`, end everything.

        Returns
        -------
        StartFailure | None
            Why the start failed; None after a run.
        """
        try:
            async with asyncio.TaskGroup() as keepers:
                for slot in self._slots.values():
                    slot.keeper = keepers.create_task(self._keep(slot))
                try:
                    if await self._started(stop):
                        await on_running()
                        await stop.wait()
                finally:
                    await asyncio.shield(self._stop_all())
        finally:
            self._kill_leftovers()
        return self._failure

    def kill_all(self) -> None:
        """End every program now; the second Ctrl-C."""
        self._stopping.set()
        self._kill_leftovers()

    # -- start ------------------------------------------------------------------------------

    async def _started(self, stop: asyncio.Event) -> bool:
        settled = asyncio.create_task(self._all_settled())
        others = [asyncio.create_task(event.wait()) for event in (stop, self._failed)]
        try:
            await asyncio.wait(
                (settled, *others),
                timeout=self._patience.start_seconds,
                return_when=asyncio.FIRST_COMPLETED,
            )
            if stop.is_set() or self._failed.is_set():
                return False
            if settled.done():
                return True
            self._fail_late()
            return False
        finally:
            for task in (settled, *others):
                task.cancel()
            # Collected, so that no cancellation stays unread.
            await asyncio.gather(settled, *others, return_exceptions=True)

    async def _all_settled(self) -> None:
        for slot in self._slots.values():
            await slot.settled.wait()

    def _fail_late(self) -> None:
        late = [slot for slot in self._slots.values() if not slot.settled.is_set()]
        first = next(slot for slot in late if self._may_start(slot))
        self._fail(first, f"was not ready within {self._patience.start_seconds:g} s")

    def _may_start(self, slot: _Slot) -> bool:
        return all(self._slots[name].settled.is_set() for name in slot.unit.needs)

    def _fail(self, slot: _Slot, reason: str, *, is_configuration: bool = False) -> None:
        if self._failure is None:
            text = "\n".join([f"{slot.unit.name} {reason}.", *self._tail(slot)])
            self._failure = StartFailure(text, is_configuration=is_configuration)
            self._failed.set()

    def _tail(self, slot: _Slot) -> list[str]:
        lines = [f"  {line}" for line in slot.tail]
        return [*lines, f"  (all of it: {self._log_path(slot.unit)})"] if lines else []

    # -- one unit ---------------------------------------------------------------------------

    async def _keep(self, slot: _Slot) -> None:
        if not slot.unit.has_gate:
            await self._needs_met(slot)
        backoff = self._patience.backoff
        log = LogFile(self._log_path(slot.unit))
        try:
            while not self._stopping.is_set():
                code = await self._live_once(slot, log)
                if self._stopping.is_set():
                    return
                ready_seconds = None if slot.ready_at is None else time.monotonic() - slot.ready_at
                backoff = backoff.after_death(ready_seconds)
                if self._is_hopeless(slot, code, backoff) and not slot.unit.is_optional:
                    return
                self._report_death(slot, code, backoff)
                await self._unless_stopping(asyncio.sleep(backoff.wait_seconds))
        finally:
            log.close()

    async def _needs_met(self, slot: _Slot) -> None:
        for name in slot.unit.needs:
            await self._unless_stopping(self._slots[name].settled.wait())

    def _is_hopeless(self, slot: _Slot, code: int, backoff: Backoff) -> bool:
        if slot.was_ready or slot.has_given_up:
            return False
        if code != EX_CONFIG and backoff.failures < _TRIES_BEFORE_FIRST_READY:
            return False
        if slot.unit.is_optional:
            slot.has_given_up = True
            why = slot.tail[-1] if slot.tail else _how_it_ended(code)
            self._console.event(
                slot.unit.name,
                f"cannot start: {why} What needs it is off; the rest runs.",
                "warning",
            )
            slot.settled.set()
        else:
            self._fail(
                slot,
                f"did not start: it {_how_it_ended(code)}",
                is_configuration=code == EX_CONFIG,
            )
        return True

    def _report_death(self, slot: _Slot, code: int, backoff: Backoff) -> None:
        if slot.has_given_up:
            return
        lines = "" if code < 0 else "".join(f"\n{line}" for line in self._tail(slot))
        self._console.event(
            slot.unit.name,
            f"{_how_it_ended(code)}; starts again in {backoff.wait_seconds:.1f} s{lines}",
            "error",
        )

    async def _live_once(self, slot: _Slot, log: LogFile) -> int:
        """Run the program once, from start to end."""
        slot.tail.clear()
        slot.ready_at = None
        started_at = time.monotonic()
        child = await self._spawner.spawn(slot.unit)
        slot.child = child
        if self._stopping.is_set():
            child.terminate()
        pump = asyncio.create_task(self._pump(slot, child, log))
        watch = asyncio.create_task(self._release_and_watch(slot, child, started_at))
        try:
            return await child.wait()
        finally:
            slot.child = None
            watch.cancel()
            await asyncio.wait([pump], timeout=_OUTPUT_DRAIN_SECONDS)
            pump.cancel()
            await asyncio.gather(pump, watch, return_exceptions=True)

    async def _pump(self, slot: _Slot, child: Child, log: LogFile) -> None:
        async with contextlib.aclosing(child.lines()) as lines:
            async for raw in lines:
                with contextlib.suppress(OSError):  # a full disk must not end the stack
                    log.write(raw)
                self._show(slot, raw.decode(errors="replace"))

    def _show(self, slot: _Slot, raw: str) -> None:
        line = read_log_line(raw)
        slot.tail.append(line.text)
        if self._is_verbose:
            self._console.event(
                slot.unit.name, line.text, "quiet" if line.level == "info" else line.level
            )
            return
        # Before it is ready, and while it ends, a program may complain: its neighbours are not
        # there. Should it fail, its last lines are shown.
        is_early = slot.ready_at is None or self._stopping.is_set()
        if line.level == "info" or (is_early and not line.is_advice):
            return
        verdict = slot.repeats.judge(line.kind, time.monotonic())
        if verdict == "hide" or self._console.is_quiet:
            return
        self._console.event(slot.unit.name, line.text, line.level)
        if verdict == "show-last":
            self._console.event(
                slot.unit.name, f"more of the same is in {self._log_path(slot.unit)}", "quiet"
            )

    async def _release_and_watch(self, slot: _Slot, child: Child, started_at: float) -> None:
        await self._needs_met(slot)
        if not self._stopping.is_set():
            child.release()
        await self._watch_readiness(slot, started_at)

    async def _watch_readiness(self, slot: _Slot, started_at: float) -> None:
        pause, answered_at = _FIRST_POLL_SECONDS, None
        while True:
            readiness = await self._prober.check(slot.unit.probe)
            match readiness:
                case Ready(note=note):
                    self._became_ready(slot, time.monotonic() - started_at, note)
                    return
                case NotReady(reason=reason):
                    answered_at = answered_at or time.monotonic()
                    waited = time.monotonic() - answered_at
                    if waited >= self._patience.not_ready_seconds and not slot.settled.is_set():
                        self._console.event(
                            slot.unit.name, f"answers, but is not ready: {reason}", "warning"
                        )
                        slot.settled.set()
                case Silent():
                    pass
                case never:
                    assert_never(never)
            await asyncio.sleep(pause)
            pause = min(pause * 1.3, _LONGEST_POLL_SECONDS)

    def _became_ready(self, slot: _Slot, seconds: float, note: str) -> None:
        slot.ready_at = time.monotonic()
        again = " again" if slot.was_ready else ""
        slot.was_ready = True
        slot.has_given_up = False
        where = f"  {slot.unit.address}" if slot.unit.address else ""
        self._console.event(slot.unit.name, f"ready{again} in {seconds:.1f} s{where}", "good")
        if note:
            self._console.event(slot.unit.name, note, "warning")
        slot.settled.set()

    # -- end --------------------------------------------------------------------------------

    async def _stop_all(self) -> None:
        self._stopping.set()
        stops = [asyncio.create_task(self._stop(slot)) for slot in self._slots.values()]
        _, late = await asyncio.wait(stops, timeout=self._patience.stop_seconds)
        if late:
            names = [slot.unit.name for slot in self._slots.values() if slot.child is not None]
            self._console.event("launcher", f"ends by force: {', '.join(names)}", "warning")
            self._kill_leftovers()
            await asyncio.wait(late, timeout=5)

    async def _stop(self, slot: _Slot) -> None:
        """Stop one unit after everybody who needs it."""
        keepers = [
            other.keeper
            for other in self._slots.values()
            if slot.unit.name in other.unit.needs and other.keeper is not None
        ]
        if keepers:
            await asyncio.wait(keepers)
        if slot.child is not None:
            slot.child.terminate()
        if slot.keeper is not None:
            await asyncio.wait([slot.keeper])

    def _kill_leftovers(self) -> None:
        for slot in self._slots.values():
            if slot.child is not None:
                slot.child.kill()

    async def _unless_stopping(self, awaitable: Awaitable[object]) -> None:
        waits = [asyncio.ensure_future(awaitable), asyncio.create_task(self._stopping.wait())]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
            await asyncio.gather(*waits, return_exceptions=True)

    def _log_path(self, unit: Unit) -> Path:
        return self._log_dir / f"{unit.name}.log"


def _how_it_ended(code: int) -> str:
    if code >= 0:
        return f"ended with status {code}"
    with contextlib.suppress(ValueError):
        return f"was killed by {signal.Signals(-code).name}"
    return f"was killed by signal {-code}"
