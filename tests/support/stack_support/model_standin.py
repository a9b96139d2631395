"""An OpenAI-compatible server that does as a test says: answers, calls tools, or fails."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

MODEL = "stand-in:latest"


@dataclass(frozen=True)
class Says:
    """The model answers with a text."""

    text: str


@dataclass(frozen=True)
class Calls:
    """The model wants tools: pairs of name and arguments (an object, or raw text)."""

    calls: tuple[tuple[str, dict[str, Any] | str], ...]


@dataclass(frozen=True)
class Refuses:
    """The server answers with an error."""

    status: int
    message: str


@dataclass(frozen=True)
class Stalls:
    """The server takes its time before it says anything."""

    seconds: float


@dataclass(frozen=True)
class CutsOff:
    """The stream ends in the middle of an answer."""


Step = Says | Calls | Refuses | Stalls | CutsOff


@dataclass
class StandInModel:
    """The server and what it was asked; its last step is repeated."""

    base_url: str = ""
    steps: list[Step] = field(default_factory=list)
    asked: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    is_ending: threading.Event = field(default_factory=threading.Event)

    def will(self, *steps: Step) -> None:
        """Set what it does next, and forget what it was asked."""
        self.steps = list(steps)
        self.asked.clear()
        self.headers.clear()

    def next_step(self) -> Step:
        """Take the next step of the script."""
        return self.steps.pop(0) if len(self.steps) > 1 else self.steps[0]


class _Handler(BaseHTTPRequestHandler):
    model: StandInModel
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Say nothing: the test's output is pytest's."""

    def do_GET(self) -> None:
        self._json(200, {"object": "list", "data": [{"id": MODEL, "object": "model"}]})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.model.asked.append(body)
        self.model.headers.append({name.lower(): value for name, value in self.headers.items()})
        step = self.model.next_step()
        match step:
            case Refuses(status, message):
                self._json(status, {"error": {"message": message, "type": "error", "code": None}})
            case Stalls(seconds):
                self.model.is_ending.wait(seconds)
                self.close_connection = True
            case CutsOff():
                self._begin_stream()
                self._chunk({"role": "assistant", "content": "The answer is"}, None)
                self.close_connection = True
            case Says(text):
                self._stream({"role": "assistant", "content": text}, "stop")
            case Calls(calls):
                self._stream({"role": "assistant", "tool_calls": _wire(calls)}, "tool_calls")

    def _json(self, status: int, document: dict[str, Any]) -> None:
        raw = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def _begin_stream(self) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("connection", "close")
        self.end_headers()

    def _stream(self, delta: dict[str, Any], finish: str) -> None:
        self._begin_stream()
        self._chunk(delta, None)
        self._chunk({}, finish, self._usage(delta))
        self.wfile.write(b"data: [DONE]\n\n")
        self.close_connection = True

    def _usage(self, delta: dict[str, Any]) -> dict[str, int]:
        """Count as models roughly do: four letters are a token."""
        prompt = len(json.dumps(self.model.asked[-1])) // 4
        said = len(json.dumps(delta)) // 4
        return {
            "prompt_tokens": prompt,
            "completion_tokens": said,
            "total_tokens": prompt + said,
        }

    def _chunk(
        self, delta: dict[str, Any], finish: str | None, usage: dict[str, int] | None = None
    ) -> None:
        document = {
            "id": "chatcmpl-1",
            "object": "chat.completion.chunk",
            "created": int(time.time()),
            "model": MODEL,
            "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
            "usage": usage,
        }
        self.wfile.write(f"data: {json.dumps(document)}\n\n".encode())
        self.wfile.flush()


def _wire(calls: tuple[tuple[str, dict[str, Any] | str], ...]) -> list[dict[str, Any]]:
    return [
        {
            "index": place,
            "id": f"call_{place}",
            "type": "function",
            "function": {
                "name": name,
                "arguments": arguments if isinstance(arguments, str) else json.dumps(arguments),
            },
        }
        for place, (name, arguments) in enumerate(calls)
    ]


@contextmanager
def model_standin(address: str = "127.0.0.1") -> Iterator[StandInModel]:
    """Serve a stand-in on a free port of an address of this machine for the block."""
    model = StandInModel()
    handler = type("Handler", (_Handler,), {"model": model})
    server = ThreadingHTTPServer((address, 0), handler)
    server.daemon_threads = True
    model.base_url = f"http://{address}:{server.server_port}/v1"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield model
    finally:
        model.is_ending.set()
        server.shutdown()
        server.server_close()
        thread.join(timeout=5)
