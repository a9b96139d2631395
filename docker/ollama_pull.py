"""Fetches the model of LLM_MODEL_NAME into the Ollama beside us if it is missing, then ends.

A pull that fails is explained and tried again, and nothing in the stack waits for this. How far it
is stands in our log and in a small file that the chat API reads: chats can say it meanwhile.
Standard library only: it runs in the bare base image.
"""
# ruff: noqa: INP001  # a script of the containers, no package

import http.client
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

DEFAULT_MODEL = "llama3.1:latest"
DEFAULT_OLLAMA = "http://ollama:11434"
# Ollama says nothing while it checks the sum of a large file on a slow disk.
SILENCE_SECONDS = 900.0
ASK_SECONDS = 10.0
FIRST_PAUSE_SECONDS = 5.0
LONGEST_PAUSE_SECONDS = 60.0
# The reader takes a file that was not touched for some of these as left behind.
BEAT_SECONDS = 1.0
LINE_EVERY_PERCENT = 5
LINE_EVERY_SECONDS = 30.0

# What Ollama says (left, lower case), and what that means to a person.
REASONS = (
    (
        ("file does not exist", "manifest unknown", "invalid model name", "name is invalid"),
        "the registry has no model of this name; is LLM_MODEL_NAME right?",
    ),
    (
        ("no space left", "disk quota", "not enough space"),
        "the disk is full; make room where OLLAMA_DATA_DIR lies.",
    ),
    (
        ("permission denied", "read-only file system", "operation not permitted"),
        "Ollama may not write to its folder; see the rights of OLLAMA_DATA_DIR.",
    ),
    (
        ("certificate", "x509"),
        "the registry's certificate is not trusted; is a proxy with an own authority in between?",
    ),
    (("newer version of ollama",), "the model needs a newer Ollama; set OLLAMA_IMAGE."),
    (
        (
            *("no such host", "dial tcp", "network is unreachable", "i/o timeout", "max retries"),
            *("connection reset", "tls handshake", "unexpected eof", "server misbehaving"),
        ),
        "the registry can't be reached; is there a network, and is HTTPS_PROXY needed?",
    ),
)
UNKNOWN_REASON = "see the log of ollama."


class PullFailed(Exception):
    """The pull ended without the model; the text is what was said."""


@dataclass(frozen=True)
class Status:
    """Where the pull stands; the file holds these fields as JSON.

    `reason` is a sentence about the last failure; `updated_at` is in seconds of the epoch.
    """

    model: str
    phase: Literal["waiting", "pulling", "failed", "done"] = "waiting"
    completed_bytes: int = 0
    total_bytes: int = 0
    bytes_per_second: float = 0.0
    failures: int = 0
    reason: str = ""
    retry_seconds: float = 0.0
    updated_at: float = 0.0

    @property
    def percent(self) -> int:
        """How much of what is known is there."""
        return int(100 * self.completed_bytes / self.total_bytes) if self.total_bytes else 0


@dataclass
class Layers:
    """The parts of a model while they arrive; a part is known when its pull begins."""

    sizes: dict[str, tuple[int, int]] = field(default_factory=dict)
    begun_at: float = 0.0
    begun_bytes: int = 0

    def take(self, event: Mapping[str, Any], now: float) -> None:
        """Take one line of the pull."""
        digest, total = event.get("digest"), event.get("total")
        if not isinstance(digest, str) or not isinstance(total, int):
            return
        is_first = not self.sizes
        self.sizes[digest] = (int(event.get("completed") or 0), total)
        if is_first:
            # What an earlier try left on the disk says nothing of the speed.
            self.begun_at, self.begun_bytes = now, self.completed

    @property
    def completed(self) -> int:
        """Bytes that are there."""
        return sum(done for done, _ in self.sizes.values())

    @property
    def total(self) -> int:
        """Bytes of all parts that are known."""
        return sum(total for _, total in self.sizes.values())

    def speed(self, now: float) -> float:
        """Return bytes a second of this try."""
        seconds = now - self.begun_at
        return max(0.0, (self.completed - self.begun_bytes) / seconds) if seconds > 1 else 0.0


def explained(said: str) -> str:
    """Return what an error of a pull means, and what was said."""
    words = said.lower()
    found = (meaning for signs, meaning in REASONS if any(sign in words for sign in signs))
    return f"{next(found, UNKNOWN_REASON)} Ollama said: {' '.join(said.split())[:300]}"


def not_needed(environment: Mapping[str, str]) -> str | None:
    """Return why no model has to be pulled; None when one has to."""
    endpoint = environment.get("LLM_BASE_URL", "").strip()
    endpoint = endpoint or environment.get("OPENAI_BASE_URL", "").strip()
    profiles = {name.strip() for name in environment.get("COMPOSE_PROFILES", "").split(",")}
    if not endpoint and "embedded" in profiles:
        return "The embedded model answers: no model is pulled."
    if endpoint and urlsplit(endpoint).hostname != "ollama":
        return "The model is at another endpoint: no model is pulled."
    return None


