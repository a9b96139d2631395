"""What an answer is made of leaves in one piece, and nothing of it is lost or held up."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import uvicorn
from servicekit.gathered_writes import GatheringProtocol, GatheringTransport
from starlette.types import Message, Receive, Scope, Send

MIB = 1 << 20
# What `/unread` has sent.
unread: list[int] = []


class Wire(asyncio.Transport):
    """The kernel's side: keeps what it is given, call by call."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[bytes] = []
        self.is_closed = self.is_aborted = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.calls.append(bytes(data))

    def get_write_buffer_size(self) -> int:
        return 7

    def is_closing(self) -> bool:
        return self.is_closed or self.is_aborted

    def close(self) -> None:
        self.is_closed = True

    def abort(self) -> None:
        self.is_aborted = True


def gathering(wire: Wire) -> GatheringTransport:
    return GatheringTransport(wire, asyncio.get_running_loop())


async def test_writes_of_one_turn_are_one_call() -> None:
    wire = Wire()
    transport = gathering(wire)
    transport.write(b"head")
    transport.write(b"body")
    assert wire.calls == []
    assert transport.get_write_buffer_size() == 8 + 7
    await asyncio.sleep(0)
    assert wire.calls == [b"headbody"]
    transport.write(b"next")
    await asyncio.sleep(0)
    assert wire.calls == [b"headbody", b"next"]


async def test_much_is_not_held() -> None:
    wire = Wire()
    transport = gathering(wire)
    for _ in range(16):
        transport.write(bytes(MIB))
        assert transport.get_write_buffer_size() == 7
    assert sum(map(len, wire.calls)) == 16 * MIB


async def test_close_sends_first_and_abort_does_not() -> None:
    closed, aborted = Wire(), Wire()
    first, second = gathering(closed), gathering(aborted)
    for transport in (first, second):
        transport.write(b"last words")
    first.close()
    second.abort()
    await asyncio.sleep(0)
    assert (closed.calls, aborted.calls) == ([b"last words"], [])
    assert closed.is_closed
    assert aborted.is_aborted


async def test_nothing_is_written_to_a_closed_transport() -> None:
    wire = Wire()
    transport = gathering(wire)
    transport.write(b"too late")
    wire.is_closed = True
    await asyncio.sleep(0)
    assert wire.calls == []


# ---------------------------------------------------------------- over a real connection


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer `/short` at once, `/long` in one turn, `/slow` and `/unread` piece by piece."""
    await receive()
    headers = [(b"content-length", b"5")] if scope["path"] == "/short" else []
    start: Message = {"type": "http.response.start", "status": 200, "headers": headers}
    await send(start)
    if scope["path"] == "/short":
        await send({"type": "http.response.body", "body": b"short"})
        return
    while scope["path"] == "/unread" and sum(unread) < 16 * MIB:
        await send({"type": "http.response.body", "body": bytes(64 << 10), "more_body": True})
        unread.append(64 << 10)
    for number in range(8):
        body = bytes(MIB) if scope["path"] == "/long" else str(number).encode()
        await send({"type": "http.response.body", "body": body, "more_body": True})
        if scope["path"] == "/slow":
            await asyncio.sleep(0.05)
    await send({"type": "http.response.body", "body": b""})


@asynccontextmanager
async def served() -> AsyncIterator[int]:
    config = uvicorn.Config(
        app, port=0, http=GatheringProtocol, lifespan="off", log_config=None, access_log=False
    )
    server = uvicorn.Server(config)
    running = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110  # uvicorn has no event for it
        await asyncio.sleep(0.01)
    try:
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        await running


async def test_short_answer_comes_in_one_piece_and_the_connection_lives_on() -> None:
    async with served() as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for _ in range(3):
            writer.write(b"GET /short HTTP/1.1\r\nHost: x\r\n\r\n")
            piece = await reader.read(MIB)
            assert piece.startswith(b"HTTP/1.1 200")
            assert piece.endswith(b"\r\n\r\nshort")
        writer.close()


async def test_long_answer_is_whole_for_a_slow_reader() -> None:
    async with served() as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 16)
        writer.write(b"GET /long HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        await asyncio.sleep(0.2)
        total = 0
        while piece := await reader.read(1 << 16):
            total += piece.count(0)
        assert total == 8 * MIB
        writer.close()


async def test_stream_is_not_held_up() -> None:
    loop = asyncio.get_running_loop()
    async with served() as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /slow HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        arrivals = []
        while piece := await reader.read(1 << 16):
            arrivals += [loop.time()] * piece.count(b"1\r\n")
        assert len(arrivals) >= 8
        assert arrivals[-1] - arrivals[0] > 0.2
        writer.close()


async def test_who_sends_much_notices_that_nobody_reads() -> None:
    loop = asyncio.get_running_loop()
    unread.clear()
    with socket.socket() as connection:
        connection.setblocking(False)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 << 10)
        async with served() as port:
            await loop.sock_connect(connection, ("127.0.0.1", port))
            await loop.sock_sendall(connection, b"GET /unread HTTP/1.1\r\nHost: x\r\n\r\n")
            await asyncio.sleep(0.3)
            sent = sum(unread)
            connection.close()
        assert 0 < sent < MIB
