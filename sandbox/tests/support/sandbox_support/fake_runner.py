"""A runner that follows a script: the real protocol over a real socket, no code is run."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Self

from sandbox_runner import protocol
from sandbox_runner.protocol import CellError, Done, Frame, FrameDecoder, FrameKind
from sandbox_runner.rich_messages import OutputHead

INVENTORY = {"python": "3.11.7", "packages": [["numpy", "2.3.4"], ["not a version", "?"]]}


MIB = 1 << 20
BOUNDS = protocol.Bounds(
    memory_bytes=512 * MIB,
    processes=64,
    output_bytes=MIB,
    file_bytes=64 * MIB,
    disk_bytes=128 * MIB,
    disk_entries=10_000,
    timeout_seconds=600.0,
)


@dataclass
class FakeSession:
    number: int
    package_path: str | None
    limits: protocol.Limits = field(default_factory=protocol.Limits)
    runs: list[protocol.Run] = field(default_factory=list)
    variables: dict[str, object] = field(default_factory=dict)
    codes: list[str] = field(default_factory=list)
    is_open: bool = True
    resets: int = 0
    late_cancels: int = 0


@dataclass(frozen=True)
class Reply:
    """What a cell answers: its output frames, then its end. None as end: it runs for ever."""

    frames: tuple[Frame, ...] = ()
    done: Done | None = field(default_factory=lambda: Done("", "ok"))


def out(text: str | bytes) -> Frame:
    return Frame(FrameKind.STDOUT, text if isinstance(text, bytes) else text.encode())


def err(text: str) -> Frame:
    return Frame(FrameKind.STDERR, text.encode())


SHOWS = "\n".join(
    (
        "class V:",
        "    def _repr_html_(self): return '<b>ü</b>'",
        "    def __repr__(self): return 'V!'",
        "V()",
    )
)
SCRIPT: dict[str, Reply] = {
    SHOWS: Reply(
        (Frame(FrameKind.DISPLAY, "<b>ü</b>".encode()),),
        Done(
            "",
            "ok",
            result="V!",
            outputs=(OutputHead("result", (("text/html", 9),)),),
        ),
    ),
    "print(6*7)": Reply((out("42\n"),)),
    "6*7": Reply(done=Done("", "ok", result="42")),
    "import sys; print('out'); print('err', file=sys.stderr)": Reply((out("out\n"), err("err\n"))),
    "raise ValueError('boom')": Reply(
        done=Done(
            "",
            "error",
            error=CellError("ValueError", "boom", "Traceback …\nValueError: boom\n"),
        )
    ),
    "import sys; sys.stdout.buffer.write(b'\\xff\\xfe ok')": Reply((out(b"\xff\xfe ok"),)),
    "'\\ud800'": Reply(done=Done("", "ok", result="'\ud800'")),
    "while True: pass": Reply(done=None),
    "import os; os.kill(os.getpid(), 11)": Reply(
        done=Done("", "crashed", signal="SIGSEGV", session_ended=True)
    ),
}


class FakeRunner:
    """Serves sessions at a Unix socket.

    `hold` makes runs wait until `release` is set; `refuse_as` makes every open fail;
    `on_run` may replace the script for a cell; `is_deaf` has runs go on when they are cancelled;
    `patience_seconds` is how long it looks for a place before it says that there is none;
    `late_output` is what a session's threads print before it answers between two runs.
    """

    def __init__(self, socket: Path) -> None:
        self.socket = socket
        self.sessions: list[FakeSession] = []
        self.is_safe = True
        self.accepts_unsafe = False
        self.slots = 1000
        self.held: set[str] = set()
        self.release = asyncio.Event()
        self.started: list[str] = []
        self.on_run: Callable[[FakeSession, str], Reply | None] = lambda _, __: None
        self.is_mute = False
        self.is_deaf = False
        self.refusals = 0
        self.patience_seconds = 0.0
        self.longest_seconds = BOUNDS.timeout_seconds
        self.late_output: tuple[Frame, ...] = ()
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        self._server = await asyncio.start_unix_server(self._accept, self.socket)

    async def stop(self) -> None:
        """End as by kill -9: the socket stays in the folder, every connection is cut."""
        if self._server is not None:
            self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.socket.unlink(missing_ok=True)

    @property
    def open_sessions(self) -> int:
        return sum(session.is_open for session in self.sessions)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self._serve(_Peer(reader, writer))
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.transport.abort()
            self._tasks.discard(task)

    async def _serve(self, peer: "_Peer") -> None:
        request = await peer.request()
        if self.is_mute:
            await asyncio.Event().wait()
        if isinstance(request, protocol.Hello):
            await peer.send(
                protocol.HelloEvent(
                    protocol=protocol.PROTOCOL_VERSION,
                    python="3.11.7",
                    protections=(
                        protocol.Protection(
                            "landlock", "active" if self.is_safe else "unavailable", "ABI 7"
                        ),
                    ),
                    is_safe=self.is_safe,
                    runs_code=self.is_safe or self.accepts_unsafe,
                    preloaded=(),
                    slots=protocol.SlotUse(self.slots, self.open_sessions),
                    bounds=replace(BOUNDS, timeout_seconds=self.longest_seconds),
                    started_seconds=1.5e9,
                )
            )
        elif isinstance(request, protocol.Open):
            await self._open(peer, request)

    async def _open(self, peer: "_Peer", request: protocol.Open) -> None:
        if not (self.is_safe or self.accepts_unsafe):
            await peer.send(protocol.Refused("unsafe", "no Landlock"))
        elif self.open_sessions >= self.slots:
            self.refusals += 1
            await asyncio.sleep(self.patience_seconds)
            await peer.send(protocol.Refused("full", "all slots are taken"))
        else:
            session = FakeSession(len(self.sessions), request.package_path, request.limits)
            self.sessions.append(session)
            try:
                await peer.send(protocol.Opened(f"fake-{session.number}", was_waiting=True))
                while session.is_open:
                    await self._answer(peer, session, await peer.request())
            finally:
                session.is_open = False

    async def _answer(self, peer: "_Peer", session: FakeSession, request: protocol.Request) -> None:
        match request:
            case protocol.Run():
                await self._run(peer, session, request)
            case protocol.Packages(path=path):
                session.package_path = path
                self.started.append("packages")
                await self._print_between_runs(peer)
                if "packages" in self.held:
                    await self.release.wait()
                await peer.send(protocol.PackagesApplied())
            case protocol.Reset():
                session.variables.clear()
                session.resets += 1
                await self._print_between_runs(peer)
                await peer.send(protocol.ResetDone())
            case protocol.Cancel():
                session.late_cancels += 1
            case _:
                session.is_open = False

    async def _print_between_runs(self, peer: "_Peer") -> None:
        for frame in self.late_output:
            await peer.write(protocol.encode_frame(frame.kind, frame.payload))

    async def _run(self, peer: "_Peer", session: FakeSession, request: protocol.Run) -> None:
        session.codes.append(request.code)
        session.runs.append(request)
        self.started.append(request.code)
        told = await peer.unless_told(self.release) if request.code in self.held else None
        reply = self.on_run(session, request.code) or self._reply(session, request.code)
        if told is None:
            for frame in reply.frames:
                await peer.write(protocol.encode_frame(frame.kind, frame.payload))
            # Scripted time: the limit is reached at once when it is short, else never.
            if reply.done is None and request.timeout_seconds >= 5:
                told = await peer.unless_told(asyncio.Event())
        if told is not None and self.is_deaf:
            await peer.request()  # the hang-up
        done = reply.done or Done("", "timeout", kill_ms=3.0, session_ended=True)
        if told is not None:
            is_reset = isinstance(told, protocol.Reset)
            done = Done("", "cancelled", kill_ms=3.0, session_ended=not is_reset)
        if done.session_ended:
            session.is_open = False
        await peer.send(replace(done, id=request.id, duration_ms=1.5, peak_memory_bytes=4096))

    def _reply(self, session: FakeSession, code: str) -> Reply:
        if "importlib.metadata" in code:
            return Reply((out(json.dumps(INVENTORY)),))
        name, is_assignment, value = code.partition(" = ")
        if is_assignment and name.isidentifier():
            session.variables[name] = value
            return Reply()
        if code in session.variables:
            return Reply(done=Done("", "ok", result=str(session.variables[code])))
        if code.isidentifier():
            message = f"name '{code}' is not defined"
            error = CellError("NameError", message, f"Traceback …\nNameError: {message}\n")
            return Reply(done=Done("", "error", error=error))
        return SCRIPT[code]


class _Peer:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._decoder = FrameDecoder(max_json_bytes=protocol.MAX_REQUEST_BYTES)
        self._frames: list[Frame] = []

    async def request(self) -> protocol.Request:
        while not self._frames:
            data = await self._reader.read(65_536)
            if not data:
                raise ConnectionResetError
            self._frames += self._decoder.feed(data)
        return protocol.parse_request(self._frames.pop(0))

    async def write(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def send(self, event: protocol.Event) -> None:
        await self.write(protocol.encode_event(event))

    async def unless_told(self, event: asyncio.Event) -> protocol.Request | None:
        """Wait for an event; return the request that comes first, raise at a hang-up.

        A reset is left for its turn, as the warden does it.
        """
        waiting = asyncio.ensure_future(event.wait())
        reading = asyncio.ensure_future(self._reader.read(65_536))
        try:
            await asyncio.wait((waiting, reading), return_when=asyncio.FIRST_COMPLETED)
            if waiting.done():
                return None
            if not (data := reading.result()):
                raise ConnectionResetError
            self._frames += self._decoder.feed(data)
            told = protocol.parse_request(self._frames[0])
            if isinstance(told, protocol.Cancel):
                del self._frames[0]
            return told
        finally:
            for each in (waiting, reading):
                each.cancel()
            await asyncio.gather(waiting, reading, return_exceptions=True)
