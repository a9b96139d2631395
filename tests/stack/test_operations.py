"""What an operator relies on: health, readiness, metrics, pages, logs, ids and deadlines."""

import re
import secrets
import time
from typing import Any

import pytest
from stack_support.running_stack import SERVICES, RunningStack, seconds_of, user
from stack_support.waiting import wait_until

# The hops of a chat that runs code.
HOPS = ("middleware", "embedded-model", "mcp-server", "code-executor", "sandbox")


@pytest.mark.parametrize("service", SERVICES)
def test_health_is_ok_and_lists_dependencies(stack: RunningStack, service: str) -> None:
    response = stack.http.get(f"{stack.url(service)}/health")

    body = response.json()
    assert response.status_code == 200, body
    assert body["status"] == "ok", body
    assert isinstance(body["dependencies"], dict)
    assert response.headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    ("service", "needs"),
    [
        ("middleware", {"llm", "mcp-server"}),
        ("mcp-server", {"code-executor", "time-client"}),
        ("code-executor", {"sandbox"}),
        ("sandbox", {"sandbox-runner"}),
        ("time-client", set()),
        ("embedded-model", set()),
    ],
)
def test_health_names_what_a_service_needs(
    stack: RunningStack, service: str, needs: set[str]
) -> None:
    assert needs <= set(stack.http.get(f"{stack.url(service)}/health").json()["dependencies"])


@pytest.mark.parametrize("service", SERVICES)
def test_service_is_ready(stack: RunningStack, service: str) -> None:
    assert stack.http.get(f"{stack.url(service)}/ready").status_code == 200


@pytest.mark.parametrize("service", SERVICES)
def test_api_page_and_description_are_served(stack: RunningStack, service: str) -> None:
    page = stack.http.get(f"{stack.url(service)}/docs")
    description = stack.http.get(f"{stack.url(service)}/openapi.json").json()

    assert page.status_code == 200
    assert page.headers["content-type"].startswith("text/html")
    assert description["info"]["title"] == service
    assert "/health" in description["paths"]


@pytest.mark.parametrize("service", SERVICES)
def test_metrics_count_requests_by_route_and_never_by_what_callers_invent(
    stack: RunningStack, service: str
) -> None:
    invented = f"/{secrets.token_hex(8)}"
    stack.http.get(f"{stack.url(service)}/openapi.json")
    stack.http.get(stack.url(service) + invented)

    text = stack.http.get(f"{stack.url(service)}/metrics").text

    assert "# TYPE http_request_duration_seconds histogram" in text
    assert re.search(r'http_request_duration_seconds_count\{[^}]*route="/health"', text)
    assert invented not in text
    assert 'route="unmatched"' in text


@pytest.mark.parametrize(
    ("service", "dependency"),
    [
        ("middleware", "mcp-server"),
        ("middleware", "llm"),
        ("mcp-server", "code-executor"),
        ("sandbox", "sandbox-runner"),
    ],
)
def test_metrics_say_which_dependency_is_up(
    stack: RunningStack, service: str, dependency: str
) -> None:
    assert stack.metric(service, "dependency_up", dependency=dependency) == 1


def test_gateway_counts_tool_calls_by_name_and_never_invented_ones(stack: RunningStack) -> None:
    def counted() -> float:
        return stack.metric(
            "mcp-server", "mcp_tool_executions_total", tool_name="get_timezone_time"
        )

    before = counted()
    invented = f"tool_{secrets.token_hex(6)}"

    stack.execute("get_timezone_time", timezone="Europe/Rome")
    stack.http.post(f"{stack.url('mcp-server')}/mcp/tools/{invented}", json={})

    text = stack.http.get(f"{stack.url('mcp-server')}/metrics").text
    assert counted() == before + 1
    assert 'mcp_tool_execution_seconds_count{tool_name="get_timezone_time"' in text
    assert invented not in text


def test_own_tools_report_the_system(stack: RunningStack) -> None:
    status = stack.execute("get_system_status").json()
    metrics = stack.execute("get_service_metrics").json()

    assert status["success"] is True
    assert "code-executor" in status["output"]
    assert "time-client" in status["output"]
    assert metrics["success"] is True


def lines_of_chat(stack: RunningStack, request_id: str) -> dict[str, list[dict[str, Any]]]:
    return {
        service: [line for line in stack.log(service) if line.get("request_id") == request_id]
        for service in HOPS
    }


