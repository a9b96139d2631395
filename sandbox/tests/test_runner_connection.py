"""The connection to the runner: order, patience, and an end that is told."""

import asyncio
import tempfile
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
import uvloop
from sandbox.adapters.runner_connection import Connection
from sandbox_runner import file_messages, protocol
from sandbox_runner.protocol import Frame, FrameKind

_PIECE = b"x" * protocol.MAX_OUTPUT_BYTES
_PIECES = 200  # 12.5 MiB, far more than sockets and the connection hold

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def connected(talk: Talk) -> AsyncIterator[Connection]:
    """Connect to a runner that says what it wants."""
    has_ended = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            await talk(reader, writer)
        writer.transport.abort()
        has_ended.set()

    with tempfile.TemporaryDirectory(prefix="sb-") as folder:
        path = Path(folder) / "s"
        async with await asyncio.start_unix_server(serve, path), asyncio.timeout(20):
            connection = await Connection.connect(path)
            try:
                yield connection
            finally:
                connection.abort()
                await has_ended.wait()


async def test_what_nobody_asks_for_waits_on_the_other_side_and_comes_in_order() -> None:
    sent = 0

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        for number in range(_PIECES):
            writer.write(protocol.encode_frame(FrameKind.FILE, number.to_bytes(2) + _PIECE[2:]))
            await writer.drain()
            sent += 1
        await reader.read()

    async with connected(talk) as connection:
        await asyncio.sleep(0.3)
        assert 0 < sent < _PIECES / 2
        before = sent
        for _ in range(8):
            await connection.receive()
        await asyncio.sleep(0.05)
        assert sent > before  # a reader who is slow but goes on is not waited for to the last piece
        for number in range(8, _PIECES):
            frame = await connection.receive()
            assert isinstance(frame, Frame)
            assert frame.payload[:2] == number.to_bytes(2)
        await asyncio.sleep(0.05)
        assert sent == _PIECES


async def test_sender_waits_for_a_side_that_is_behind() -> None:
    may_read = asyncio.Event()
    taken = 0

    async def talk(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        nonlocal taken
        await may_read.wait()
        while data := await reader.read(1 << 20):
            taken += len(data)

    async with connected(talk) as connection:

        async def send_all() -> None:
            for _ in range(_PIECES):
                await connection.send_piece(_PIECE)

        sending = asyncio.create_task(send_all())
        await asyncio.sleep(0.2)
        assert not sending.done()
        may_read.set()
        await sending


async def test_what_came_before_the_end_is_given_and_then_the_end_is_told() -> None:
    async def talk(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(protocol.encode_event(protocol.Opened("one", was_waiting=True)))
        await writer.drain()

    async with connected(talk) as connection:
        await asyncio.sleep(0.05)
        assert await connection.receive() == protocol.Opened("one", was_waiting=True)
        with pytest.raises(ConnectionError):
            await connection.receive()
        assert not connection.is_open
        with pytest.raises(ConnectionError):
            await connection.send(protocol.Cancel())


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop])
@pytest.mark.parametrize("who", ["we", "the runner"])
def test_what_comes_too_late_is_told_alike_on_every_loop(
    loop: Callable[[], asyncio.AbstractEventLoop], who: str
) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if who == "the runner":
            writer.transport.abort()
        await reader.read()

    async def send_late() -> None:
        async with connected(talk) as connection:
            if who == "we":
                connection.abort()
            await asyncio.sleep(0.05)
            for send in (
                lambda: connection.send(protocol.Cancel()),
                lambda: connection.send_piece(_PIECE),
            ):
                with pytest.raises(ConnectionError):
                    await send()
            with pytest.raises(ConnectionError):
                connection.post(protocol.Cancel())

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(send_late())


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_sender_who_waits_is_told_that_the_runner_has_gone(
    loop: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    async def talk(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.1)
        writer.transport.abort()

    async def send_all(connection: Connection) -> None:
        for _ in range(_PIECES):
            await connection.send_piece(_PIECE)

    async def until_told() -> None:
        async with connected(talk) as connection:
            with pytest.raises(ConnectionError):
                await send_all(connection)

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(until_told())


async def test_what_is_no_frame_ends_the_connection_with_the_reason() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"\0\0\0\1\x63?")
        await reader.read()

    async with connected(talk) as connection:
        with pytest.raises(protocol.ProtocolError, match="unknown frame kind 99"):
            await connection.receive()
        assert not connection.is_open


async def test_waiting_call_that_is_cancelled_leaves_the_next_one_its_event() -> None:
    may_say = asyncio.Event()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await may_say.wait()
        writer.write(protocol.encode_event(protocol.ResetDone()))
        await reader.read()

    async with connected(talk) as connection:
        first = asyncio.create_task(connection.receive())
        await asyncio.sleep(0.02)
        first.cancel()
        may_say.set()
        assert await connection.receive() == protocol.ResetDone()


async def test_what_takes_long_to_read_keeps_nobody_else_waiting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    entry = file_messages.FileEntry("x" * 200, "file", 1, 1.0)
    short, long = (file_messages.FileList((entry,) * count, False) for count in (1, 5_000))
    readers = []

    def parse(frame: Frame) -> protocol.Event:
        readers.append(threading.current_thread())
        return parse_event(frame)

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for event in (short, long):
            writer.write(protocol.encode_event(event))
        await reader.read()

    parse_event = protocol.parse_event
    monkeypatch.setattr(protocol, "parse_event", parse)
    async with connected(talk) as connection:
        assert await connection.receive() == short
        assert await connection.receive() == long
    assert readers[0] is threading.main_thread()
    assert readers[1] is not threading.main_thread()
