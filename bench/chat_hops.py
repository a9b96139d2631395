"""Where the time of one `/chat` with one tool call goes, hop by hop, without the model's time.

Starts a stack, asks each hop of the chain directly, round by round, and prints medians: the time
until that hop answers, what the hop itself adds to the one below it, and both as multiples of a
bare FastAPI POST that was measured in the same rounds. The ratios can be compared between
machines, the milliseconds cannot.

    python bench/chat_hops.py [ROUNDS]
"""

import asyncio
import contextlib
import json
import os
import re
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
from servicekit.context import new_context, use_context
from servicekit.mcp_client import McpClient

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "support"))

from stack_support.running_stack import RunningStack, free_ports, running_stack
from stack_support.waiting import wait_until

CODE = "print(6*7)"
QUESTION = f"run {CODE}"
ROUNDS = 60
WARM_UP = 15

BARE_APP = """
import sys
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel

class Body(BaseModel):
    code: str

app = FastAPI()

@app.post("/echo")
async def echo(body: Body) -> dict[str, str]:
    return {"stdout": body.code}

uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), loop="uvloop", http="httptools",
            access_log=False, log_level="warning")
"""

Ask = Callable[[], Awaitable[None]]


@dataclass(frozen=True)
class Hop:
    """One place of the chain; `below` is the hop that it asks itself."""

    name: str
    ask: Ask
    below: str | None


@contextlib.contextmanager
def bare_service() -> Iterator[str]:
    """Serve one FastAPI route with nothing around it."""
    port = free_ports(1)[0]
    process = subprocess.Popen(
        [sys.executable, "-P", "-c", BARE_APP, str(port)], stdin=subprocess.DEVNULL
    )
    try:
        wait_until(lambda: _listens(port), within=20, what="the bare service")
        yield f"http://127.0.0.1:{port}/echo"
    finally:
        process.terminate()
        process.wait(timeout=10)


def _listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


async def run_cell(socket_path: Path) -> None:
    """Open a session of the runner, run one cell in it, close it."""
    reader, writer = await asyncio.open_unix_connection(str(socket_path))
    try:
        _send(writer, {"op": "open", "limits": {}, "package_path": None})
        await _event(reader, "opened")
        _send(writer, {"op": "run", "id": "1", "code": CODE, "timeout_seconds": 5.0})
        done = await _event(reader, "done")
        if done["status"] != "ok":
            raise RuntimeError(f"the cell ended with {done}")
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


def _send(writer: asyncio.StreamWriter, message: dict[str, object]) -> None:
    payload = json.dumps(message).encode()
    writer.write(struct.pack("!IB", len(payload), 1) + payload)


async def _event(reader: asyncio.StreamReader, name: str) -> dict[str, object]:
    while True:
        length, kind = struct.unpack("!IB", await reader.readexactly(5))
        payload = await reader.readexactly(length)
        if kind == 1:
            event: dict[str, object] = json.loads(payload)
            if event["event"] != name:
                raise RuntimeError(f"the runner said {event}")
            return event


@contextlib.asynccontextmanager
async def hops(stack: RunningStack, bare_url: str) -> AsyncIterator[tuple[Hop, ...]]:
    """Open one kept-alive connection to each hop, as the hop above it has."""
    async with contextlib.AsyncExitStack() as opened:
        http = await opened.enter_async_context(httpx.AsyncClient(timeout=30, trust_env=False))
        executor, gateway = [
            await opened.enter_async_context(McpClient(f"{stack.url(name)}/mcp", peer=name))
            for name in ("code-executor", "mcp-server")
        ]
        socket_path = stack.socket_path()

        def post(url: str, body: dict[str, object]) -> Ask:
            async def ask() -> None:
                (await http.post(url, json=body)).raise_for_status()

            return ask

        def call(client: McpClient) -> Ask:
            async def ask() -> None:
                with use_context(new_context(30)):
                    result = await client.call_tool("execute_code", {"code": CODE})
                if result.is_error:
                    raise RuntimeError(f"the call failed: {result.text}")

            return ask

        chat = {"messages": [{"role": "user", "content": QUESTION}]}
        yield (
            Hop("bare FastAPI POST", post(bare_url, {"code": CODE}), None),
            Hop("runner cell", lambda: run_cell(socket_path), None),
            Hop("sandbox", post(f"{stack.url('sandbox')}/execute", {"code": CODE}), "runner cell"),
            Hop("code-executor", call(executor), "sandbox"),
            Hop("gateway", call(gateway), "code-executor"),
            Hop("middleware", post(f"{stack.url('middleware')}/chat", chat), "gateway"),
        )