@dataclass
class Ollama:
    """The few calls of Ollama's API that a pull needs; no proxy stands between."""

    url: str

    def has(self, model: str) -> bool:
        """Ask whether the model is there.

        Raises
        ------
        OSError
            Nobody answers.
        PullFailed
            Ollama can't say, such as of a name that is none; with its words.
        """
        with self._asked("/api/show", {"model": model}, ASK_SECONDS) as response:
            said = response.read()
        if response.status not in {200, 404}:
            raise PullFailed(_error_in(said) or f"status {response.status}")
        return bool(response.status == 200)  # noqa: PLR2004  # HTTP's own number

    def pull(self, model: str) -> Iterator[Mapping[str, Any]]:
        """Yield what Ollama says of a pull, to its end.

        Raises
        ------
        PullFailed
            With Ollama's words, or ours when the connection broke.
        """
        last: Mapping[str, Any] = {}
        try:
            with self._asked("/api/pull", {"model": model}, SILENCE_SECONDS) as response:
                for line in response:
                    last = json.loads(line)
                    if "error" in last:
                        raise PullFailed(str(last["error"]))
                    yield last
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise PullFailed(f"the connection to Ollama broke ({type(error).__name__})") from None
        if last.get("status") != "success":
            raise PullFailed("the connection to Ollama ended before the pull did")

    def _asked(self, path: str, body: Mapping[str, Any], seconds: float) -> Any:
        parts = urlsplit(self.url)
        connection = http.client.HTTPConnection(
            parts.hostname or "ollama", parts.port or 11434, timeout=seconds
        )
        raw = json.dumps(body)
        connection.request("POST", path, raw, {"Content-Type": "application/json"})
        return closing(connection.getresponse())


def _error_in(said: bytes) -> str:
    try:
        document = json.loads(said)
    except ValueError:
        return ""
    return str(document.get("error", "")) if isinstance(document, dict) else ""


@dataclass
class Report:
    """Tells the log and the file where the pull stands."""

    path: Path
    status: Status
    clock: Callable[[], float] = time.time
    said_percent: int = -LINE_EVERY_PERCENT
    said_at: float = 0.0

    def now(self, status: Status) -> None:
        """Write the status down; a folder that is missing or closed stops nothing."""
        self.status = replace(status, updated_at=self.clock())
        scratch = self.path.with_suffix(".new")
        with suppress(OSError):
            scratch.write_text(json.dumps(asdict(self.status)), encoding="utf-8")
            scratch.replace(self.path)

    def progress(self, status: Status) -> None:
        """Write the status down at most once a beat, and a line where it moved."""
        now = self.clock()
        if status.phase == self.status.phase and now - self.status.updated_at < BEAT_SECONDS:
            return
        self.now(status)
        moved = status.percent - self.said_percent >= LINE_EVERY_PERCENT
        if status.total_bytes and (moved or now - self.said_at >= LINE_EVERY_SECONDS):
            self.said_percent, self.said_at = status.percent, now
            speed = status.bytes_per_second
            say(
                f"Pulling {status.model}: {status.percent} % ({in_units(status.completed_bytes)} "
                f"of {in_units(status.total_bytes)}{f', {in_units(speed)}/s' if speed else ''})"
            )


def in_units(number: float) -> str:
    """Return bytes as a person reads them."""
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if number >= size:
            return f"{number / size:.1f} {unit}"
    return f"{number:.0f} B"


def say(text: str) -> None:
    """Write a line to the log at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def pull_once(ollama: Ollama, report: Report) -> None:
    """Pull the model; PullFailed when that did not work."""
    layers = Layers()
    status = replace(report.status, phase="pulling", retry_seconds=0.0)
    report.now(status)
    for event in ollama.pull(status.model):
        now = report.clock()
        layers.take(event, now)
        report.progress(
            replace(
                status,
                completed_bytes=layers.completed,
                total_bytes=layers.total,
                bytes_per_second=layers.speed(now),
            )
        )


def rest(report: Report, seconds: float, sleep: Callable[[float], None]) -> None:
    """Wait, and keep the file young meanwhile."""
    while seconds > 0:
        report.now(replace(report.status, retry_seconds=seconds))
        sleep(min(BEAT_SECONDS, seconds))
        seconds -= BEAT_SECONDS


def await_ollama(ollama: Ollama, report: Report, sleep: Callable[[float], None]) -> bool:
    """Return whether the model is there, as soon as Ollama can say it."""
    waited = 0
    while True:
        try:
            return ollama.has(report.status.model)
        except (OSError, http.client.HTTPException):
            if waited % 30 == 0:
                say("Waiting for Ollama.")
            report.now(report.status)
            sleep(1.0)
            waited += 1


def run(
    ollama: Ollama, model: str, report: Report, sleep: Callable[[float], None] = time.sleep
) -> None:
    """Return when Ollama has the model."""
    pause = FIRST_PAUSE_SECONDS
    while True:
        before = report.status.completed_bytes
        try:
            if await_ollama(ollama, report, sleep):
                break
            say(f"Pulling {model}; the stack can be used meanwhile, and chats say how far it is.")
            pull_once(ollama, report)
        except PullFailed as error:
            # Ollama keeps what has come, so that a try that moved is worth another one soon.
            moved = report.status.completed_bytes > before
            pause = FIRST_PAUSE_SECONDS if moved else pause
            reason = explained(str(error))
            say(f"The pull of {model} failed: {reason} Next try in {pause:g} s.")
            failures = report.status.failures + 1
            report.now(replace(report.status, phase="failed", failures=failures, reason=reason))
            rest(report, pause, sleep)
            pause = min(pause * 2, LONGEST_PAUSE_SECONDS)
    report.now(replace(report.status, phase="done"))
    say(f"The model {model} is there.")


def main() -> None:
    """Do what the environment says."""
    reason = not_needed(os.environ)
    if reason is not None:
        say(reason)
        return
    model = os.environ.get("LLM_MODEL_NAME", "").strip() or DEFAULT_MODEL
    path = Path(os.environ.get("PULL_STATUS_PATH", "/run/model-pull/status.json"))
    ollama = Ollama(os.environ.get("OLLAMA_URL", "").strip() or DEFAULT_OLLAMA)
    run(ollama, model, Report(path, Status(model)))


if __name__ == "__main__":
    main()
