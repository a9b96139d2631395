"""JSON-RPC as it comes over HTTP: messages out of a body or a stream, errors out of messages."""

import asyncio
import json
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from typing import Any, Final

import httpx

from servicekit.errors import (
    DeadlineExceeded,
    InvalidRequest,
    NotFound,
    StackError,
    TooBusy,
    UpstreamUnavailable,
)
from servicekit.outbound import RemoteProblem
from servicekit.problems import parse_problem

# Results are bounded by the tool services (output is shaped there); this bounds a foreign peer.
MAX_MESSAGE_BYTES: Final = 32 * 1024 * 1024
# Servers write a comment into a silent stream every 15 s; three missed ones mean a dead peer.
STREAM_SILENCE_SECONDS: Final = 50.0
_TYPED: Final[Mapping[int, type[StackError]]] = {
    error.rpc_code: error
    for error in (UpstreamUnavailable, DeadlineExceeded, TooBusy, InvalidRequest)
} | {-32601: NotFound}


class RpcError(Exception):
    """The peer answered with a JSON-RPC error, as it stands on the wire."""

    def __init__(self, code: int, message: str, data: Any = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.data = data

    def typed(self, peer: str) -> StackError:
        """Return our error for it: the peer's own problem when it sent one."""
        problem = parse_problem(json.dumps(self.data)) if isinstance(self.data, dict) else None
        if problem is not None:
            return RemoteProblem(problem)
        kind = _TYPED.get(self.code, UpstreamUnavailable)
        return kind(f"{peer} answered: {self.message}", rpc_code=self.code)


def rpc_error(error: Mapping[str, Any]) -> RpcError:
    """Return what a message's `error` says."""
    code = error.get("code")
    return RpcError(
        code if isinstance(code, int) else -32603,
        str(error.get("message", "unknown error")),
        error.get("data"),
    )


def result_of(message: Mapping[str, Any]) -> dict[str, Any]:
    """Return an answer's result; raise `RpcError` when it is an error."""
    if isinstance(error := message.get("error"), dict):
        raise rpc_error(error)
    result = message.get("result")
    return result if isinstance(result, dict) else {}


async def read_bounded(response: httpx.Response) -> bytes:
    """Read a body, and stop at the bound: cap while reading, not afterwards."""
    chunks: list[bytes] = []
    size = 0
    async for chunk in response.aiter_bytes():
        size += len(chunk)
        if size > MAX_MESSAGE_BYTES:
            raise UpstreamUnavailable("The answer is larger than 32 MiB. Ask for less.")
        chunks.append(chunk)
    return b"".join(chunks)


async def messages_of(response: httpx.Response) -> AsyncGenerator[dict[str, Any], None]:
    """Yield the JSON-RPC messages of an answer, plain or as server-sent events."""
    if not response.headers.get("content-type", "").startswith("text/event-stream"):
        yield _decode(await read_bounded(response))
        return
    async with aclosing(_events(response)) as events:
        async for data in events:
            yield _decode(data)


async def _events(response: httpx.Response) -> AsyncGenerator[bytes, None]:
    """Yield the data of each server-sent event."""
    pending = b""
    chunks = response.aiter_bytes()
    while True:
        try:
            async with asyncio.timeout(STREAM_SILENCE_SECONDS):
                chunk = await anext(chunks)
        except StopAsyncIteration:
            return
        pending = (pending + chunk).replace(b"\r\n", b"\n")
        if len(pending) > MAX_MESSAGE_BYTES:
            raise UpstreamUnavailable("A message is larger than 32 MiB. Ask for less.")
        *events, pending = pending.split(b"\n\n")
        for event in events:
            if data := _data_of(event.split(b"\n")):
                yield data


def _data_of(lines: Sequence[bytes]) -> bytes:
    values = [line[5:].removeprefix(b" ") for line in lines if line.startswith(b"data:")]
    return b"\n".join(values)


def _decode(data: bytes) -> dict[str, Any]:
    try:
        message = json.loads(data)
    except ValueError:
        message = None
    if not isinstance(message, dict):
        raise UpstreamUnavailable("The MCP server answered something that is no JSON-RPC message.")
    return message
