"""Spans by OpenTelemetry's SDK: one trace with our own context, and nothing at all when off."""

import asyncio
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import httpx
import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from servicekit.context import current_context, new_context, outgoing_headers, use_context
from servicekit.errors import TooBusy, UpstreamUnavailable
from servicekit.mcp_bridge import RouteTools
from servicekit.mcp_client import McpClient
from servicekit.otlp import OtlpTracer, exported, is_wanted
from servicekit.outbound import internal_client, request_json
from servicekit.spans import NOTHING, installed, is_tracing, served, span

from .conftest import serving, toy_app

TRACE, CALLER = "a" * 32, "b" * 16
SAMPLED = f"00-{TRACE}-{CALLER}-01"


class Collected:
    """What was exported."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        self.provider = TracerProvider(shutdown_on_exit=False)
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))

    def __getitem__(self, name: str) -> ReadableSpan:
        (found,) = [each for each in self.exporter.get_finished_spans() if each.name == name]
        return found

    @property
    def names(self) -> list[str]:
        return [each.name for each in self.exporter.get_finished_spans()]


@pytest.fixture
def collected() -> Iterator[Collected]:
    found = Collected()
    with installed(OtlpTracer(found.provider)):
        yield found


def ids(each: ReadableSpan) -> tuple[str, str]:
    return f"{each.context.trace_id:032x}", f"{each.context.span_id:016x}"


def parent_id(each: ReadableSpan) -> str | None:
    return None if each.parent is None else f"{each.parent.span_id:016x}"


def mcp_client(http: httpx.AsyncClient) -> McpClient:
    # As in earnest: the header and the message name the same span.
    inner = internal_client("http://localhost", transport=http._transport)
    return McpClient("http://localhost/mcp", http=inner)


async def test_request_is_a_child_of_the_caller_and_the_running_context(
    collected: Collected, toy: httpx.AsyncClient
) -> None:
    said = (await toy.get("/context", headers={"traceparent": SAMPLED})).json()

    hop = collected["GET /context"]
    assert (ids(hop)[0], parent_id(hop)) == (TRACE, CALLER)
    assert (said["trace_id"], said["span_id"]) == ids(hop)
    assert hop.attributes == {
        "http.request.method": "GET",
        "http.response.status_code": 200,
        "http.route": "/context",
    }


async def test_request_without_a_trace_begins_one(
    collected: Collected, toy: httpx.AsyncClient
) -> None:
    said = (await toy.get("/context")).json()

    hop = collected["GET /context"]
    assert hop.parent is None
    assert said["trace_id"] == ids(hop)[0]


async def test_caller_who_does_not_sample_is_obeyed(
    collected: Collected, toy: httpx.AsyncClient
) -> None:
    said = (await toy.get("/context", headers={"traceparent": SAMPLED[:-1] + "0"})).json()

    assert said["trace_id"] == TRACE
    assert collected.names == []


async def test_probes_and_scrapes_are_no_traces(
    collected: Collected, toy: httpx.AsyncClient
) -> None:
    for path in ("/health", "/ready", "/metrics"):
        await toy.get(path)

    assert collected.names == []


async def test_defect_fails_the_span_and_leaves_no_message_in_it(
    collected: Collected, toy: httpx.AsyncClient
) -> None:
    await toy.get("/boom")
    await toy.get("/nowhere")

    assert not collected["GET /boom"].status.is_ok
    assert collected["GET /boom"].attributes["error.type"] == "500"
    assert collected["GET"].status.is_unset  # a caller's mistake is no failure
    for each in collected.exporter.get_finished_spans():
        assert "the-secret-reason" not in each.to_json()


async def test_mcp_call_is_one_chain_from_client_to_endpoint(collected: Collected) -> None:
    app = toy_app(mcp=RouteTools("tool"))
    async with serving(app) as http:
        client = mcp_client(http)
        with use_context(new_context()), served("question", None):
            await client.call_tool("echo", {"number": 1})
            with pytest.raises(Exception, match="no tool"):
                await client.call_tool("ecko", {})

    chain = ["POST /echo", "tools/call echo", "tools/call echo", "question"]
    spans = {ids(each)[1]: each for each in collected.exporter.get_finished_spans()}
    at = collected["POST /echo"]
    walked = [at.name]
    while at.parent is not None:
        at = spans[str(parent_id(at))]
        walked.append(at.name)
    assert walked == chain
    assert {ids(each)[0] for each in spans.values()} == {ids(at)[0]}
    # What a caller invents stands in its own span alone.
    assert [each.name for each in spans.values() if "ecko" in each.name] == ["tools/call ecko"]


async def test_span_in_a_request_names_itself_to_the_next_hop(collected: Collected) -> None:
    with use_context(new_context()), served("outer", SAMPLED), span("inner", "client") as inner:
        inner.note({"gen_ai.request.model": "m"})
        sent = outgoing_headers()["traceparent"]
        inside = current_context().traceparent

    assert sent == str(inside) == f"00-{TRACE}-{ids(collected['inner'])[1]}-01"
    assert parent_id(collected["inner"]) == ids(collected["outer"])[1]
    assert collected["inner"].attributes == {"gen_ai.request.model": "m"}


@pytest.mark.parametrize(
    ("error", "kind"),
    [(TooBusy("full"), TooBusy.type), (ValueError("text"), "ValueError")],
)
async def test_what_leaves_a_span_is_its_failure_by_type(
    collected: Collected, error: Exception, kind: str
) -> None:
    with use_context(new_context()), served("x", None), pytest.raises(type(error)), span("work"):
        raise error

    work = collected["work"]
    assert work.attributes == {"error.type": kind}
    assert work.events == ()


async def test_cancelled_work_is_said_to_be_cancelled(collected: Collected) -> None:
    async def endless() -> None:
        with use_context(new_context()), served("work", None):
            await asyncio.Event().wait()

    task = asyncio.create_task(endless())
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)

    assert collected["work"].attributes == {"error.type": "cancelled"}


async def test_neighbours_refusal_fails_the_span_of_the_call(collected: Collected) -> None:
    transport = httpx.MockTransport(lambda _: httpx.Response(503))
    async with internal_client("http://localhost", transport=transport) as client:
        with use_context(new_context()), served("x", None), pytest.raises(UpstreamUnavailable):
            await request_json(client, "GET", "/things", upstream="the sandbox")

    assert collected["GET"].attributes["error.type"] == "503"


async def test_work_outside_of_any_request_is_no_trace(collected: Collected) -> None:
    with span("check"):
        pass

    assert collected.names == []


async def test_protocol_error_fails_the_servers_span(collected: Collected) -> None:
    app = toy_app(mcp=RouteTools("tool"))
    async with serving(app) as http:
        client = mcp_client(http)
        with use_context(new_context()), served("x", None), pytest.raises(Exception):  # noqa: B017, PT011  # either type
            await client.call_tool("ecko", {})

    assert collected["tools/call"].attributes["error.type"] == "-32602"


# -- off --------------------------------------------------------------------------------------


def test_nothing_is_made_without_a_tracer() -> None:
    assert not is_tracing()
    assert served("x", SAMPLED) is span("y") is NOTHING


@pytest.mark.parametrize(
    ("environment", "wanted"),
    [
        ({}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": " "}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://c:4318/v1/traces"}, True),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c", "OTEL_SDK_DISABLED": "TRUE"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c", "OTEL_TRACES_EXPORTER": "none"}, False),
    ],
)
def test_traces_are_wanted_where_a_collector_is_named(
    environment: dict[str, str], wanted: bool
) -> None:
    assert is_wanted(environment) is wanted


def test_sdk_is_not_even_imported_when_traces_are_off() -> None:
    code = (
        "import sys, servicekit.service, servicekit.mcp_mount\n"
        "print([n for n in sys.modules if n.startswith(('opentelemetry.sdk',"
        "'opentelemetry.exporter', 'google'))])"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == "[]"


async def test_collector_that_does_not_answer_holds_up_no_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = set(threading.enumerate())
    with socket.socket() as silent:  # takes connections and never says a word
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        endpoint = f"http://127.0.0.1:{silent.getsockname()[1]}"
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "6")
        async with exported("toy", "1"):
            with use_context(new_context()), served("x", None):
                pass
            begun = time.monotonic()
        assert time.monotonic() - begun < 5
        # What is still at it would draw random numbers in the midst of other tests.
        for thread in set(threading.enumerate()) - before:
            if thread.daemon:
                await asyncio.to_thread(thread.join, 20)
                assert not thread.is_alive(), thread.name
    assert not is_tracing()
