"""The real service as a process of its own, and its sessions as whoever sends requests has them."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, get_args
from urllib.parse import quote

import httpx
from sandbox_runner.client import CellRun
from sandbox_runner.file_messages import FileEntry, FileKind, FileList, FileReason, FileRefused
from sandbox_runner.protocol import CellError, Done
from servicekit.wire.execution import ExecuteResult
from servicekit.wire.files import FileListing

_START_SECONDS: Final = 30.0
_STOP_SECONDS: Final = 15.0
_PATIENCE_SECONDS: Final = 60.0
_EVENTS: Final = "text/event-stream"
# The four ways in which the service says that a file can't be had.
_REASONS: Final[Mapping[int, FileReason]] = {
    404: "not-found",
    409: "not-a-file",
    413: "too-large",
    422: "bad-path",
}


@dataclass(frozen=True)
class HttpService:
    """The service, ready to be asked."""

    pid: int
    client: httpx.Client

    def session(self, *, is_streaming: bool = False) -> "HttpSession":
        """Create a session; its runs are streamed, if wanted."""
        return HttpSession(self.client, is_streaming=is_streaming)

    def run_once(self, code: str) -> bytes:
        """Run code in a session of its own; return what it printed."""
        answer = self.client.post("/execute", json={"code": code})
        return _result_of(answer).stdout.encode()


@contextmanager
def http_service(
    folder: Path, runner_socket: str, *, settings: Mapping[str, str], environment: Mapping[str, str]
) -> Iterator[HttpService]:
    """Start the service beside a runner.

    Parameters
    ----------
    folder
        That of the runner: package sets lie in its `packages`.
    settings
        Settings of the service by lower-case name.
    environment
        Further variables of the service's own.
    """
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    variables = {
        "PATH": os.defpath,
        "SANDBOX_PORT": str(port),
        "SANDBOX_RUNNER_SOCKET": runner_socket,
        "SANDBOX_PACKAGES_DIR": str(folder / "packages"),
        **{f"SANDBOX_{name.upper()}": value for name, value in settings.items()},
        **environment,
    }
    log = folder / "service.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "sandbox"],
            env=variables,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    try:
        with httpx.Client(
            base_url=f"http://127.0.0.1:{port}", timeout=_PATIENCE_SECONDS, trust_env=False
        ) as client:
            _await_ready(process, client, log)
            yield HttpService(process.pid, client)
    finally:
        process.terminate()
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _await_ready(process: "subprocess.Popen[bytes]", client: httpx.Client, log: Path) -> None:
    limit = time.monotonic() + _START_SECONDS
    while process.poll() is None and time.monotonic() < limit:
        try:
            if client.get("/ready").status_code == httpx.codes.OK:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.02)
    raise RuntimeError(f"the service did not become ready: {log.read_text()[-2000:]}")


class HttpSession:
    """A session over HTTP, told of in the same terms as one at the runner's socket.

    Notes
    -----
    What HTTP does not tell is as if the runner had not told it: `kill_ms`. Output is text here, in
    which what is no UTF-8 was replaced.
    """

    def __init__(self, client: httpx.Client, *, is_streaming: bool = False) -> None:
        self._client = client
        self._is_streaming = is_streaming
        self._links: dict[str, str] = {}
        created = client.post("/sessions")
        assert created.status_code == httpx.codes.CREATED, created.text
        self.name: str = created.json()["session_id"]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        ended = self._client.delete(f"/sessions/{self.name}")
        assert ended.status_code in {httpx.codes.NO_CONTENT, httpx.codes.GONE}, ended.text

    def run(self, code: str, timeout_seconds: float = 5.0) -> CellRun:
        """Run a cell to its end."""
        order = {"code": code, "timeout_seconds": timeout_seconds, "session_id": self.name}
        if self._is_streaming:
            result = _streamed(self._client, order)
        else:
            result = _result_of(self._client.post("/execute", json=order))
        assert result.session_id == self.name
        return CellRun(_done(result), *(text.encode() for text in (result.stdout, result.stderr)))

    def files(self) -> FileList:
        """List the session's files."""
        answer = self._client.get(f"/sessions/{self.name}/files")
        assert answer.status_code == httpx.codes.OK, answer.text
        listing = FileListing.model_validate_json(answer.content)
        self._links = {file.path: file.link for file in listing.files if file.link is not None}
        return FileList(
            tuple(
                FileEntry(file.path, _kind(file.type), file.size_bytes, 0.0)
                for file in listing.files
            ),
            listing.truncated,
        )

    def read_file(self, path: str) -> bytes | FileRefused:
        """Return a file's content, by its link, or by its name where it has none."""
        link = self._links.get(path, f"/sessions/{self.name}/files/{quote(path)}")
        answer = self._client.get(link)
        if answer.status_code == httpx.codes.OK:
            assert answer.headers["content-disposition"].startswith("attachment;")
            return answer.content
        problem = answer.json()
        assert answer.status_code in _REASONS, problem
        return FileRefused(_REASONS[answer.status_code], problem["detail"])


def _kind(name: str) -> FileKind:
    assert name in get_args(FileKind)
    return name  # type: ignore[return-value]  # it is one of them


def _streamed(client: httpx.Client, order: Mapping[str, Any]) -> ExecuteResult:
    """Run a cell as a stream of events: what came as events is what the last one says."""
    printed = {"stdout": "", "stderr": ""}
    with client.stream("POST", "/execute", json=order, headers={"accept": _EVENTS}) as answer:
        assert answer.status_code == httpx.codes.OK, answer.read()
        text = b"".join(answer.iter_bytes()).decode("utf-8")
    # No other line ends than the standard's divide events: what code printed holds all of them.
    for block in text.split("\n\n"):
        if not block or block.startswith(":"):
            continue
        first, _, second = block.partition("\n")
        name, data = first.removeprefix("event: "), second.removeprefix("data: ")
        if name in printed:
            printed[name] += json.loads(data)["text"]
        elif name == "result":
            result = ExecuteResult.model_validate_json(data)
            assert printed == {"stdout": result.stdout, "stderr": result.stderr}
            return result
    raise AssertionError(f"the stream has no result: {text[-2000:]}")


def _result_of(answer: httpx.Response) -> ExecuteResult:
    assert answer.status_code == httpx.codes.OK, answer.text
    assert answer.headers["content-type"] == "application/json"
    return ExecuteResult.model_validate_json(answer.content)


def _done(result: ExecuteResult) -> Done:
    error = result.error
    return Done(
        id=result.execution_id or "",
        status=result.status,
        signal=result.signal,
        result=result.result,
        error=error and CellError(error.type, error.message, error.traceback),
        duration_ms=result.duration_ms,
        peak_memory_bytes=result.peak_memory_bytes,
        stdout_dropped=result.stdout_truncated_bytes,
        stderr_dropped=result.stderr_truncated_bytes,
        session_ended=result.session_ended,
    )
