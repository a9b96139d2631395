"""One question is one trace over five services, by OTLP to a collector."""

from pathlib import Path

from stack_support.model_standin import MODEL, Calls, Says, model_standin
from stack_support.running_stack import running_stack
from stack_support.trace_receiver import ReceivedSpan, trace_receiver
from stack_support.waiting import wait_until

TRACE, CALLER = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SERVICES = {"middleware", "mcp-server", "code-executor", "sandbox", "time-client"}
OUTERMOST_AND_INNERMOST = {
    *("POST /chat", f"chat {MODEL}", "sandbox.run", "tools/call get_timezone_time"),
    "POST /tools/get_timezone_time",
}
SECRET = "qwertzuiop-not-to-be-told"


def chain_to_root(span: ReceivedSpan, spans: dict[str, ReceivedSpan]) -> list[str]:
    names = [f"{span.service}: {span.name}"]
    while span.parent_id in spans:
        span = spans[span.parent_id]
        names.append(f"{span.service}: {span.name}")
    assert span.parent_id == CALLER, f"an orphan: {names}"
    return names


def test_one_chat_is_one_trace_over_five_services(tmp_path: Path) -> None:
    with model_standin() as model, trace_receiver() as receiver:
        model.will(
            Calls(
                (
                    ("execute_code", {"code": f"print('{SECRET}'[:0], 6*7)"}),
                    ("get_timezone_time", {"timezone": "Asia/Tokyo"}),
                )
            ),
            Says("It is 42."),
        )
        with running_stack(
            tmp_path,
            LLM_BASE_URL=model.base_url,
            LLM_MODEL_NAME=MODEL,
            OTEL_EXPORTER_OTLP_ENDPOINT=receiver.endpoint,
            OTEL_BSP_SCHEDULE_DELAY="200",
        ) as stack:
            headers = {"traceparent": f"00-{TRACE}-{CALLER}-01"}
            answer = stack.post_chat(f"What is 6*7? {SECRET}", headers=headers)
            assert answer.status_code == 200, answer.text
            wait_until(
                lambda: {each.name for each in receiver.trace(TRACE)} >= OUTERMOST_AND_INNERMOST,
                within=20,
                what="the first span and the last of each branch",
            )
            assert {each.service for each in receiver.trace(TRACE)} == SERVICES
            assert stack.stop() == 0

        trace = receiver.trace(TRACE)
        spans = {each.span_id: each for each in trace}
        chains = {f"{each.service}: {each.name}": chain_to_root(each, spans) for each in trace}
        assert chains["sandbox: sandbox.run"] == [
            "sandbox: sandbox.run",
            "sandbox: POST /execute",
            "code-executor: POST",
            "code-executor: POST /tools/execute_code",
            "code-executor: tools/call execute_code",
            "mcp-server: tools/call execute_code",
            "mcp-server: tools/call execute_code",
            "middleware: tools/call execute_code",
            "middleware: POST /chat",
        ]
        assert chains[f"middleware: chat {MODEL}"][-1] == "middleware: POST /chat"
        assert chains["time-client: tools/call get_timezone_time"][-1] == "middleware: POST /chat"
        # Probes of readiness and lists of tools belong to nobody's request.
        assert not [each for each in receiver.spans if "/ready" in each.name]
        assert not [body for body in receiver.raw if SECRET.encode() in body]
