"""POST /execute with Accept: text/event-stream."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from sandbox.routes import run_stream
from sandbox.routes.run_stream import wants_events
from sandbox_runner.protocol import Done
from sandbox_support.fake_runner import FakeRunner, FakeSession, Reply, err, out
from sandbox_support.serving import service_settings, serving, until

from sandbox.app import create_app

EVENTS = {"accept": "text/event-stream"}
Event = tuple[str, dict[str, Any]]


class EventReader:
    """Reads the events of one response."""

    def __init__(self, response: httpx.Response) -> None:
        self._lines = response.aiter_lines()
        self.comments: list[str] = []

    async def next(self) -> Event:
        name = data = ""
        async with asyncio.timeout(10):
            async for line in self._lines:
                if line.startswith(":"):
                    self.comments.append(line)
                elif line.startswith("event: "):
                    name = line.removeprefix("event: ")
                elif line.startswith("data: "):
                    data = line.removeprefix("data: ")
                elif name:
                    return name, json.loads(data)
        raise EOFError

    async def rest(self) -> list[Event]:
        events = []
        while not events or events[-1][0] not in {"result", "error"}:
            events.append(await self.next())
        return events


@asynccontextmanager
async def _stream(client: httpx.AsyncClient, **body: Any) -> AsyncIterator[EventReader]:
    async with client.stream("POST", "/execute", json=body, headers=EVENTS) as response:
        assert response.status_code == 200
        assert response.headers["content-type"].startswith("text/event-stream")
        assert response.headers["cache-control"] == "no-store"
        yield EventReader(response)


async def _all(client: httpx.AsyncClient, **body: Any) -> list[Event]:
    async with _stream(client, **body) as reader:
        return await reader.rest()


def _script(runner: FakeRunner, reply: Reply) -> None:
    def answer(_: FakeSession, code: str) -> Reply | None:
        return reply if code == "scripted" else None

    runner.on_run = answer


async def test_events_tell_the_run_in_order(
    service: httpx.AsyncClient, fake_runner: FakeRunner
) -> None:
    _script(fake_runner, Reply((out("a\n"), err("b\n"), out("c\n")), Done("", "ok", result="7")))
    events = await _all(service, code="scripted", execution_id="mine")
    assert events[0] == ("started", {"execution_id": "mine", "session_id": None})
    assert events[1:-1] == [
        ("stdout", {"text": "a\n"}),
        ("stderr", {"text": "b\n"}),
        ("stdout", {"text": "c\n"}),
    ]
    name, result = events[-1]
    assert name == "result"
    assert (result["stdout"], result["stderr"], result["result"]) == ("a\nc\n", "b\n", "7")


async def test_last_event_is_the_object_of_the_json_form(service: httpx.AsyncClient) -> None:
    body = {"code": "print(6*7)", "execution_id": "mine"}
    plain = (await service.post("/execute", json=body)).json()
    assert (await _all(service, **body))[-1] == ("result", plain)


async def test_output_comes_while_the_code_runs(
    service: httpx.AsyncClient, fake_runner: FakeRunner
) -> None:
    _script(fake_runner, Reply((out("early"),), None))
    async with _stream(service, code="scripted", timeout_seconds=20) as reader:
        _, started = await reader.next()
        assert await reader.next() == ("stdout", {"text": "early"})
        answer = await service.post(f"/executions/{started['execution_id']}/cancel")
        assert answer.status_code == 200
        name, result = await reader.next()
    assert (name, result["status"], result["stdout"]) == ("result", "cancelled", "early")


async def test_character_that_comes_in_two_pieces_is_whole(
    service: httpx.AsyncClient, fake_runner: FakeRunner
) -> None:
    pieces = tuple(out(bytes([byte])) for byte in "€😀ä".encode())
    _script(fake_runner, Reply(pieces))
    events = await _all(service, code="scripted")
    assert "".join(data["text"] for name, data in events if name == "stdout") == "€😀ä"
    assert events[-1][1]["stdout"] == "€😀ä"


async def test_pieces_together_are_the_result_also_for_broken_text(
    service: httpx.AsyncClient, fake_runner: FakeRunner
) -> None:
    data = b"ok \xff\xe2\x82 \xf0\x9f\x98 \xc3"
    _script(fake_runner, Reply(tuple(out(data[i : i + 1]) for i in range(len(data)))))
    events = await _all(service, code="scripted")
    text = "".join(data["text"] for name, data in events if name == "stdout")
    assert text == events[-1][1]["stdout"] == data.decode("utf-8", "replace")


async def test_text_may_hold_what_separates_events(
    service: httpx.AsyncClient, fake_runner: FakeRunner
) -> None:
    text = "a\n\nevent: result\ndata: {}\n\n\r\n\u2028\x85\u2029\x0b\x00 :"
    _script(fake_runner, Reply((out(text),)))
    events = await _all(service, code="scripted")
    assert [name for name, _ in events] == ["started", "stdout", "result"]
    assert events[1][1]["text"] == text


async def test_long_output_comes_in_bounded_events(
    service: httpx.AsyncClient, fake_runner: FakeRunner
) -> None:
    _script(fake_runner, Reply(tuple(out("x" * 65_536) for _ in range(4))))
    events = await _all(service, code="scripted")
    texts = [data["text"] for name, data in events if name == "stdout"]
    assert sum(map(len, texts)) == 4 * 65_536
    assert max(map(len, texts)) <= 32 << 10


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"code": "6*7", "timeout_seconds": 1000}, 422),
        ({"code": "6*7", "session_id": "nobody"}, 404),
        ({"code": 5}, 422),
        ({"code": "6*7", "limits": {"processes": 10_000}}, 422),
    ],
)
async def test_error_before_the_run_is_an_ordinary_answer(
    service: httpx.AsyncClient, body: dict[str, Any], status: int
) -> None:
    answer = await service.post("/execute", json=body, headers=EVENTS)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"


async def test_full_house_is_an_ordinary_answer(tmp_path: Path, fake_runner: FakeRunner) -> None:
    settings = service_settings(tmp_path, fake_runner.socket, slots=1, queue_limit=0)
    async with (
        serving(create_app(settings)) as client,
        _stream(client, code="while True: pass", timeout_seconds=20) as reader,
    ):
        await reader.next()
        refused = await client.post("/execute", json={"code": "6*7"}, headers=EVENTS)
        assert (refused.status_code, "retry-after" in refused.headers) == (429, True)


async def test_runner_that_dies_in_the_middle_is_the_last_event(
    service: httpx.AsyncClient, fake_runner: FakeRunner
) -> None:
    _script(fake_runner, Reply((out("early"),), None))
    async with _stream(service, code="scripted", timeout_seconds=20) as reader:
        await reader.next()
        await reader.next()
        await fake_runner.stop()
        name, problem = await reader.next()
    assert name == "error"
    assert problem["type"].endswith(":sandbox-runner-down")
    assert (problem["status"], bool(problem["request_id"])) == (502, True)


async def test_hang_up_of_the_reader_kills_the_run(
    service: httpx.AsyncClient, fake_runner: FakeRunner
) -> None:
    async with _stream(service, code="while True: pass", timeout_seconds=20) as reader:
        await reader.next()
        assert fake_runner.open_sessions == 1
    await until(lambda: fake_runner.open_sessions == 0)
    assert (await service.post("/execute", json={"code": "6*7"})).json()["result"] == "42"


async def test_quiet_run_is_kept_alive_by_comments(
    service: httpx.AsyncClient, fake_runner: FakeRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_stream, "KEEP_ALIVE_SECONDS", 0.01)
    fake_runner.held = {"print(6*7)"}
    async with _stream(service, code="print(6*7)") as reader:
        await reader.next()
        release = asyncio.get_running_loop().call_later(0.1, fake_runner.release.set)
        events = await reader.rest()
        release.cancel()
    assert len(reader.comments) >= 2
    assert [name for name, _ in events] == ["stdout", "result"]


async def test_reader_that_does_not_read_holds_up_neither_run_nor_slot(
    tmp_path: Path, fake_runner: FakeRunner
) -> None:
    _script(fake_runner, Reply(tuple(out("x" * 65_536) for _ in range(64))))
    settings = service_settings(tmp_path, fake_runner.socket, slots=1)
    async with (
        serving(create_app(settings)) as client,
        _stream(client, code="scripted") as reader,
    ):
        # Four megabytes are more than the sockets hold: the answer is stuck half-way.
        assert (await client.post("/execute", json={"code": "6*7"})).json()["result"] == "42"
        await until(lambda: fake_runner.open_sessions == 0)
        events = await reader.rest()
    assert len(events[-1][1]["stdout"]) == 64 * 65_536


async def test_reader_that_never_takes_the_rest_is_given_up(
    tmp_path: Path, fake_runner: FakeRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_stream, "PATIENCE_SECONDS", 0.05)
    _script(fake_runner, Reply(tuple(out("x" * 65_536) for _ in range(128))))
    async with (
        serving(create_app(service_settings(tmp_path, fake_runner.socket))) as client,
        _stream(client, code="scripted") as reader,
    ):
        await reader.next()
        await until(lambda: fake_runner.open_sessions == 0)
        await asyncio.sleep(0.3)  # the reader's own pace is what is tried
        with pytest.raises((EOFError, httpx.RemoteProtocolError)):
            await reader.rest()


async def test_run_that_is_cancelled_while_it_waits_has_a_stream_of_one_event(
    tmp_path: Path, fake_runner: FakeRunner
) -> None:
    settings = service_settings(tmp_path, fake_runner.socket, slots=1)
    async with (
        serving(create_app(settings)) as client,
        _stream(client, code="while True: pass", timeout_seconds=20) as first,
    ):
        await first.next()
        waiting = asyncio.create_task(_all(client, code="6*7", execution_id="mine"))
        async with asyncio.timeout(5):
            while (await client.post("/executions/mine/cancel")).status_code != 200:  # noqa: ASYNC110  # another task's state
                await asyncio.sleep(0.005)
        events = await waiting
    assert [(name, data["status"]) for name, data in events] == [("result", "cancelled")]


@pytest.mark.parametrize(
    ("accept", "is_stream"),
    [
        ("text/event-stream", True),
        ("TEXT/EVENT-STREAM", True),
        ("text/event-stream, application/json", True),
        ("application/json;q=0.5, text/event-stream;q=0.9", True),
        ("application/json, text/event-stream;q=0.1", False),
        ("text/event-stream;q=0", False),
        ("text/event-stream;q=x", False),
        ("application/json", False),
        ("*/*", False),
        ("text/*", False),
        ("", False),
        (",;=;q", False),
    ],
)
def test_stream_is_for_who_asks_for_it(accept: str, is_stream: bool) -> None:
    assert wants_events(accept) is is_stream
