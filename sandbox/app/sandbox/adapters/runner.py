"""The runner's socket protocol behind the `CellRunner` port.

Each session is a connection of its own. Closing it is the command to kill: whatever
ends this side (a cancelled call, a bug, kill -9), the other side sees the hang-up and
ends the session.
"""

import asyncio
import codecs
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sandbox_runner import protocol
from sandbox_runner.protocol import Frame, FrameDecoder, FrameKind
from sandbox_runner.rich_messages import MAX_CONTENT_BYTES, cut
from servicekit.deadline import Deadline
from servicekit.errors import DeadlineExceeded, PayloadTooLarge
from servicekit.wire.execution import ExecutionError, ResourceLimits, RichOutput

from sandbox.adapters.rich_output import rich_output
from sandbox.adapters.runner_files import RunnerFiles, changed_files
from sandbox.cells import (
    CellOutcome,
    CellSession,
    OutputListener,
    Protection,
    RunnerHello,
    Stream,
)
from sandbox.errors import RunnerDown, SandboxOff

_READ_BYTES: Final = 256 << 10
_HELLO_SECONDS: Final = 2.0
# An open is a fork from a pool: milliseconds, unless the machine is starved.
_OPEN_SECONDS: Final = 10.0
# The warden ends a cell at its limit; this is how long it may take to say so.
_REPORT_GRACE_SECONDS: Final = 5.0
# The runner caps output; this is the seat belt in case it does not.
_MAX_KEPT_BYTES: Final = 16 << 20
_DECODER: Final = codecs.getincrementaldecoder("utf-8")
_RETRY_PAUSES: Final = (0.02, 0.05, 0.1, 0.2)


def clean_text(text: object) -> str:
    r"""Return text that UTF-8 can carry: a lone surrogate becomes `\udXXX`."""
    return str(text).encode("utf-8", "backslashreplace").decode("utf-8")


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


class _Connection:
    """Frames over one socket."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._decoder = FrameDecoder(max_json_bytes=protocol.MAX_EVENT_BYTES)
        self._frames: deque[Frame] = deque()

    @classmethod
    async def connect(cls, path: Path) -> "_Connection":
        return cls(*await asyncio.open_unix_connection(path))

    @property
    def is_open(self) -> bool:
        return not (self._reader.at_eof() or self._writer.transport.is_closing())

    def post(self, request: protocol.Request) -> None:
        """Send a short request without waiting."""
        self._writer.write(protocol.encode_request(request))

    async def send(self, request: protocol.Request) -> None:
        self.post(request)
        await self._writer.drain()

    async def send_piece(self, data: bytes) -> None:
        """Send a piece of a file."""
        self._writer.write(protocol.encode_frame(FrameKind.FILE, data))
        await self._writer.drain()

    async def receive(self) -> Frame:
        """Return the next frame; `ConnectionError` at the end of the stream."""
        while not self._frames:
            data = await self._reader.read(_READ_BYTES)
            if not data:
                raise ConnectionResetError("the runner closed the connection")
            self._frames.extend(self._decoder.feed(data))
        return self._frames.popleft()

    async def ask(self, request: protocol.Request) -> protocol.Event:
        await self.send(request)
        return protocol.parse_event(await self.receive())

    def abort(self) -> None:
        # abort, not close: nothing that is still to be written is worth a wait
        self._writer.transport.abort()


@dataclass(frozen=True, slots=True)
class _FileLine:
    """What `RunnerFiles` needs of a session's connection."""

    connection: _Connection
    exchange: asyncio.Lock
    receive: Callable[[], Awaitable[Frame]]

    async def send(self, request: protocol.Request) -> None:
        await self.connection.send(request)

    async def send_piece(self, data: bytes) -> None:
        await self.connection.send_piece(data)

    def abort(self) -> None:
        self.connection.abort()