def test_request_id_and_trace_pass_through_every_hop(stack: RunningStack) -> None:
    request_id, trace_id = f"test-{secrets.token_hex(6)}", secrets.token_hex(16)
    headers = {
        "x-request-id": request_id,
        "traceparent": f"00-{trace_id}-{secrets.token_hex(8)}-01",
    }

    response = stack.post_chat("run print('hop')", headers=headers)

    assert response.status_code == 200, response.text
    assert response.headers["x-request-id"] == request_id
    assert response.json()["request_id"] == request_id
    wait_until(
        lambda: all(lines_of_chat(stack, request_id).values()),
        within=5,
        what=f"the request id in the logs of all hops: {lines_of_chat(stack, request_id)}",
    )
    for service, lines in lines_of_chat(stack, request_id).items():
        assert {line["trace_id"] for line in lines} == {trace_id}, service


def test_request_without_an_id_gets_one_that_all_hops_share(stack: RunningStack) -> None:
    request_id = stack.post_chat("run print('fresh id')").headers["x-request-id"]

    wait_until(
        lambda: all(lines_of_chat(stack, request_id).values()),
        within=5,
        what=f"{request_id} in the logs of all hops",
    )


def test_malformed_ids_are_replaced(stack: RunningStack) -> None:
    response = stack.http.get(
        f"{stack.url('middleware')}/health",
        headers={"x-request-id": "a b\tc" + "x" * 500, "traceparent": "nonsense"},
    )

    assert re.fullmatch(r"[0-9a-f]{16}", response.headers["x-request-id"])


def test_each_chat_has_one_line_of_access_log(stack: RunningStack) -> None:
    request_id = f"test-{secrets.token_hex(6)}"
    stack.post_chat("hello", headers={"x-request-id": request_id})

    def finished() -> list[dict[str, Any]]:
        return [
            line
            for line in stack.log("middleware")
            if line.get("request_id") == request_id and line["event"] == "request.finished"
        ]

    wait_until(finished, within=5, what="the access log line")
    (line,) = finished()
    assert (line["method"], line["route"], line["status"]) == ("POST", "/chat", 200)
    assert line["service"] == "middleware"
    assert line["duration_ms"] > 0


def test_what_is_said_and_run_is_never_logged(stack: RunningStack) -> None:
    canary = f"canary{secrets.token_hex(6)}"
    request_id = stack.post_chat(f"run print('{canary}')").headers["x-request-id"]
    wait_until(
        lambda: all(lines_of_chat(stack, request_id).values()), within=5, what="the logs of the run"
    )

    for path in (stack.run_dir / "logs").iterdir():
        assert canary not in path.read_text(encoding="utf-8", errors="replace"), path.name
    assert canary not in stack.output()


def test_deadline_of_the_caller_bounds_the_whole_chain(stack: RunningStack) -> None:
    def ended_by_time() -> float:
        return stack.metric("sandbox", "sandbox_executions_total", status="timeout")

    before = ended_by_time()
    begun = time.monotonic()

    response = stack.post_chat("run this: `while True: pass`", headers={"x-deadline-ms": "2000"})

    assert seconds_of(begun) < 2.2
    if response.status_code == 200:
        assert response.json()["tool_calls"][0]["is_error"] is True
    else:
        assert response.status_code == 504, response.text
        assert response.json()["type"].startswith("urn:problem:mcp-stack:")
    wait_until(
        lambda: stack.metric("sandbox", "sandbox_slots_in_use") == 0,
        within=2,
        what="the run's end after the caller's deadline",
    )
    # The sandbox knew the deadline: it ended the run by itself, not because its caller hung up.
    assert ended_by_time() == before + 1


def test_deadline_in_the_body_bounds_the_chat(stack: RunningStack) -> None:
    begun = time.monotonic()

    response = stack.post_chat("run this: `while True: pass`", timeout_seconds=1.5)

    assert seconds_of(begun) < 1.7
    assert response.status_code in {200, 504}


def test_deadline_that_is_over_is_told_at_once(stack: RunningStack) -> None:
    begun = time.monotonic()

    response = stack.post_chat("What time is it?", headers={"x-deadline-ms": "0"})

    assert seconds_of(begun) < 1
    assert response.status_code == 504, response.text
    assert response.json()["type"].startswith("urn:problem:mcp-stack:")


def test_web_page_of_a_listed_origin_alone_gets_cors_headers(stack: RunningStack) -> None:
    response = stack.http.options(
        f"{stack.url('middleware')}/chat",
        headers={
            "Origin": "https://evil.example",
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "content-type",
        },
    )

    assert response.status_code == 403
    assert "access-control-allow-origin" not in response.headers


def test_streaming_model_api_is_served(stack: RunningStack) -> None:
    with stack.http.stream(
        "POST",
        f"{stack.url('embedded-model')}/v1/chat/completions",
        json={"model": "embedded", "stream": True, "messages": [user("hello")]},
    ) as response:
        lines = [line for line in response.iter_lines() if line]

    assert response.headers["content-type"].startswith("text/event-stream")
    assert lines[-1] == "data: [DONE]"
    assert all(line.startswith("data: ") for line in lines)
