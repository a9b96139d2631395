"""One session of the runner, over the connection that is its life.

Closing the connection is the command to kill: whatever ends this side (a cancelled call, a bug,
kill -9), the other side sees the hang-up and ends the session.
"""

import asyncio
import codecs
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sandbox_runner import protocol
from sandbox_runner.protocol import Frame, FrameKind, ResetDone
from sandbox_runner.rich_messages import MAX_CONTENT_BYTES, cut
from servicekit.errors import PayloadTooLarge
from servicekit.wire.execution import ExecutionError, ResourceLimits, RichOutput

from sandbox.adapters.clean_text import clean_text
from sandbox.adapters.rich_output import rich_outputs
from sandbox.adapters.runner_connection import Arrival, Connection
from sandbox.adapters.runner_files import RunnerFiles, changed_files
from sandbox.adapters.to_its_end import to_its_end
from sandbox.cells import CellOutcome, OutputListener, Stream
from sandbox.errors import RunnerDown
from sandbox.metrics import KILL_SECONDS

# The warden answers between two runs at once, unless the machine is starved.
_ANSWER_SECONDS: Final = 10.0
# The warden ends a cell at its limit; this is how long it may take to say so.
_REPORT_GRACE_SECONDS: Final = 5.0
# A kill takes some 10 ms; after this nobody listens any more.
_PARTING_SECONDS: Final = 2.0
# The runner caps output; this is the seat belt in case it does not.
_MAX_KEPT_BYTES: Final = 16 << 20
# A request's other members, names of limits and their numbers, take some 300 bytes.
_MAX_CODE_BYTES: Final = protocol.MAX_REQUEST_BYTES - 1024
_DECODER: Final = codecs.getincrementaldecoder("utf-8")


class _Output:
    """What one stream wrote, up to a cap, and as it comes for who listens."""

    def __init__(self, name: Stream, listener: OutputListener | None) -> None:
        self._name = name
        self._listener = listener
        self._decoder = _DECODER("replace")
        self._parts: list[str] = []
        self._kept = 0
        self.dropped = 0

    def add(self, data: bytes) -> None:
        kept = data[: max(0, _MAX_KEPT_BYTES - self._kept)]
        self._kept += len(kept)
        self.dropped += len(data) - len(kept)
        self._take(self._decoder.decode(kept))

    def end(self) -> str:
        """Return the whole text; a character whose rest did not come is replaced."""
        self._take(self._decoder.decode(b"", final=True))
        return "".join(self._parts)

    def _take(self, text: str) -> None:
        if not text:
            return
        self._parts.append(text)
        if self._listener is not None:
            self._listener(self._name, text)


@dataclass(frozen=True, slots=True)
class _FileLine:
    """What `RunnerFiles` needs of a session's connection."""

    connection: Connection
    exchange: asyncio.Lock
    receive: Callable[[], Awaitable[Arrival]]

    async def send(self, request: protocol.Request) -> None:
        """Send a request; wait while the other side is behind."""
        await self.connection.send(request)

    async def send_piece(self, data: bytes) -> None:
        await self.connection.send_piece(data)

    def abort(self) -> None:
        """Hang up at once."""
        self.connection.abort()


