"""Files of a session over HTTP: the real service over the real runner."""

import asyncio
import os
import socket
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from sandbox.adapters import runner_files
from sandbox.stored_files import StoredFile
from sandbox_runner import client
from sandbox_runner.launch import RunnerProcess
from sandbox_support.fake_runner import FakeRunner
from sandbox_support.serving import service_settings, serving, until
from servicekit.wire.files import SessionFile

from sandbox import artifacts, files
from sandbox.app import create_app

MIB = 1 << 20
# More than the buffers of a connection hold.
FILE_BYTES = 8 * MIB
DISK_BYTES = 20 * MIB


@pytest.fixture(scope="module")
def runner() -> Iterator[RunnerProcess]:
    limits = {"file_bytes": str(FILE_BYTES), "disk_bytes": str(DISK_BYTES), "pool": "2"}
    with (
        tempfile.TemporaryDirectory(prefix="sb-") as folder,
        RunnerProcess(Path(folder), settings=limits) as runner,
    ):
        if not client.hello(runner.socket).is_safe:
            pytest.skip("this kernel can't isolate a run")
        yield runner


@pytest.fixture
async def service(runner: RunnerProcess) -> AsyncIterator[httpx.AsyncClient]:
    settings = service_settings(runner.folder, Path(runner.socket), max_body_bytes=64 << 10)
    async with serving(create_app(settings)) as http:
        yield http


async def _session(client: httpx.AsyncClient) -> str:
    return str((await client.post("/sessions")).json()["session_id"])


async def _run(client: httpx.AsyncClient, session_id: str | None, code: str) -> dict[str, Any]:
    body = {"code": code} | ({} if session_id is None else {"session_id": session_id})
    answer = await client.post("/execute", json=body)
    assert answer.status_code == 200, answer.text
    result: dict[str, Any] = answer.json()
    return result


def _url(session_id: str, path: str | bytes) -> str:
    return f"/sessions/{session_id}/files/{quote(path, safe='/')}"


def _problem(answer: httpx.Response, status: int) -> str:
    assert answer.status_code == status, answer.text
    problem = answer.json()
    assert problem["detail"].endswith(".")
    return str(problem["type"]).rpartition(":")[2]


# ---------------------------------------------------------------- there and back


async def test_file_goes_up_is_used_and_comes_down(service: httpx.AsyncClient) -> None:
    session_id = await _session(service)
    content = os.urandom(MIB + 3)  # over the bound of JSON bodies, which does not concern files
    url = _url(session_id, "data/in put.bin")
    created = await service.put(url, content=content)
    assert created.status_code == 201
    assert created.headers["location"] == created.json()["link"] == url
    told = created.json()
    assert (told["name"], told["path"], told["type"]) == ("in put.bin", "data/in put.bin", "file")
    assert told["size_bytes"] == len(content)

    code = "b = open('data/in put.bin', 'rb').read()\nopen('out.csv', 'wb').write(b[::-1])"
    result = await _run(service, session_id, code)
    assert result["files"]["changed"] == result["files"]["deleted"] == []
    (added,) = result["files"]["added"]
    assert (added["name"], added["media_type"]) == ("out.csv", "text/csv")

    down = await service.get(added["link"])
    assert down.status_code == 200
    assert down.content == content[::-1]
    assert down.headers["content-type"] == "text/csv"
    assert down.headers["content-length"] == str(len(content))
    assert down.headers["content-disposition"].startswith('attachment; filename="out.csv"')
    assert down.headers["x-content-type-options"] == "nosniff"

    assert (await service.put(url, content=b"")).status_code == 200  # replaced
    assert (await service.get(url)).content == b""
    assert (await service.delete(url)).status_code == 204
    assert _problem(await service.get(url), 404) == "file-unknown"


