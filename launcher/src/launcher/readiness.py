"""Ask a program whether it is ready."""

import asyncio
import contextlib
import json
import struct
from dataclasses import dataclass
from typing import Protocol, assert_never
from urllib.parse import urlsplit

from launcher.units import HttpProbe, Probe, RunnerProbe

_PROBE_SECONDS = 3.0
_MAX_ANSWER_BYTES = 256 * 1024
_OK = 200
_FRAME_HEADER = struct.Struct(">IB")
_JSON_FRAME = 1


@dataclass(frozen=True)
class Ready:
    """The program does its work; `note` says what is worth knowing."""

    note: str = ""


@dataclass(frozen=True)
class NotReady:
    """The program answers, and says that it cannot do its work yet."""

    reason: str


@dataclass(frozen=True)
class Silent:
    """Nothing answers."""


Readiness = Ready | NotReady | Silent


class Prober(Protocol):
    """What the supervisor asks."""

    async def check(self, probe: Probe) -> Readiness:
        """Ask once; never raises for a program that is away."""
        ...


class SocketProber:
    """Asks over the program's own public socket."""

    async def check(self, probe: Probe) -> Readiness:
        """Ask once, within a few seconds."""
        try:
            async with asyncio.timeout(_PROBE_SECONDS):
                match probe:
                    case HttpProbe(url=url):
                        return await _ask_http(url)
                    case RunnerProbe(socket_path=path):
                        return await _ask_runner(str(path))
                    case never:
                        assert_never(never)
        except (OSError, TimeoutError, ValueError, EOFError):
            return Silent()


async def _ask_http(url: str) -> Readiness:
    # By hand: an HTTP client library would cost more start time than some of the services.
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    try:
        request = f"GET /ready HTTP/1.1\r\nHost: {parts.netloc}\r\nConnection: close\r\n\r\n"
        writer.write(request.encode("ascii"))
        raw = await _read_bounded(reader)
    finally:
        await _close(writer)
    head, _, body = raw.partition(b"\r\n\r\n")
    status = int(head.split(b" ", 2)[1])
    return Ready() if status == _OK else NotReady(_reason(status, body))


async def _read_bounded(reader: asyncio.StreamReader) -> bytes:
    chunks: list[bytes] = []
    total = 0
    while total < _MAX_ANSWER_BYTES and (chunk := await reader.read(65536)):
        chunks.append(chunk)
        total += len(chunk)
    return b"".join(chunks)


def _reason(status: int, body: bytes) -> str:
    """Say what is missing, from a health document or a problem."""
    try:
        answer = json.loads(body[body.index(b"{") : body.rindex(b"}") + 1])
    except ValueError:
        return f"/ready answers {status}"
    waiting = answer.get("waiting_for") if isinstance(answer, dict) else None
    if isinstance(waiting, dict) and waiting:
        return "; ".join(f"{name}: {why}" for name, why in waiting.items())
    return str(answer.get("detail") or f"/ready answers {status}")


async def _ask_runner(path: str) -> Readiness:
    reader, writer = await asyncio.open_unix_connection(path)
    try:
        payload = json.dumps({"op": "hello"}).encode()
        writer.write(_FRAME_HEADER.pack(len(payload), _JSON_FRAME) + payload)
        length, kind = _FRAME_HEADER.unpack(await reader.readexactly(_FRAME_HEADER.size))
        if kind != _JSON_FRAME or length > _MAX_ANSWER_BYTES:
            return NotReady("its answer is no hello frame")
        hello = json.loads(await reader.readexactly(length))
    finally:
        await _close(writer)
    if hello.get("is_safe") is False:
        return Ready(f"the sandbox is off: {_missing_protection(hello)}; the rest runs")
    return Ready()


def _missing_protection(hello: dict[str, object]) -> str:
    protections = hello.get("protections")
    if isinstance(protections, list):
        missing = [
            f"{each.get('name')} is {each.get('state')}"
            for each in protections
            if isinstance(each, dict) and each.get("state") in {"unavailable", "disabled"}
        ]
        if missing:
            return ", ".join(missing)
    return "this system lacks the protections that it needs"


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
