"""What `make up` says of a chat API that lives and does not answer chats yet."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "docker" / "readiness.py"
_WAITS = "Not ready. llm: The model x is still being pulled: 37 %."


@contextmanager
def answering(status: int, body: str) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/ready"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def ask(url: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-", url],
        # A proxy of the container leads out, not to itself.
        env={"HTTP_PROXY": "http://127.0.0.1:1"},
        input=SCRIPT.read_text(encoding="utf-8"),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    return done.returncode, done.stdout


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (200, '{"ready": true}', (0, "")),
        (503, f'{{"detail": "{_WAITS}"}}', (1, f"{_WAITS}\n")),
        (502, "<html>", (1, "The chat API is not ready: status 502.\n")),
        (503, "[]", (1, "The chat API is not ready: status 503.\n")),
    ],
)
def test_its_own_sentence_is_said(status: int, body: str, expected: tuple[int, str]) -> None:
    with answering(status, body) as url:
        assert ask(url) == expected


def test_one_that_does_not_answer_is_not_ready() -> None:
    with answering(200, "") as url:
        pass

    status, said = ask(url)

    assert status == 1
    assert said.startswith("The chat API does not answer: ")