async def test_files_are_listed_with_type_size_and_link(service: httpx.AsyncClient) -> None:
    session_id = await _session(service)
    await _run(
        service,
        session_id,
        "import os\nos.makedirs('d')\nopen('d/page.html', 'w').write('<b>')\n"
        "os.symlink('/etc/passwd', 'l')\nopen(b'\\xff\\n', 'w').write('odd')",
    )
    listing = (await service.get(f"/sessions/{session_id}/files")).json()
    by_path = {file["path"]: file for file in listing["files"]}
    assert not listing["truncated"]
    assert list(by_path) == ["d", "d/page.html", "l", "\\udcff\n"]
    assert (by_path["d"]["type"], by_path["d"]["link"]) == ("folder", None)
    assert (by_path["l"]["type"], by_path["l"]["link"]) == ("link", None)
    assert by_path["d/page.html"]["media_type"] == "text/html"
    assert by_path["d/page.html"]["size_bytes"] == 3
    assert by_path["d/page.html"]["modified_at"].startswith("20")
    assert (await service.get(by_path["\\udcff\n"]["link"])).content == b"odd"


async def test_listing_is_made_beside_the_loop(
    service: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    makers = []

    def describe(file: StoredFile, session_id: str | None) -> SessionFile:
        makers.append(threading.current_thread())
        return artifacts.describe(file, session_id)

    monkeypatch.setattr(files, "describe", describe)
    session_id = await _session(service)
    await _run(service, session_id, "open('a', 'w').close()")
    assert len((await service.get(f"/sessions/{session_id}/files")).json()["files"]) == 1
    assert threading.main_thread() not in makers
    assert len(makers) == 1


async def test_lists_of_a_run_reach_the_caller(service: httpx.AsyncClient) -> None:
    session_id = await _session(service)
    await _run(service, session_id, "open('a', 'w').write('1')\nopen('b', 'w').write('1')")
    result = await _run(service, session_id, "import os\nopen('a', 'w').write('2')\nos.remove('b')")
    files = result["files"]
    assert [file["path"] for file in files["changed"]] == ["a"]
    assert [(file["path"], file["link"]) for file in files["deleted"]] == [("b", None)]
    assert not files["truncated"]


async def test_files_of_a_run_without_a_session_are_named_and_gone(
    service: httpx.AsyncClient,
) -> None:
    result = await _run(service, None, "open('plot.png', 'w').write('x')")
    (added,) = result["files"]["added"]
    assert (added["name"], added["media_type"], added["link"]) == ("plot.png", "image/png", None)


# ---------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    "path",
    ["..", "../x", "a/../../x", "a//b", "/etc/passwd", "nul\0", "x" * 300, "d/" * 80 + "f"],
    ids=lambda path: repr(path)[:16],
)
async def test_path_out_of_the_session_is_refused(service: httpx.AsyncClient, path: str) -> None:
    session_id = await _session(service)
    url = _url(session_id, path).replace("..", "%2e%2e")
    for answer in (
        await service.get(url),
        await service.put(url, content=b"x"),
        await service.delete(url),
    ):
        assert _problem(answer, 422) == "file-path-invalid"


async def test_links_folders_and_odd_files_are_refused(service: httpx.AsyncClient) -> None:
    session_id = await _session(service)
    await _run(
        service,
        session_id,
        "import os\nos.symlink('/etc/passwd', 'link')\nos.mkdir('folder')\n"
        "os.symlink('/etc', 'out')\nopen('one', 'w').close()\nos.link('one', 'two')",
    )
    for path in ("link", "folder", "one", "two", "out/passwd"):
        assert _problem(await service.get(_url(session_id, path)), 409) == "file-not-plain"
    for path in ("link", "folder", "out/passwd"):
        answer = await service.put(_url(session_id, path), content=b"x")
        assert _problem(answer, 409) == "file-not-plain"
    assert _problem(await service.delete(_url(session_id, "folder")), 409) == "file-not-plain"
    answer = await service.put(_url(session_id, "new\nline"), content=b"x")
    assert _problem(answer, 422) == "file-path-invalid"
    assert (await _run(service, session_id, "6*7"))["result"] == "42"


async def test_file_too_large_and_full_session_are_refused(service: httpx.AsyncClient) -> None:
    session_id = await _session(service)
    answer = await service.put(_url(session_id, "big"), content=b"x" * (FILE_BYTES + 1))
    assert _problem(answer, 413) == "file-too-large"
    statuses = [
        (await service.put(_url(session_id, f"f{number}"), content=b"x" * FILE_BYTES)).status_code
        for number in range(4)
    ]
    assert statuses == [201, 201, 507, 507]
    listing = (await service.get(f"/sessions/{session_id}/files")).json()["files"]
    assert [file["path"] for file in listing] == ["f0", "f1"]
    assert (await _run(service, session_id, "6*7"))["result"] == "42"


