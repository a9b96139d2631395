"""What pulls the model: it explains a failure, tries again, and says how far it is."""

import importlib.util
import json
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from middleware.model_pull import read_pull

ROOT = Path(__file__).resolve().parents[2]
MODEL = "llama3.1:latest"
SUCCESS = {"status": "success"}
PIECES = [
    {"status": "pulling manifest"},
    {"status": "pulling a", "digest": "a", "total": 900},
    {"status": "pulling a", "digest": "a", "total": 900, "completed": 450},
    {"status": "pulling b", "digest": "b", "total": 100, "completed": 100},
    {"status": "pulling a", "digest": "a", "total": 900, "completed": 900},
]


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("ollama_pull", ROOT / "docker" / "ollama_pull.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # A dataclass looks its own module up.
    sys.modules["ollama_pull"] = module
    spec.loader.exec_module(module)
    return module


class FakeOllama:
    """Has the model once a pull succeeded; each pull takes the next list of lines."""

    def __init__(self) -> None:
        self.pulls: list[list[dict[str, Any]]] = []
        self.asked: list[str] = []
        self.has_model = False
        # Statuses and words that come before Ollama says whether it has the model.
        self.refusals: list[tuple[int, str]] = []
        self.url = ""


class Handler(BaseHTTPRequestHandler):
    fake: FakeOllama

    def log_message(self, *_: object) -> None:
        """Say nothing: the test's output is pytest's."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.fake.asked.append(self.path)
        if self.path == "/api/show" and self.fake.refusals:
            status, words = self.fake.refusals.pop(0)
            self.send_response(status)
            self.end_headers()
            self.wfile.write(words.encode())
            return
        if self.path == "/api/show":
            self.send_response(200 if self.fake.has_model else 404)
            self.end_headers()
            return
        self.send_response(200)
        self.end_headers()
        for line in self.fake.pulls.pop(0):
            self.wfile.write(json.dumps(line).encode() + b"\n")
            self.fake.has_model = self.fake.has_model or line == SUCCESS


@pytest.fixture
def fake() -> Iterator[FakeOllama]:
    ollama = FakeOllama()
    server = ThreadingHTTPServer(
        ("127.0.0.1", 0), type("BoundHandler", (Handler,), {"fake": ollama})
    )
    ollama.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield ollama
    server.shutdown()
    server.server_close()
    thread.join(5)


class Watch:
    """A clock that only a sleep moves, and what the file said at each sleep."""

    def __init__(self, path: Path) -> None:
        self.path, self.now, self.slept, self.seen = path, 1e9, 0.0, []  # type: ignore[var-annotated]  # read as JSON

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.slept += seconds
        self.seen.append(json.loads(self.path.read_bytes()))


def run(script: ModuleType, fake: FakeOllama, tmp_path: Path) -> Watch:
    watch = Watch(tmp_path / "status.json")
    report = script.Report(watch.path, script.Status(MODEL), clock=lambda: watch.now)
    script.run(script.Ollama(fake.url), MODEL, report, watch.sleep)
    return watch


def test_model_that_is_there_is_not_pulled(script, fake, tmp_path, capsys):
    fake.has_model = True
    watch = run(script, fake, tmp_path)
    assert fake.asked == ["/api/show"]
    assert capsys.readouterr().out == f"The model {MODEL} is there.\n"
    assert read_pull(watch.path.read_bytes(), now=watch.now) is None


@pytest.mark.parametrize(
    "refusal",
    [
        (400, '{"error": "invalid model name"}', "is LLM_MODEL_NAME right?"),
        (500, '{"error": "open models: permission denied"}', "OLLAMA_DATA_DIR"),
        (503, "<html>", "see the log of ollama. Ollama said: status 503"),
    ],
)
def test_ollama_that_can_t_say_is_explained_and_asked_again(
    script, fake, tmp_path, capsys, refusal
):
    *said, expected = refusal
    fake.refusals = [tuple(said)] * 2
    fake.has_model = True
    watch = run(script, fake, tmp_path)
    assert capsys.readouterr().out.count(expected) == 2
    assert watch.slept == 5 + 10
    assert watch.seen[-1]["phase"] == "failed"
    assert expected in watch.seen[-1]["reason"]
    assert json.loads(watch.path.read_bytes())["phase"] == "done"


def test_pull_says_how_far_it_is_and_ends(script, fake, tmp_path, capsys):
    fake.pulls = [[*PIECES, SUCCESS]]
    watch = run(script, fake, tmp_path)
    assert json.loads(watch.path.read_bytes())["phase"] == "done"
    assert f"The model {MODEL} is there." in capsys.readouterr().out
    assert watch.slept == 0


def test_pull_that_fails_is_explained_and_tried_again_later_each_time(
    script, fake, tmp_path, capsys
):
    error = {"error": "pull model manifest: file does not exist"}
    fake.pulls = [[PIECES[0], error], [error], [error], [*PIECES, SUCCESS]]
    watch = run(script, fake, tmp_path)
    out = capsys.readouterr().out
    assert out.count("is LLM_MODEL_NAME right?") == 3
    assert watch.slept == 5 + 10 + 20
    pull = read_pull(json.dumps(watch.seen[-1]).encode(), now=watch.now)
    assert pull is not None
    assert (pull.is_failing, pull.failures, pull.next_try_seconds) == (True, 3, 1.0)
    assert "no model of this name" in pull.reason


def test_pull_that_broke_after_progress_is_tried_again_soon(script, fake, tmp_path, monkeypatch):
    monkeypatch.setattr(script, "BEAT_SECONDS", 0.0)
    fail = {"error": "max retries exceeded: unexpected EOF"}
    nothing = [{"error": "dial tcp: lookup registry: no such host"}]
    fake.pulls = [nothing, nothing, [*PIECES[:3], fail], [*PIECES, SUCCESS]]
    slept: list[float] = []
    report = script.Report(tmp_path / "status.json", script.Status(MODEL))
    monkeypatch.setattr(script, "rest", lambda _, seconds, __: slept.append(seconds))
    script.run(script.Ollama(fake.url), MODEL, report, slept.append)
    assert slept == [5, 10, 5]


def test_stream_that_ends_without_success_is_a_failure(script, fake, tmp_path, capsys):
    fake.pulls = [PIECES, [SUCCESS]]
    run(script, fake, tmp_path)
    assert "ended before the pull did" in capsys.readouterr().out


def test_ollama_that_is_not_up_yet_is_waited_for(script, tmp_path, capsys, unused_tcp_port):
    watch = Watch(tmp_path / "status.json")
    report = script.Report(watch.path, script.Status(MODEL), clock=lambda: watch.now)

    def give_up(seconds: float) -> None:
        watch.sleep(seconds)
        if watch.slept > 2:
            raise KeyboardInterrupt

    ollama = script.Ollama(f"http://127.0.0.1:{unused_tcp_port}")
    with pytest.raises(KeyboardInterrupt):
        script.run(ollama, MODEL, report, give_up)
    assert capsys.readouterr().out == "Waiting for Ollama.\n"
    assert watch.seen[-1]["phase"] == "waiting"


def test_folder_that_is_missing_stops_nothing(script, fake, tmp_path):
    fake.has_model = True
    report = script.Report(tmp_path / "no" / "status.json", script.Status(MODEL))
    script.run(script.Ollama(fake.url), MODEL, report)


@pytest.mark.parametrize(
    ("said", "meaning"),
    [
        ("pull model manifest: file does not exist", "LLM_MODEL_NAME"),
        ('Get "https://r/v2/": dial tcp: lookup r: no such host', "HTTPS_PROXY"),
        ("write /models/blobs/x: no space left on device", "disk is full"),
        ("open /models: permission denied", "OLLAMA_DATA_DIR"),
        ("tls: failed to verify certificate: x509: unknown authority", "certificate"),
        ("412: The model requires a newer version of Ollama", "OLLAMA_IMAGE"),
        ("something new", "log of ollama"),
    ],
)
def test_each_reason_says_what_to_do(script, said, meaning):
    assert meaning in script.explained(said)
    assert said in script.explained(said)


@pytest.mark.parametrize(
    ("environment", "is_needed"),
    [
        ({}, True),
        ({"LLM_BASE_URL": "", "COMPOSE_PROFILES": "alerting"}, True),
        ({"LLM_BASE_URL": "http://ollama:11434/v1"}, True),
        ({"LLM_BASE_URL": "http://ollama:11434/v1", "COMPOSE_PROFILES": "embedded"}, True),
        ({"COMPOSE_PROFILES": "alerting,embedded"}, False),
        ({"LLM_BASE_URL": "https://api.example/v1"}, False),
        ({"OPENAI_BASE_URL": "https://api.example/v1"}, False),
        ({"LLM_BASE_URL": "http://not-ollama:11434/v1"}, False),
    ],
)
def test_model_is_pulled_only_where_the_ollama_beside_it_answers(script, environment, is_needed):
    assert (script.not_needed(environment) is None) is is_needed


def test_elsewhere_it_ends_with_one_line(script, monkeypatch, capsys):
    monkeypatch.setenv("LLM_BASE_URL", "https://api.example/v1")
    script.main()
    assert capsys.readouterr().out == "The model is at another endpoint: no model is pulled.\n"
