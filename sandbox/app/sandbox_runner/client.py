"""A small blocking client of the runner, for tests, the bench and trying things by hand."""

import socket
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self

from sandbox_runner.file_messages import (
    DeleteFile,
    FileDeleted,
    FileEnd,
    FileList,
    FileRefused,
    FileWritten,
    ListFiles,
    ReadFile,
    WriteFile,
)
from sandbox_runner.protocol import (
    MAX_EVENT_BYTES,
    MAX_OUTPUT_BYTES,
    Cancel,
    Close,
    Done,
    Event,
    FrameDecoder,
    FrameKind,
    Hello,
    HelloEvent,
    Limits,
    Open,
    Opened,
    Packages,
    PackagesApplied,
    Refused,
    Request,
    Reset,
    ResetDone,
    Run,
    encode_frame,
    encode_request,
    parse_event,
)
from sandbox_runner.rich_messages import OutputKind, cut

_READ_BYTES: Final = 256 << 10


class RefusedError(Exception):
    """The runner refused a request."""

    def __init__(self, refusal: Refused) -> None:
        super().__init__(f"{refusal.reason}: {refusal.detail}")
        self.refusal = refusal


@dataclass(frozen=True, slots=True)
class CellRun:
    """A finished run with its output."""

    done: Done
    stdout: bytes
    stderr: bytes
    outputs: tuple[tuple[OutputKind, dict[str, bytes]], ...] = ()

    @property
    def text(self) -> str:
        """Standard output as text."""
        return self.stdout.decode("utf-8", "replace")


