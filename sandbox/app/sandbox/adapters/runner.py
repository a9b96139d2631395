"""The runner's socket protocol behind the `CellRunner` port.

Each session is a connection of its own; see `runner_session`.
"""

import asyncio
from pathlib import Path
from typing import Final

from sandbox_runner import protocol
from servicekit.deadline import Deadline
from servicekit.errors import DeadlineExceeded
from servicekit.wire.execution import ResourceLimits

from sandbox.adapters.clean_text import clean_text
from sandbox.adapters.runner_connection import Arrival, Connection
from sandbox.adapters.runner_session import RunnerSession, wire_limits
from sandbox.cells import CellSession, Protection, RunnerHello
from sandbox.errors import RunnerDown, SandboxOff
from sandbox.metrics import POOL_CLAIMS

_HELLO_SECONDS: Final = 2.0
# An open is a fork from a pool: milliseconds, unless the machine is starved. The runner gives up
# after five seconds, and says so.
_OPEN_SECONDS: Final = 10.0
_RETRY_PAUSES: Final = (0.02, 0.05, 0.1, 0.2)


class SocketRunner:
    """The runner at a Unix socket; see `CellRunner`.

    Parameters
    ----------
    socket
        The runner's socket.
    connect_seconds
        How long to try again while nobody answers there: a runner that was killed is
        back within about a second.
    """

    def __init__(self, socket: Path, *, connect_seconds: float) -> None:
        self._socket = socket
        self._connect_seconds = connect_seconds
        self._bounds: ResourceLimits | None = None
        self.longest_seconds: float | None = None

    async def hello(self) -> RunnerHello:
        """Ask the runner how it is; one try."""
        connection: Connection | None = None
        try:
            async with asyncio.timeout(_HELLO_SECONDS):
                connection = await Connection.connect(self._socket)
                event = await connection.ask(protocol.Hello())
        except (OSError, TimeoutError, protocol.ProtocolError) as error:
            raise self._down() from error
        finally:
            if connection is not None:
                connection.abort()
        if not isinstance(event, protocol.HelloEvent):
            raise self._down()
        if event.protocol != protocol.PROTOCOL_VERSION:
            raise RunnerDown(
                f"The runner speaks protocol {event.protocol}, this service "
                f"{protocol.PROTOCOL_VERSION}; start both from the same release."
            )
        hello = _hello(event)
        self._bounds, self.longest_seconds = hello.bounds, hello.longest_seconds
        return hello

    async def bounds(self, deadline: Deadline) -> ResourceLimits:
        """Return the runner's bounds, as it last said them; it is asked with every health check."""
        tries_until = deadline.within(self._connect_seconds)
        attempt = 0
        while self._bounds is None:
            try:
                await self.hello()
            except RunnerDown:
                if tries_until.is_expired:
                    raise
                await _pause(attempt, tries_until)
                attempt += 1
        return self._bounds

    async def open(
        self, *, package_path: Path | None, limits: ResourceLimits, deadline: Deadline
    ) -> CellSession | None:
        """Open a session; None when the runner has no free slot."""
        path = None if package_path is None else str(package_path)
        order = protocol.Open(wire_limits(limits), path)
        tries_until = deadline.within(self._connect_seconds)
        attempt = 0
        while True:
            try:
                return await self._open_once(order, deadline.within(_OPEN_SECONDS))
            except (OSError, TimeoutError, protocol.ProtocolError) as error:
                # Nothing ran yet, so trying again is harmless.
                if attempt == 0 and deadline.is_expired and isinstance(error, TimeoutError):
                    raise DeadlineExceeded(  # it was the caller's time that was too short
                        "The time for this request ended before its code could start. "
                        "Try again later or allow more time."
                    ) from error
                if tries_until.is_expired:
                    is_stuck = isinstance(error, TimeoutError)
                    raise (self._stuck() if is_stuck else self._down()) from error
            await _pause(attempt, tries_until)
            attempt += 1

    async def _open_once(self, order: protocol.Open, deadline: Deadline) -> RunnerSession | None:
        connection: Connection | None = None
        is_opened = False
        try:
            async with asyncio.timeout(deadline.remaining()):
                connection = await Connection.connect(self._socket)
                event = await connection.ask(order)
            is_opened = isinstance(event, protocol.Opened)
        finally:
            if connection is not None and not is_opened:
                connection.abort()
        if isinstance(event, protocol.Opened):
            POOL_CLAIMS.labels(outcome="hit" if event.was_waiting else "miss").inc()
            return RunnerSession(connection, was_waiting=event.was_waiting)
        return self._refused(event)

    @staticmethod
    def _refused(event: Arrival) -> None:
        if not isinstance(event, protocol.Refused):
            raise protocol.ProtocolError("expected a session or a refusal")
        if event.reason == "unsafe":
            raise SandboxOff(
                "The sandbox is off: this machine's kernel can't isolate untrusted code "
                f"({clean_text(event.detail)}). Run it on Linux with Landlock."
            )
        if event.reason == "bad-request":
            raise RunnerDown(  # a package set that was removed, or two different releases
                f"The runner refused to open a session: {clean_text(event.detail)}."
            )

    @staticmethod
    def _stuck() -> RunnerDown:
        return RunnerDown(
            "The sandbox's runner took the request and opened no session in time: its machine is "
            "overloaded, or can't start another process. Try again later.",
            retry_after_seconds=5.0,
        )

    def _down(self) -> RunnerDown:
        return RunnerDown(
            "The sandbox's runner does not answer at its socket; code can't be run until it is "
            "back. It is restarted by itself: try again in a few seconds.",
            retry_after_seconds=2.0,
        )


async def _pause(attempt: int, tries_until: Deadline) -> None:
    pause = _RETRY_PAUSES[min(attempt, len(_RETRY_PAUSES) - 1)]
    await asyncio.sleep(min(pause, tries_until.remaining()))


def _hello(event: protocol.HelloEvent) -> RunnerHello:
    return RunnerHello(
        python=clean_text(event.python),
        is_safe=event.is_safe,
        runs_code=event.runs_code,
        protections=tuple(
            Protection(item.name, item.state, item.detail) for item in event.protections
        ),
        preloaded=event.preloaded,
        slots=event.slots.size,
        slots_in_use=event.slots.in_use,
        started_seconds=event.started_seconds,
        longest_seconds=event.bounds.timeout_seconds,
        bounds=ResourceLimits(
            memory_bytes=event.bounds.memory_bytes,
            processes=event.bounds.processes,
            output_bytes=event.bounds.output_bytes,
            file_bytes=event.bounds.file_bytes,
            disk_bytes=event.bounds.disk_bytes,
            files=event.bounds.disk_entries,
        ),
    )