class ModelTime:
    """The seconds that the middleware waited for the model, from its own metrics."""

    def __init__(self, stack: RunningStack) -> None:
        self._stack = stack
        self._seen = self._total()

    def _total(self) -> float:
        return self._stack.metric("middleware", "gen_ai_client_operation_duration_seconds_sum")

    def since_last(self) -> float:
        """Give what was added since the last look."""
        before, self._seen = self._seen, self._total()
        return self._seen - before


async def measure(stack: RunningStack, bare_url: str, rounds: int) -> dict[str, list[float]]:
    """Ask every hop once a round, so that a slow moment of the machine meets all of them."""
    samples: dict[str, list[float]] = {}
    async with hops(stack, bare_url) as chain:
        for number in range(WARM_UP + rounds):
            model = ModelTime(stack)
            for hop in chain:
                begun = time.perf_counter()
                await hop.ask()
                seconds = time.perf_counter() - begun
                if hop.name == "middleware":
                    in_model = model.since_last()
                    seconds -= in_model
                    if number >= WARM_UP:
                        samples.setdefault("(model)", []).append(in_model)
                if number >= WARM_UP:
                    samples.setdefault(hop.name, []).append(seconds)
        return _with_own_time(samples, chain)


def _with_own_time(
    samples: dict[str, list[float]], chain: tuple[Hop, ...]
) -> dict[str, list[float]]:
    own = {
        f"own {hop.name}": [
            here - under
            for here, under in zip(
                samples[hop.name],
                samples[hop.below] if hop.below else [0.0] * len(samples[hop.name]),
                strict=True,
            )
        ]
        for hop in chain
    }
    return samples | own


def table(samples: dict[str, list[float]]) -> str:
    """Lay out the medians."""
    middle = {name: statistics.median(values) * 1000 for name, values in samples.items()}
    bare = middle["bare FastAPI POST"]
    names = [name for name in samples if not re.match(r"own |\(", name)]
    rows = [
        f"{name:<20}{middle[name]:>9.2f} ms{middle[name] / bare:>9.1f}"
        f"{middle[f'own {name}']:>9.2f} ms{middle[f'own {name}'] / bare:>9.1f}"
        f"{statistics.quantiles(samples[name], n=20)[-1] * 1000:>9.2f} ms"
        for name in names
    ]
    head = f"{'hop':<20}{'answers in':>12}{'x bare':>9}{'adds':>12}{'x bare':>9}{'p95':>12}"
    total = (
        f"One /chat with one tool call, without the model: {middle['middleware']:.2f} ms "
        f"= {middle['middleware'] / bare:.1f} bare POSTs; "
        f"the model took {middle['(model)']:.2f} ms besides (two answers)."
    )
    return "\n".join([head, *rows, "", total])


def main() -> int:
    """Measure and print; the figures never fail a build."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as folder,
        running_stack(Path(folder)) as stack,
        bare_service() as bare_url,
    ):
        samples = asyncio.run(measure(stack, bare_url, rounds))
    print(f"{rounds} rounds, medians, {os.cpu_count()} CPUs, Python {sys.version.split()[0]}\n")
    print(table(samples))
    return 0


if __name__ == "__main__":
    sys.exit(main())