async def test_files_of_an_unknown_or_ended_session_are_refused(
    service: httpx.AsyncClient,
) -> None:
    assert _problem(await service.get("/sessions/nobody/files"), 404) == "session-unknown"
    session_id = await _session(service)
    await service.delete(f"/sessions/{session_id}")
    for answer in (
        await service.get(f"/sessions/{session_id}/files"),
        await service.get(_url(session_id, "x")),
        await service.put(_url(session_id, "x"), content=b"x"),
        await service.delete(_url(session_id, "x")),
    ):
        assert _problem(answer, 410) == "session-ended"


async def test_one_session_does_not_have_the_files_of_another(service: httpx.AsyncClient) -> None:
    first, second = await _session(service), await _session(service)
    await service.put(_url(first, "mine"), content=b"x")
    assert _problem(await service.get(_url(second, "mine")), 404) == "file-unknown"
    assert (await service.get(f"/sessions/{second}/files")).json()["files"] == []


# ---------------------------------------------------------------- beside runs, and cut short


async def test_files_wait_for_the_run_in_progress(service: httpx.AsyncClient) -> None:
    session_id = await _session(service)
    code = "import time\nopen('f', 'w').write('half')\ntime.sleep(0.5)\nopen('f', 'w').write('all')"
    run = asyncio.create_task(_run(service, session_id, code))
    await asyncio.sleep(0.1)
    assert (await service.get(_url(session_id, "f"))).content == b"all"
    await run
    busy = asyncio.create_task(_run(service, session_id, "time.sleep(1)"))
    await asyncio.sleep(0.1)
    late = await service.get(f"/sessions/{session_id}/files", headers={"x-deadline-ms": "50"})
    assert _problem(late, 504) == "deadline-exceeded"
    await busy


async def test_upload_that_hangs_up_leaves_nothing_and_the_session_lives(
    service: httpx.AsyncClient,
) -> None:
    session_id = await _session(service)
    await _run(service, session_id, "x = 5")
    with _raw(service, "PUT", _url(session_id, "half"), 1_000_000) as connection:
        connection.sendall(b"x" * 200_000)
    assert (await service.get(f"/sessions/{session_id}/files")).json()["files"] == []
    assert (await _run(service, session_id, "x"))["result"] == "5"


async def test_download_that_hangs_up_frees_the_session(service: httpx.AsyncClient) -> None:
    session_id = await _session(service)
    await _run(service, session_id, f"x = 5\nopen('big', 'wb').write(bytes({FILE_BYTES}))")
    with _raw(service, "GET", _url(session_id, "big")) as connection:
        head = await asyncio.to_thread(connection.recv, 1000)
        assert head.startswith(b"HTTP/1.1 200")
    assert (await _run(service, session_id, "x"))["result"] == "5"


async def test_client_that_pauses_loses_its_transfer_and_not_its_session(
    service: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner_files, "_PATIENCE_SECONDS", 0.5)
    session_id = await _session(service)
    await _run(service, session_id, f"x = 5\nopen('big', 'wb').write(bytes({FILE_BYTES}))")
    with _raw(service, "PUT", _url(session_id, "half"), 1_000_000) as connection:
        connection.sendall(b"x" * 500_000)
        answer = b""
        while not answer.endswith(b"}"):  # head and body may come one by one
            answer += await asyncio.to_thread(connection.recv, 10_000) or b"}"
        assert answer.startswith(b"HTTP/1.1 408")
        assert b"file-stalled" in answer
    with _raw(service, "GET", _url(session_id, "big")) as connection:
        assert await asyncio.to_thread(connection.recv, 100)
        assert await _value_of_x(service, session_id) == "5"
        assert await asyncio.to_thread(_rest_of, connection) < FILE_BYTES
    listing = (await service.get(f"/sessions/{session_id}/files")).json()["files"]
    assert [file["path"] for file in listing] == ["big"]


