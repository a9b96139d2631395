import asyncio
import json
import struct
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from launcher.readiness import NotReady, Readiness, Ready, Silent, SocketProber
from launcher.units import HttpProbe, RunnerProbe

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def http(status: int, body: bytes) -> Handler:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 %d X\r\ncontent-type: application/json\r\n\r\n" % status + body)
        writer.close()

    return answer


async def asked(handler: Handler) -> Readiness:
    server = await asyncio.start_server(handler, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        return await SocketProber().check(HttpProbe(f"http://127.0.0.1:{port}"))


async def test_200_is_ready() -> None:
    assert await asked(http(200, b'{"ready": true}')) == Ready()


async def test_503_says_what_is_missing() -> None:
    body = json.dumps({"ready": False, "waiting_for": {"llm": "no answer"}}).encode()
    assert await asked(http(503, body)) == NotReady("llm: no answer")
    problem = json.dumps({"type": "x", "detail": "Not ready. llm: away"}).encode()
    assert await asked(http(503, problem)) == NotReady("Not ready. llm: away")


@pytest.mark.parametrize("body", [b"", b"<html>", b"[1]", b"}{"])
async def test_answer_without_reason_is_told_by_its_status(body: bytes) -> None:
    assert await asked(http(404, body)) == NotReady("/ready answers 404")


async def test_nobody_there_is_silence() -> None:
    assert await SocketProber().check(HttpProbe("http://127.0.0.1:1")) == Silent()


async def test_hang_up_is_silence() -> None:
    async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    assert await asked(hang_up) == Silent()


async def hello(tmp_path: Path, answer: dict[str, object]) -> Readiness:
    path = tmp_path / "r.sock"

    async def runner(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        length, kind = struct.unpack(">IB", await reader.readexactly(5))
        assert (kind, json.loads(await reader.readexactly(length))) == (1, {"op": "hello"})
        payload = json.dumps(answer).encode()
        writer.write(struct.pack(">IB", len(payload), 1) + payload)
        writer.close()

    async with await asyncio.start_unix_server(runner, str(path)):
        return await SocketProber().check(RunnerProbe(path))


async def test_runner_that_says_hello_is_ready(tmp_path: Path) -> None:
    assert await hello(tmp_path, {"event": "hello", "is_safe": True}) == Ready()


async def test_runner_without_protection_is_ready_and_the_sandbox_said_to_be_off(
    tmp_path: Path,
) -> None:
    protections = [{"name": "landlock", "state": "unavailable", "detail": ""}]
    found = await hello(tmp_path, {"is_safe": False, "protections": protections})
    assert isinstance(found, Ready)
    assert "the sandbox is off: landlock is unavailable" in found.note
    assert await SocketProber().check(RunnerProbe(tmp_path / "none")) == Silent()
