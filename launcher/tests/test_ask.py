"""`ask` against a small HTTP service that answers as a chat service does."""

import io
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from launcher.ask import ANSWERED, FAILED, USAGE, ChatAnswer, ask, private_settings, render
from launcher.settings import LauncherSettings, load_launcher_settings

ANSWER = {
    "response": "17*23 is 391.",
    "tool_calls": [
        {"name": "execute_code", "arguments": {"code": "print(17*23)"}, "output": "391\n"},
        {"name": "x", "arguments": {}, "output": "boom", "is_error": True},
    ],
}
PROBLEM = {
    "type": "urn:problem:mcp-stack:llm-unreachable",
    "detail": "The model does not answer.",
    "request_id": "r-1",
}


@contextmanager
def chat_service(status: int, body: Any, asked: list[Any]) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer(200, {"status": "ok", "dependencies": {}})

        def do_POST(self) -> None:
            asked.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            self._answer(status, body)

        def _answer(self, status: int, body: Any) -> None:
            raw = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("content-length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield str(server.server_port)
    finally:
        server.shutdown()
        server.server_close()
        thread.join(timeout=5)


def asked_of(root: Path, port: str, question: str, **more: str) -> tuple[int, str, str]:
    settings = load_launcher_settings(root, {"MIDDLEWARE_PORT": port, **more})
    out, err = io.StringIO(), io.StringIO()
    return ask(settings, question, out=out, err=err), out.getvalue(), err.getvalue()


def test_running_service_is_asked_and_its_calls_are_printed(tmp_path: Path) -> None:
    asked: list[Any] = []
    question = 'it\'s "q" $HOME\n二'
    with chat_service(200, ANSWER, asked) as port:
        status, out, err = asked_of(tmp_path, port, question)
    assert status == ANSWERED
    assert out.splitlines() == [
        '→ execute_code {"code": "print(17*23)"}',
        "    391",
        "✗ x {}",
        "    boom",
        "17*23 is 391.",
    ]
    assert err == ""
    assert asked == [{"messages": [{"role": "user", "content": question}]}]


def test_failed_chat_says_why_and_ends_with_one(tmp_path: Path) -> None:
    with chat_service(502, PROBLEM, []) as port:
        status, out, err = asked_of(tmp_path, port, "hello")
    assert status == FAILED
    assert out == ""
    assert "The model does not answer. [502 llm-unreachable] (request r-1)" in err


def test_empty_question_is_a_usage_error(tmp_path: Path) -> None:
    status, out, err = asked_of(tmp_path, "1", " \n")
    assert (status, out) == (USAGE, "")
    assert "make ask Q=" in err


def test_proxy_is_not_used_for_our_own_service(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    with chat_service(200, ANSWER, []) as port:
        assert asked_of(tmp_path, port, "hello")[0] == ANSWERED


def test_pictures_are_saved_and_their_paths_printed(tmp_path: Path) -> None:
    call = {
        "name": "execute_code",
        "arguments": {},
        "output": "3 peaks\n[1 picture attached]\n[image: image/png]",
        "images": [{"media_type": "image/png", "data": "iVBORw=="}],
    }
    with chat_service(200, {"response": "Drawn.", "tool_calls": [call]}, []) as port:
        _, out, _ = asked_of(tmp_path, port, "plot")
    *lines, told, answer = out.splitlines()
    assert (lines, answer) == (["→ execute_code {}", "    3 peaks"], "Drawn.")
    path = Path(told.removeprefix("    picture: "))
    assert path.suffix == ".png"
    assert path.read_bytes() == b"\x89PNG"


def test_strange_answer_is_a_failure_and_no_crash(tmp_path: Path) -> None:
    for answer in (ChatAnswer(200, None), ChatAnswer(500, "x"), ChatAnswer(None, "refused")):
        out, err = io.StringIO(), io.StringIO()
        assert render(answer, out=out, err=err, pictures=tmp_path) == FAILED
        assert err.getvalue().startswith("The chat failed")


def test_own_stack_of_a_question_stands_beside_any_other(tmp_path: Path) -> None:
    environ = {"MIDDLEWARE_HOST": "0.0.0.0", "MIDDLEWARE_MAX_STEPS": "3"}
    settings: LauncherSettings = load_launcher_settings(tmp_path, environ)
    own = private_settings(settings, tmp_path / "own")
    assert not set(own.ports.values()) & set(settings.ports.values())
    assert own.host("middleware") == "127.0.0.1"
    assert own.environment["MIDDLEWARE_MAX_STEPS"] == "3"
