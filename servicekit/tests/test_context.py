"""Request ids, traces and deadlines on their way from hop to hop."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st
from servicekit.context import (
    RequestContext,
    context_from_headers,
    context_from_meta,
    current_context,
    outgoing_headers,
    outgoing_meta,
    use_context,
)
from servicekit.deadline import Deadline
from servicekit.trace import TraceParent


def _context(seconds: float = 5.0) -> RequestContext:
    return RequestContext("r-1", TraceParent.new(), Deadline.after(seconds), "caller")


def test_context_survives_a_hop_over_http() -> None:
    with use_context(_context()) as sent:
        received = context_from_headers(outgoing_headers())
    assert received.request_id == sent.request_id
    assert received.client_id == "caller"
    assert received.traceparent.trace_id == sent.traceparent.trace_id
    assert received.traceparent.span_id != sent.traceparent.span_id
    assert 4.5 < received.deadline.remaining() <= 5.0


def test_context_survives_a_hop_over_mcp() -> None:
    with use_context(_context()) as sent:
        meta = outgoing_meta()
    received = context_from_meta(meta)
    assert received.request_id == sent.request_id
    assert received.traceparent.trace_id == sent.traceparent.trace_id
    assert 4.5 < received.deadline.remaining() <= 5.0


def test_meta_without_fields_keeps_the_running_context() -> None:
    with use_context(_context()) as running:
        assert context_from_meta({}) == RequestContext(
            running.request_id, running.traceparent, running.deadline, running.client_id
        )


def test_sooner_of_two_deadlines_holds() -> None:
    with use_context(_context(seconds=1.0)):
        assert context_from_meta({"mcp-stack/deadline-ms": 60_000}).deadline.remaining() <= 1.0
        assert context_from_meta({"mcp-stack/deadline-ms": 100}).deadline.remaining() <= 0.1


def test_expired_deadline_travels_as_zero() -> None:
    with use_context(_context(seconds=-1.0)):
        assert outgoing_headers()["x-deadline-ms"] == "0"
        assert current_context().deadline.is_expired


@pytest.mark.parametrize("value", ["-5", "inf", "nan", "", "soon", "1e400"])
def test_nonsense_deadline_never_lengthens_a_request(value: str) -> None:
    received = context_from_headers({"x-deadline-ms": value}, default_deadline_seconds=2.0)
    assert received.deadline.remaining() <= 2.0


@given(st.text(alphabet=string.printable, max_size=80))
def test_any_traceparent_is_read_or_ignored(value: str) -> None:
    parsed = TraceParent.parse(value)
    assert parsed is None or len(parsed.trace_id) == 32


_META_KEYS = st.sampled_from(["traceparent", "mcp-stack/request-id", "mcp-stack/deadline-ms"])
_META_VALUES = st.one_of(
    st.none(), st.integers(), st.text(max_size=40), st.lists(st.integers()), st.floats()
)


@given(st.dictionaries(_META_KEYS, _META_VALUES))
def test_any_meta_gives_a_usable_context(meta: dict[str, object]) -> None:
    received = context_from_meta(meta)
    assert received.request_id
    assert received.deadline.remaining() <= 3600.0


@pytest.mark.parametrize("name", ["mcp-stack/request-id", "mcp-stack/client-id"])
def test_line_break_in_a_name_goes_no_further(name: str) -> None:
    with use_context(context_from_meta({name: "abc\n"})):
        assert not any("\n" in value for value in outgoing_headers().values())


def test_deadline_too_large_for_any_clock_is_no_deadline() -> None:
    received = context_from_meta({"mcp-stack/deadline-ms": 10**400})
    assert 0 < received.deadline.remaining() <= 60.0