class RunnerSession:
    """One session over one connection.

    Parameters
    ----------
    path
        The runner's socket.
    patience_seconds
        How long any single answer may take to begin.
    """

    def __init__(
        self,
        path: str,
        *,
        limits: Limits | None = None,
        package_path: str | None = None,
        patience_seconds: float = 30.0,
    ) -> None:
        self._connection = _connect(path, patience_seconds)
        self._decoder = FrameDecoder(max_json_bytes=MAX_EVENT_BYTES)
        self._events: list[Event] = []
        self._output = {kind: bytearray() for kind in FrameKind if kind is not FrameKind.JSON}
        self._count = 0
        try:
            self.send(Open(limits or Limits(), package_path))
            opened = self.next_event()
        except BaseException:
            self._connection.close()
            raise
        if not isinstance(opened, Opened):
            self._connection.close()
            raise RefusedError(opened) if isinstance(opened, Refused) else TypeError(opened)
        self.name = opened.session

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.hang_up()

    def run(self, code: str, timeout_seconds: float = 5.0, limits: Limits | None = None) -> CellRun:
        """Run a cell to its end."""
        self.start(code, timeout_seconds, limits)
        return self.finish()

    def start(self, code: str, timeout_seconds: float = 5.0, limits: Limits | None = None) -> None:
        """Send a cell and return at once."""
        self._count += 1
        for buffer in self._output.values():
            buffer.clear()
        self._connection.settimeout(timeout_seconds + 30.0)
        self.send(Run(str(self._count), code, timeout_seconds, limits or Limits()))

    def finish(self) -> CellRun:
        """Wait for the end of the cell that was started."""
        event = self.next_event()
        if isinstance(event, Refused):
            raise RefusedError(event)
        if not isinstance(event, Done):
            raise TypeError(event)
        stdout, stderr = (
            bytes(self._output[kind]) for kind in (FrameKind.STDOUT, FrameKind.STDERR)
        )
        content = bytes(self._output[FrameKind.DISPLAY])
        return CellRun(event, stdout, stderr, cut(event.outputs, content))

    @property
    def output(self) -> bytes:
        """What has come of standard output since the latest run was started."""
        return bytes(self._output[FrameKind.STDOUT])

    def wait_for_output(self, text: bytes) -> None:
        """Read on until standard output holds `text`."""
        while text not in self._output[FrameKind.STDOUT]:
            self._read()

    def use_packages(self, path: str) -> None:
        """Make a package set importable."""
        self.send(Packages(path))
        event = self.next_event()
        if isinstance(event, Refused):
            raise RefusedError(event)
        if not isinstance(event, PackagesApplied):
            raise TypeError(event)

    def reset(self) -> None:
        """Get a fresh interpreter."""
        self.send(Reset())
        event = self.next_event()
        if isinstance(event, Refused):
            raise RefusedError(event)
        if not isinstance(event, ResetDone):
            raise TypeError(event)

    def files(self) -> FileList:
        """List the session's files."""
        self.send(ListFiles())
        event = self.next_event()
        if not isinstance(event, FileList):
            raise TypeError(event)
        return event

    def read_file(self, path: str) -> bytes | FileRefused:
        """Return a file's content."""
        self.send(ReadFile(path))
        opened = self.next_event()
        if isinstance(opened, FileRefused):
            return opened
        end = self.next_event()
        if not isinstance(end, FileEnd) or not end.is_whole:
            raise TypeError(end)
        content = bytes(self._output[FrameKind.FILE])
        self._output[FrameKind.FILE].clear()
        return content

    def write_file(self, path: str, content: bytes) -> FileWritten | FileRefused:
        """Write a file in one go; an upload that is refused early is sent to its end."""
        self.send(WriteFile(path))
        for start in range(0, len(content), MAX_OUTPUT_BYTES):
            self.send_piece(content[start : start + MAX_OUTPUT_BYTES])
        self.send_piece(b"")
        event = self.next_event()
        if not isinstance(event, FileWritten | FileRefused):
            raise TypeError(event)
        return event

    def send_piece(self, data: bytes) -> None:
        """Send a FILE frame; an empty one ends an upload."""
        self._connection.sendall(encode_frame(FrameKind.FILE, data))

    def delete_file(self, path: str) -> FileDeleted | FileRefused:
        """Remove a file."""
        self.send(DeleteFile(path))
        event = self.next_event()
        if not isinstance(event, FileDeleted | FileRefused):
            raise TypeError(event)
        return event

    def cancel(self) -> None:
        """Ask for the end of the run in progress."""
        self.send(Cancel())

    def close(self) -> None:
        """End the session and wait until the runner has hung up."""
        self.send(Close())
        while self._connection.recv(_READ_BYTES):
            pass
        self._connection.close()

    def hang_up(self) -> None:
        """Go without a word."""
        self._connection.close()

    def send(self, request: Request) -> None:
        """Send any request."""
        self._connection.sendall(encode_request(request))

    def send_bytes(self, data: bytes) -> None:
        """Send what may be no request at all."""
        self._connection.sendall(data)

    def next_event(self) -> Event:
        """Return the next JSON event; output on the way is kept."""
        while not self._events:
            self._read()
        return self._events.pop(0)

    def _read(self) -> None:
        data = self._connection.recv(_READ_BYTES)
        if not data:
            raise EOFError("the runner hung up")
        for frame in self._decoder.feed(data):
            if frame.kind is FrameKind.JSON:
                self._events.append(parse_event(frame))
            else:
                self._output[frame.kind] += frame.payload


def hello(path: str, patience_seconds: float = 30.0) -> HelloEvent:
    """Return what a runner says of itself."""
    with _connect(path, patience_seconds) as connection:
        connection.sendall(encode_request(Hello()))
        decoder = FrameDecoder(max_json_bytes=MAX_EVENT_BYTES)
        while data := connection.recv(_READ_BYTES):
            for frame in decoder.feed(data):
                event = parse_event(frame)
                if not isinstance(event, HelloEvent):
                    raise TypeError(event)
                return event
    raise EOFError("the runner hung up")


def _connect(path: str, patience_seconds: float) -> socket.socket:
    """Return a connection; a runner that is just starting is waited for."""
    limit = time.monotonic() + patience_seconds
    while True:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.settimeout(patience_seconds)
        try:
            connection.connect(path)
        except (FileNotFoundError, ConnectionRefusedError):
            connection.close()
            if time.monotonic() > limit:
                raise
            time.sleep(0.01)
        else:
            return connection