class RunnerSession:
    """One live session over its connection; see `CellSession`."""

    def __init__(self, connection: _Connection) -> None:
        self._connection = connection
        self._runs = 0
        # One exchange at a time reads the connection; a reset is asked for in the middle of one.
        self._reading = asyncio.Lock()
        self._resets_done = 0
        self.files = RunnerFiles(_FileLine(connection, self._reading, self._receive))

    @property
    def is_alive(self) -> bool:
        """Whether the runner still holds the other end."""
        return self._connection.is_open

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
        order = protocol.Run(str(self._runs), code, timeout_seconds, _limits(limits))
        _check_size(order)
        is_whole = False
        try:
            async with (
                asyncio.timeout(timeout_seconds + _REPORT_GRACE_SECONDS),
                self._reading,
            ):
                await self._connection.send(order)
                outcome = await self._collect(order.id, listener)
            is_whole = not outcome.is_session_ended
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

    async def _collect(self, run_id: str, listener: OutputListener | None) -> CellOutcome:
        stdout, stderr = _Output("stdout", listener), _Output("stderr", listener)
        streams = {FrameKind.STDOUT: stdout, FrameKind.STDERR: stderr}
        shown = bytearray()
        while (frame := await self._receive()).kind is not FrameKind.JSON:
            if frame.kind is FrameKind.DISPLAY:
                shown += frame.payload
            elif frame.kind in streams:
                streams[frame.kind].add(frame.payload)
            if frame.kind is FrameKind.FILE or len(shown) > MAX_CONTENT_BYTES:
                raise protocol.ProtocolError("a frame that no run sends")
        event = protocol.parse_event(frame)
        if not isinstance(event, protocol.Done) or event.id != run_id:
            raise protocol.ProtocolError("expected the end of the run")
        return _outcome(event, stdout, stderr, _outputs(event, bytes(shown)))

    async def _receive(self) -> Frame:
        """Return the next frame that does not answer a reset."""
        while (frame := await self._connection.receive()).kind is FrameKind.JSON:
            if not isinstance(protocol.parse_event(frame), protocol.ResetDone):
                break
            self._resets_done += 1
        return frame

    def cancel(self) -> None:
        """Have the run in progress killed; it reports its end itself."""
        self._connection.post(protocol.Cancel())

    async def reset(self) -> None:
        """Put a fresh interpreter in the place of the one before."""
        try:
            async with asyncio.timeout(_OPEN_SECONDS):
                self._connection.post(protocol.Reset())
                async with self._reading:
                    if self._resets_done:
                        self._resets_done -= 1
                    else:
                        self._expect(await self._connection.receive(), protocol.ResetDone)
        except (OSError, TimeoutError, protocol.ProtocolError) as error:
            self.close()
            raise RunnerDown(
                "The session went away while it was given a fresh interpreter; "
                "create a new session."
            ) from error
        except BaseException:
            self.close()  # half a message was exchanged: the connection can't be used further
            raise

    async def use_packages(self, path: Path) -> None:
        """Put a package set on the session's import path, in place of the former one."""
        try:
            async with asyncio.timeout(_OPEN_SECONDS), self._reading:
                await self._connection.send(protocol.Packages(str(path)))
                self._expect(await self._receive(), protocol.PackagesApplied)
        except (OSError, TimeoutError, protocol.ProtocolError) as error:
            self.close()
            raise RunnerDown(
                "The session's interpreter went away while it was given the packages; "
                "create a new session."
            ) from error
        except BaseException:
            self.close()  # half a message was exchanged: the connection can't be used further
            raise

    @staticmethod
    def _expect(frame: Frame, kind: type[protocol.Event]) -> None:
        if not isinstance(protocol.parse_event(frame), kind):
            raise protocol.ProtocolError(f"expected {kind.__name__}")

    def close(self) -> None:
        """End the session; everything in it dies."""
        self._connection.abort()


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

    async def hello(self) -> RunnerHello:
        """Ask the runner how it is; one try."""
        connection: _Connection | None = None
        try:
            async with asyncio.timeout(_HELLO_SECONDS):
                connection = await _Connection.connect(self._socket)
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
        self._bounds = hello.bounds
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
        order = protocol.Open(_limits(limits), path)
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
                    raise self._down() from error
            await _pause(attempt, tries_until)
            attempt += 1

    async def _open_once(self, order: protocol.Open, deadline: Deadline) -> RunnerSession | None:
        connection: _Connection | None = None
        is_opened = False
        try:
            async with asyncio.timeout(deadline.remaining()):
                connection = await _Connection.connect(self._socket)
                event = await connection.ask(order)
            is_opened = isinstance(event, protocol.Opened)
        finally:
            if connection is not None and not is_opened:
                connection.abort()
        if is_opened:
            return RunnerSession(connection)
        return self._refused(event)

    @staticmethod
    def _refused(event: protocol.Event) -> None:
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

    def _down(self) -> RunnerDown:
        return RunnerDown(
            "The sandbox's runner does not answer at its socket; code can't be run until it is "
            "back. It is restarted by itself: try again in a few seconds.",
            retry_after_seconds=2.0,
        )


async def _pause(attempt: int, tries_until: Deadline) -> None:
    pause = _RETRY_PAUSES[min(attempt, len(_RETRY_PAUSES) - 1)]
    await asyncio.sleep(min(pause, tries_until.remaining()))


def _check_size(order: protocol.Run) -> None:
    # The frame's JSON escapes what is not ASCII: six bytes for a character, at most twelve.
    if len(order.code) * 12 < protocol.MAX_REQUEST_BYTES - 1024:
        return
    size = len(protocol.encode_request(order))
    if size > protocol.MAX_REQUEST_BYTES:
        raise PayloadTooLarge(
            f"The code is too long: {size} bytes as the runner gets it, of "
            f"{protocol.MAX_REQUEST_BYTES}. Split it over several cells."
        )


def _hello(event: protocol.HelloEvent) -> RunnerHello:
    return RunnerHello(
        python=clean_text(event.python),
        is_safe=event.is_safe,
        protections=tuple(
            Protection(item.name, item.state, item.detail) for item in event.protections
        ),
        preloaded=event.preloaded,
        slots=event.slots.size,
        slots_in_use=event.slots.in_use,
        bounds=ResourceLimits(
            memory_bytes=event.bounds.memory_bytes,
            processes=event.bounds.processes,
            output_bytes=event.bounds.output_bytes,
            file_bytes=event.bounds.file_bytes,
            disk_bytes=event.bounds.disk_bytes,
            files=event.bounds.disk_entries,
        ),
    )


def _limits(limits: ResourceLimits) -> protocol.Limits:
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
    outputs = (rich_output(kind, forms) for kind, forms in shown)
    return tuple(output for output in outputs if output is not None)


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
    )


def _error(error: protocol.CellError) -> ExecutionError:
    return ExecutionError(
        type=clean_text(error.type),
        message=clean_text(error.message),
        traceback=clean_text(error.traceback),
    )