async def test_client_that_is_slow_but_steady_gets_its_file(
    service: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner_files, "_PATIENCE_SECONDS", 0.5)
    session_id = await _session(service)
    await _run(service, session_id, f"x = 5\nopen('big', 'wb').write(bytes({FILE_BYTES}))")
    with _raw(service, "GET", _url(session_id, "big")) as connection:
        got = await asyncio.to_thread(_rest_of, connection, pause_seconds=0.02)
        assert got > FILE_BYTES
    assert await _value_of_x(service, session_id) == "5"


async def _value_of_x(service: httpx.AsyncClient, session_id: str) -> str:
    order = {"code": "x", "session_id": session_id}
    answer = await service.post("/execute", json=order, headers={"x-deadline-ms": "5000"})
    assert answer.status_code == 200, answer.text
    return str(answer.json()["result"])


def _rest_of(connection: socket.socket, pause_seconds: float = 0.0) -> int:
    """Read to the end of a file, some at a time, and return how much that was."""
    total = 0
    while total <= FILE_BYTES and (data := connection.recv(128 << 10)):
        total += len(data)
        time.sleep(pause_seconds)
    return total


async def test_reset_overtakes_a_download_that_nobody_reads(service: httpx.AsyncClient) -> None:
    session_id = await _session(service)
    await _run(service, session_id, f"x = 5\nopen('big', 'wb').write(bytes({FILE_BYTES}))")
    with _raw(service, "GET", _url(session_id, "big")) as connection:
        assert await asyncio.to_thread(connection.recv, 100)
        reset = await service.post(f"/sessions/{session_id}/reset")
        assert reset.status_code == 200, reset.text
    result = await _run(service, session_id, "x")
    assert result["error"]["type"] == "NameError"


async def test_slow_upload_ends_with_its_deadline(service: httpx.AsyncClient) -> None:
    session_id = await _session(service)

    async def content() -> AsyncIterator[bytes]:
        yield b"x"
        await asyncio.sleep(0.4)
        yield b"y"

    answer = await service.put(
        _url(session_id, "slow"), content=content(), headers={"x-deadline-ms": "150"}
    )
    assert _problem(answer, 504) == "deadline-exceeded"
    assert (await service.get(f"/sessions/{session_id}/files")).json()["files"] == []


async def test_reset_overtakes_a_transfer(service: httpx.AsyncClient) -> None:
    session_id = await _session(service)
    await _run(service, session_id, "x = 5\nopen('kept', 'w').write('k')")
    sent = asyncio.Event()

    async def content() -> AsyncIterator[bytes]:
        yield b"x" * 70_000
        sent.set()
        await asyncio.sleep(1)
        yield b"y" * 70_000

    upload = asyncio.create_task(service.put(_url(session_id, "f"), content=content()))
    await sent.wait()
    reset = await service.post(f"/sessions/{session_id}/reset")
    assert reset.status_code == 200, reset.text
    assert (await upload).status_code >= 400
    assert (await service.get(_url(session_id, "kept"))).content == b"k"
    result = await _run(service, session_id, "x")
    assert result["error"]["type"] == "NameError"


async def test_runner_that_goes_away_meanwhile_is_told(
    tmp_path: Path, fake_runner: FakeRunner
) -> None:
    """The scripted runner knows no files: it hangs up on what it does not know."""
    async with serving(create_app(service_settings(tmp_path, fake_runner.socket))) as http:
        for call in (
            http.get,
            lambda url: http.put(url, content=b"x"),
            http.delete,
        ):
            session_id = await _session(http)
            assert _problem(await call(_url(session_id, "x")), 502) == "sandbox-runner-down"
            answer = await http.get(f"/sessions/{session_id}/files")
            assert _problem(answer, 410) == "session-ended"
        await until(lambda: fake_runner.open_sessions == 0)


def _raw(
    client: httpx.AsyncClient, method: str, path: str, length: int | None = None
) -> socket.socket:
    """Send the head of a request, on a connection that the test ends when it likes."""
    connection = socket.create_connection(("127.0.0.1", client.base_url.port or 0), timeout=10)
    head = f"{method} {path} HTTP/1.1\r\nhost: 127.0.0.1\r\n"
    if length is not None:
        head += f"content-length: {length}\r\n"
    connection.sendall(f"{head}\r\n".encode())
    return connection