class RunnerSession:
    """One live session over its connection; see `CellSession`."""

    def __init__(self, connection: Connection, *, was_waiting: bool) -> None:
        self._connection = connection
        self.was_waiting = was_waiting
        self._runs = 0
        self._parting: asyncio.Task[None] | None = None
        # One exchange at a time reads the connection; a reset is asked for in the middle of one.
        self._reading = asyncio.Lock()
        self._resets_done = 0
        self.files = RunnerFiles(_FileLine(connection, self._reading, self._receive))

    @property
    def is_alive(self) -> bool:
        """Whether the runner still holds the other end."""
        return self._connection.is_open and self._parting is None

    async def run(
        self,
        code: str,
        *,
        timeout_seconds: float,
        limits: ResourceLimits,
        listener: OutputListener | None = None,
    ) -> CellOutcome:
        """Run one cell to its end; a cancelled call kills the session."""
        self._runs += 1
        order = protocol.Run(str(self._runs), code, timeout_seconds, wire_limits(limits))
        is_whole = False
        try:
            async with (
                asyncio.timeout(timeout_seconds + _REPORT_GRACE_SECONDS),
                self._reading,
            ):
                await self._connection.send(order)
                outcome = await self._collect(order.id, listener)
            is_whole = not outcome.is_session_ended
        except asyncio.CancelledError:
            self._part()
            raise
        except TimeoutError:
            raise RunnerDown(
                "The sandbox's runner did not report the end of the run in time; the run was "
                "given up. Run the code again."
            ) from None
        except (OSError, protocol.ProtocolError) as error:
            raise RunnerDown(
                "The sandbox's runner went away while the code ran; what the code did is not "
                "known. Run it again."
            ) from error
        finally:
            if not is_whole:
                self.close()
        return outcome

    def _part(self) -> None:
        """Have the run in progress killed, and hear how long that took before hanging up."""
        self.cancel()
        self._parting = asyncio.get_running_loop().create_task(self._hear_the_end())

    async def _hear_the_end(self) -> None:
        try:
            async with asyncio.timeout(_PARTING_SECONDS):
                while not isinstance(event := await self._connection.receive(), protocol.Done):
                    continue
            if event.kill_ms is not None:
                KILL_SECONDS.observe(event.kill_ms / 1000)
        except (OSError, TimeoutError, protocol.ProtocolError):
            return  # the hang-up kills it all the same
        finally:
            self._connection.abort()

    async def _collect(self, run_id: str, listener: OutputListener | None) -> CellOutcome:
        stdout, stderr = _Output("stdout", listener), _Output("stderr", listener)
        streams = {FrameKind.STDOUT: stdout, FrameKind.STDERR: stderr}
        shown = bytearray()
        while isinstance(event := await self._receive(), Frame):
            if event.kind is FrameKind.DISPLAY:
                shown += event.payload
            elif event.kind in streams:
                streams[event.kind].add(event.payload)
            if event.kind is FrameKind.FILE or len(shown) > MAX_CONTENT_BYTES:
                raise protocol.ProtocolError("a frame that no run sends")
        if not isinstance(event, protocol.Done) or event.id != run_id:
            raise protocol.ProtocolError("expected the end of the run")
        return _outcome(event, stdout, stderr, _outputs(event, bytes(shown)))

    async def _receive(self) -> Arrival:
        """Return what comes next and does not answer a reset."""
        while isinstance(arrival := await self._connection.receive(), ResetDone):
            self._resets_done += 1
        return arrival

    def cancel(self) -> None:
        """Have the run in progress killed; it reports its end itself."""
        with suppress(ConnectionError):  # then the run's own end says what happened
            self._connection.post(protocol.Cancel())

    async def reset(self) -> None:
        """Put a fresh interpreter in the place of the one before."""
        async with self._exchange("while it was given a fresh interpreter"):
            self._connection.post(protocol.Reset())
            self.files.overtake()
            async with self._reading:
                if self._resets_done:
                    self._resets_done -= 1
                else:
                    self._expect(await self._past_output(self._connection.receive), ResetDone)

    async def use_packages(self, path: Path) -> None:
        """Put a package set on the session's import path, in place of the former one.

        A cancelled call ends when that is done, and the session lives on.
        """
        await to_its_end(self._use_packages(path))

    async def _use_packages(self, path: Path) -> None:
        async with self._exchange("while it was given the packages"), self._reading:
            await self._connection.send(protocol.Packages(str(path)))
            self._expect(await self._past_output(self._receive), protocol.PackagesApplied)

    @staticmethod
    async def _past_output(receive: Callable[[], Awaitable[Arrival]]) -> protocol.Event:
        """Return the next event: what threads print between two runs is nobody's."""
        while isinstance(arrival := await receive(), Frame):
            continue
        return arrival

    @asynccontextmanager
    async def _exchange(self, meanwhile: str) -> AsyncIterator[None]:
        """Bound one question and its answer; a connection with half of them is of no more use."""
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                yield
        except (OSError, TimeoutError, protocol.ProtocolError) as error:
            self.close()
            raise RunnerDown(f"The session went away {meanwhile}; create a new session.") from error
        except BaseException:
            self.close()
            raise

    @staticmethod
    def _expect(arrival: Arrival, kind: type[protocol.Event]) -> None:
        if not isinstance(arrival, kind):
            raise protocol.ProtocolError(f"expected {kind.__name__}")

    def close(self) -> None:
        """End the session; everything in it dies."""
        if self._parting is None:
            self._connection.abort()


def check_code(code: str) -> None:
    """See to it that the runner can be sent some code.

    Raises
    ------
    PayloadTooLarge
        It is too long for a request.
    """
    # The frame's JSON escapes what is not ASCII: six bytes for a character, at most twelve.
    if len(code) * 12 < _MAX_CODE_BYTES:
        return
    size = len(protocol.encode_request(protocol.Run("", code, 1.0)))
    if size > _MAX_CODE_BYTES:
        raise PayloadTooLarge(
            f"The code is too long: {size} bytes as the runner gets it, of "
            f"{_MAX_CODE_BYTES}. Split it over several cells."
        )


def wire_limits(limits: ResourceLimits) -> protocol.Limits:
    """Return limits as the runner is told them."""
    return protocol.Limits(
        memory_bytes=limits.memory_bytes,
        processes=limits.processes,
        output_bytes=limits.output_bytes,
        file_bytes=limits.file_bytes,
        disk_bytes=limits.disk_bytes,
        disk_entries=limits.files,
    )


def _outputs(event: protocol.Done, content: bytes) -> tuple[RichOutput, ...]:
    try:
        shown = cut(event.outputs, content)
    except ValueError as error:
        raise protocol.ProtocolError(str(error)) from None
    return rich_outputs(shown)


def _outcome(
    event: protocol.Done, stdout: _Output, stderr: _Output, outputs: tuple[RichOutput, ...]
) -> CellOutcome:
    return CellOutcome(
        status=event.status,
        signal=event.signal,
        stdout=stdout.end(),
        stderr=stderr.end(),
        result=None if event.result is None else clean_text(event.result),
        error=None if event.error is None else _error(event.error),
        duration_ms=event.duration_ms,
        peak_memory_bytes=event.peak_memory_bytes,
        kill_ms=event.kill_ms,
        stdout_dropped_bytes=event.stdout_dropped + stdout.dropped,
        stderr_dropped_bytes=event.stderr_dropped + stderr.dropped,
        is_session_ended=event.session_ended,
        outputs=outputs,
        outputs_dropped=event.outputs_dropped + len(event.outputs) - len(outputs),
        files=changed_files(event.files),
        is_light=event.is_light and not event.session_ended,
    )


def _error(error: protocol.CellError) -> ExecutionError:
    return ExecutionError(
        type=clean_text(error.type),
        message=clean_text(error.message),
        traceback=clean_text(error.traceback),
    )
