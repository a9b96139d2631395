"""Everything that can be wrong is told as problem+json: stable type, what to do, request id."""

import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from stack_support.model_standin import (
    MODEL,
    Calls,
    CutsOff,
    Refuses,
    Says,
    Stalls,
    StandInModel,
    model_standin,
)
from stack_support.running_stack import (
    SERVICES,
    RunningService,
    RunningStack,
    free_ports,
    running_service,
    seconds_of,
    user,
)

# `/chat`'s whole time in the middleware beside the stack.
CHAT_SECONDS = 6.0
JSON = {"Content-Type": "application/json"}


def assert_problem(
    response: httpx.Response, status: int, *types: str, hint: str = ""
) -> dict[str, Any]:
    """Check the form that all problems have; give the document."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"].startswith("application/problem+json")
    problem: dict[str, Any] = response.json()
    assert problem["type"].removeprefix("urn:problem:mcp-stack:") in types, problem
    assert problem["status"] == status
    assert problem["title"]
    assert problem["detail"].strip().endswith((".", "?", ")", "…")), problem["detail"]
    assert hint.lower() in problem["detail"].lower(), problem["detail"]
    assert problem["request_id"] == response.headers["x-request-id"]
    assert "Traceback" not in response.text.replace('"tool_calls"', "")
    assert ".py" not in problem["detail"]
    return problem


@pytest.fixture(scope="module")
def model() -> Iterator[StandInModel]:
    with model_standin() as served:
        yield served


@pytest.fixture(scope="module")
def chat_service(
    stack: RunningStack, model: StandInModel, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningService]:
    """A middleware of its own in front of the stack's gateway, with the stand-in as model."""
    with running_service(
        "middleware",
        "MIDDLEWARE_",
        tmp_path_factory.mktemp("middleware") / "middleware.log",
        MCP_SERVER_URL=stack.url("mcp-server"),
        LLM_BASE_URL=model.base_url,
        LLM_MODEL_NAME=MODEL,
        LLM_API_KEY="key-of-the-stand-in",
        MIDDLEWARE_CHAT_TIMEOUT_SECONDS=str(CHAT_SECONDS),
    ) as service:
        yield service


def chat(service: RunningService, text: str = "hello") -> httpx.Response:
    return service.http.post(f"{service.url}/chat", json={"messages": [user(text)]})


# -- the model --------------------------------------------------------------------------------


def test_real_model_can_use_the_tools(chat_service: RunningService, model: StandInModel) -> None:
    model.will(
        Calls((("execute_code", {"code": "print(6*7)"}), ("get_current_time", {}))),
        Says("It is 42."),
    )

    answer = chat(chat_service).json()

    assert answer["response"] == "It is 42."
    assert [call["name"] for call in answer["tool_calls"]] == ["execute_code", "get_current_time"]
    assert answer["tool_calls"][0]["output"].strip() == "42"
    results = [each for each in model.asked[1]["messages"] if each["role"] == "tool"]
    assert [each["tool_call_id"] for each in results] == ["call_0", "call_1"]
    assert model.headers[0]["authorization"] == "Bearer key-of-the-stand-in"


def test_model_that_is_down_is_named(
    stack: RunningStack, tmp_path: Path, subtests: pytest.Subtests
) -> None:
    address = f"http://127.0.0.1:{free_ports(1)[0]}/v1"
    with running_service(
        "middleware",
        "MIDDLEWARE_",
        tmp_path / "middleware.log",
        is_ready=False,
        MCP_SERVER_URL=stack.url("mcp-server"),
        LLM_BASE_URL=address,
        MIDDLEWARE_CHAT_TIMEOUT_SECONDS=str(CHAT_SECONDS),
    ) as service:
        with subtests.test("chat says so"):
            begun = time.monotonic()
            assert_problem(chat(service), 502, "llm-unreachable", hint=address)
            assert seconds_of(begun) < CHAT_SECONDS
        with subtests.test("ready says so"):
            ready = service.http.get(f"{service.url}/ready")
            assert_problem(ready, 503, "not-ready")
            assert "llm" in ready.json()["waiting_for"]
        with subtests.test("tools work without a model"):
            outcome = service.http.post(
                f"{service.url}/execute", json={"name": "get_current_time", "parameters": {}}
            )
            assert outcome.json()["success"] is True


def test_model_that_is_slow_is_named_within_the_deadline(
    chat_service: RunningService, model: StandInModel
) -> None:
    model.will(Stalls(60))
    begun = time.monotonic()

    response = chat(chat_service)

    assert seconds_of(begun) <= CHAT_SECONDS + 0.2
    assert_problem(response, 504, "llm-timeout", hint="MIDDLEWARE_CHAT_TIMEOUT_SECONDS")


def test_model_that_is_not_found_is_named(
    chat_service: RunningService, model: StandInModel
) -> None:
    model.will(Refuses(404, f"model '{MODEL}' not found"))

    problem = assert_problem(chat(chat_service), 502, "llm-model-not-found", hint="LLM_MODEL_NAME")

    assert MODEL in problem["detail"]


@pytest.mark.parametrize(
    ("step", "status", "kind"),
    [
        (Refuses(401, "Incorrect API key provided: key-of-the-stand-in"), 502, "llm-refused-key"),
        (Refuses(503, "server busy, please try again"), 503, "llm-busy"),
        (Refuses(500, "CUDA error: out of memory"), 502, "llm-failed"),
        (Refuses(400, f"{MODEL} does not support tools"), 502, "llm-no-tools"),
        (CutsOff(), 502, "llm-cut-off"),
        (Says(""), 502, "llm-empty-answer"),
    ],
    ids=["key", "busy", "broken", "no-tools", "cut", "empty"],
)
def test_other_failures_of_the_model_have_types_of_their_own(
    chat_service: RunningService, model: StandInModel, step: Any, status: int, kind: str
) -> None:
    model.will(step)

    response = chat(chat_service)

    assert_problem(response, status, kind)
    assert "key-of-the-stand-in" not in response.text


def test_model_that_invents_a_tool_is_told_the_names(
    chat_service: RunningService, model: StandInModel
) -> None:
    model.will(Calls((("launch_rocket", {}),)), Says("I can't do that."))

    answer = chat(chat_service).json()

    assert answer["response"] == "I can't do that."
    assert answer["tool_calls"][0]["is_error"] is True
    assert "execute_code" in model.asked[1]["messages"][-1]["content"]


def test_model_that_gives_wrong_arguments_may_correct_them(
    chat_service: RunningService, model: StandInModel
) -> None:
    model.will(
        Calls((("execute_code", {"source": "print(1)"}),)),
        Calls((("execute_code", {"code": "print(1)"}),)),
        Says("1"),
    )

    answer = chat(chat_service).json()

    assert [call["is_error"] for call in answer["tool_calls"]] == [True, False]
    assert "code" in answer["tool_calls"][0]["output"]


# -- the gateway and the tools ----------------------------------------------------------------


def test_gateway_that_is_down_is_named(stack: RunningStack, tmp_path: Path) -> None:
    with running_service(
        "middleware",
        "MIDDLEWARE_",
        tmp_path / "middleware.log",
        is_ready=False,
        MCP_SERVER_URL=f"http://127.0.0.1:{free_ports(1)[0]}",
        MIDDLEWARE_EMBEDDED_MODEL_URL=f"{stack.url('embedded-model')}/v1",
        MIDDLEWARE_CHAT_TIMEOUT_SECONDS="3",
    ) as service:
        assert_problem(chat(service, "What time is it?"), 502, "gateway-unreachable")
        assert_problem(service.http.get(f"{service.url}/tools"), 502, "gateway-unreachable")
        call = {"name": "get_current_time", "parameters": {}}
        assert_problem(
            service.http.post(f"{service.url}/execute", json=call), 502, "gateway-unreachable"
        )


def test_gateway_that_never_answers_is_named_within_the_deadline(
    stack: RunningStack, tmp_path: Path
) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as mute,
        running_service(
            "middleware",
            "MIDDLEWARE_",
            tmp_path / "middleware.log",
            is_ready=False,
            MCP_SERVER_URL=f"http://127.0.0.1:{mute.getsockname()[1]}",
            MIDDLEWARE_EMBEDDED_MODEL_URL=f"{stack.url('embedded-model')}/v1",
            MIDDLEWARE_CHAT_TIMEOUT_SECONDS="3",
        ) as service,
    ):
        begun = time.monotonic()
        response = chat(service, "What time is it?")
        assert seconds_of(begun) <= 3.2
        assert_problem(response, 504, "gateway-timeout", "chat-timeout")


def test_unknown_tool_is_404_and_names_a_near_one(stack: RunningStack) -> None:
    assert_problem(stack.execute("exekute_code"), 404, "tool-unknown", hint="execute_code")
    facade = stack.http.post(f"{stack.url('mcp-server')}/mcp/tools/exekute_code", json={})
    assert_problem(facade, 404, "tool-unknown", hint="execute_code")


@pytest.mark.parametrize(
    ("name", "arguments", "hint"),
    [
        ("execute_code", {}, "code"),
        ("execute_code", {"code": 5}, "code"),
        ("execute_code", {"code": "1", "colour": "red"}, "colour"),
        ("get_timezone_time", {"timezone": ["Asia/Tokyo"]}, "timezone"),
    ],
)
def test_wrong_arguments_are_422_and_name_the_field(
    stack: RunningStack, name: str, arguments: dict[str, Any], hint: str
) -> None:
    assert_problem(stack.execute(name, **arguments), 422, "arguments-invalid", hint=hint)
    facade = stack.http.post(f"{stack.url('mcp-server')}/mcp/tools/{name}", json=arguments)
    assert_problem(facade, 422, "arguments-invalid", hint=hint)


def test_unknown_zone_is_answered_with_the_nearest_names(stack: RunningStack) -> None:
    outcome = stack.execute("get_timezone_time", timezone="Asia/Tokio")

    text = json.dumps(outcome.json())
    assert outcome.status_code in {200, 422}
    assert "Asia/Tokyo" in text


@pytest.mark.parametrize("seconds", [-1, 0, 1_000_000])
def test_numbers_out_of_bounds_are_refused_and_never_cut(
    stack: RunningStack, seconds: float
) -> None:
    body = {"code": "print('it ran')", "timeout_seconds": seconds}

    direct = stack.http.post(f"{stack.url('sandbox')}/execute", json=body)
    called = stack.execute("execute_code", **body)

    assert direct.status_code == 422, direct.text
    assert direct.headers["content-type"].startswith("application/problem+json")
    assert "timeout_seconds" in direct.json()["detail"]
    # The tool's bound is the sandbox's own: beyond the schema it is the tool's failure.
    assert called.status_code == 422 or called.json()["success"] is False
    assert "timeout_seconds" in called.text
    assert "it ran" not in called.text


def test_tool_that_takes_too_long_ends_with_the_deadline_and_says_so(stack: RunningStack) -> None:
    begun = time.monotonic()

    response = stack.execute(
        "execute_code",
        headers={"x-deadline-ms": "1500"},
        code="print('tick', flush=True)\nwhile True: pass",
        timeout_seconds=60,
    )

    assert seconds_of(begun) < 1.7
    assert_problem(response, 504, "tool-timeout", hint="still running")
    assert response.json()["stdout"] == "tick\n"


def test_facade_ends_a_tool_that_takes_too_long_with_the_deadline(stack: RunningStack) -> None:
    begun = time.monotonic()

    response = stack.http.post(
        f"{stack.url('mcp-server')}/mcp/tools/execute_code",
        headers={"x-deadline-ms": "1500"},
        json={"code": "print('tick', flush=True)\nwhile True: pass", "timeout_seconds": 60},
    )

    assert seconds_of(begun) < 1.7
    assert_problem(response, 504, "deadline-exceeded")
    assert response.json()["stdout"] == "tick\n"


def test_code_that_ends_at_its_own_limit_is_an_answer(stack: RunningStack) -> None:
    response = stack.execute("execute_code", code="while True: pass", timeout_seconds=1)

    assert response.status_code == 200, response.text
    assert response.json()["success"] is False
    assert "Timed out" in response.json()["error"]


def test_tool_that_takes_too_long_ends_the_chat_in_time(
    chat_service: RunningService, model: StandInModel
) -> None:
    model.will(
        Calls((("execute_code", {"code": "while True: pass", "timeout_seconds": 60}),)),
        Says("It took too long."),
    )
    begun = time.monotonic()

    response = chat(chat_service)

    assert seconds_of(begun) <= CHAT_SECONDS + 0.2
    if response.status_code == 200:
        assert response.json()["tool_calls"][0]["is_error"] is True
    else:
        assert_problem(response, 504, "chat-timeout", "tool-timeout", "llm-timeout")


def test_no_run_goes_on_after_its_caller_stopped_waiting(stack: RunningStack) -> None:
    stack.execute(
        "execute_code",
        headers={"x-deadline-ms": "1000"},
        code="while True: pass",
        timeout_seconds=60,
    )

    ends_at = time.monotonic() + 5
    while stack.metric("sandbox", "sandbox_slots_in_use") and time.monotonic() < ends_at:
        time.sleep(0.1)
    assert stack.metric("sandbox", "sandbox_slots_in_use") == 0


# -- the request ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "status", "types"),
    [
        (b'{"messages": [', 400, {"body-not-json"}),
        (b"hello", 400, {"body-not-json"}),
        (b"\xff\xfe\x00", 400, {"body-not-json"}),
        (b'{"messages": []}', 422, {"messages-empty"}),
        (b'{"messages": [{"role": "user", "content": ""}]}', 422, {"messages-empty"}),
        (b'{"messages": [{"role": "user", "content": "  \\n"}]}', 422, {"messages-empty"}),
        (b'{"messages": [{"role": "wizard", "content": "hi"}]}', 422, {"role-unknown"}),
        (b'{"messages": [{"role": "assistant", "content": "hi"}]}', 422, {"last-message-not-user"}),
        (b"{}", 422, {"arguments-invalid"}),
        (b"[]", 422, {"arguments-invalid"}),
        (b"null", 422, {"arguments-invalid"}),
        (b'{"messages": "hi"}', 422, {"arguments-invalid"}),
        (b'{"messages": [{"role": "user"}]}', 422, {"arguments-invalid"}),
        (b'{"messages": [{"role": "user", "content": 5}]}', 422, {"arguments-invalid"}),
        (b'{"messages": [{"role": "user", "content": "\\ud800"}]}', 422, {"arguments-invalid"}),
        (
            b'{"messages": [{"role": "user", "content": "hi"}], "colour": 1}',
            422,
            {"arguments-invalid"},
        ),
        (
            b'{"messages": [{"role": "user", "content": "hi"}], "timeout_seconds": -1}',
            422,
            {"arguments-invalid"},
        ),
        (
            b'{"messages": [{"role": "user", "content": "hi"}], "timeout_seconds": NaN}',
            422,
            {"arguments-invalid"},
        ),
    ],
)
def test_bad_chat_is_a_problem_and_never_a_server_error(
    stack: RunningStack, body: bytes, status: int, types: set[str]
) -> None:
    response = stack.http.post(f"{stack.url('middleware')}/chat", content=body, headers=JSON)

    assert_problem(response, status, *types)


def test_deeply_nested_body_is_a_problem_and_never_a_server_error(stack: RunningStack) -> None:
    for body in (b"[" * 100_000, b'{"a":' * 100_000):
        response = stack.http.post(f"{stack.url('middleware')}/chat", content=body, headers=JSON)
        assert_problem(response, response.status_code, "body-not-json", "arguments-invalid")
        assert response.status_code in {400, 422}


ROUTES = {
    "middleware": "/chat",
    "mcp-server": "/mcp/tools/execute_code",
    "sandbox": "/execute",
    "embedded-model": "/v1/chat/completions",
    "code-executor": "/mcp",
    "time-client": "/mcp",
}


@pytest.mark.parametrize("service", SERVICES)
def test_too_large_body_is_413_on_every_service(stack: RunningStack, service: str) -> None:
    body = b'{"messages": [{"role": "user", "content": "' + b"x" * (4 * 1024 * 1024) + b'"}]}'

    response = stack.http.post(stack.url(service) + ROUTES[service], content=body, headers=JSON)

    assert response.status_code == 413, response.text
    assert "payload-too-large" in response.text


@pytest.mark.parametrize("service", SERVICES)
def test_body_that_is_too_large_without_a_length_is_413(stack: RunningStack, service: str) -> None:
    def chunks() -> Iterator[bytes]:
        for _ in range(80):
            yield b" " * 65536

    response = stack.http.post(stack.url(service) + ROUTES[service], content=chunks(), headers=JSON)

    assert response.status_code == 413, response.text


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize("declared", [None, "text/plain", "application/x-www-form-urlencoded"])
def test_body_that_is_not_declared_json_is_415_on_every_service(
    stack: RunningStack, service: str, declared: str | None
) -> None:
    headers = {"Content-Type": declared} if declared else {}

    response = stack.http.post(
        stack.url(service) + ROUTES[service], content=b'{"a": 1}', headers=headers
    )

    assert response.status_code == 415, response.text
    assert "unsupported-media-type" in response.text


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize(
    "foreign",
    [
        {"Host": "evil.example"},
        {"Host": "localhost.evil.example"},
        {"Host": "127.0.0.1.evil.example:80"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://localhost.evil.example"},
    ],
    ids=lambda headers: "-".join(*headers.items()),
)
def test_foreign_host_or_origin_is_403_on_every_service(
    stack: RunningStack, service: str, foreign: dict[str, str]
) -> None:
    for method, path in (("GET", "/health"), ("POST", ROUTES[service]), ("GET", "/docs")):
        content = b'{"code": "print(1)"}' if method == "POST" else None
        response = stack.http.request(
            method, stack.url(service) + path, content=content, headers={**JSON, **foreign}
        )
        assert response.status_code == 403, f"{method} {path}: {response.text}"
        assert "forbidden-caller" in response.text


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize("host", ["localhost", "LOCALHOST", "own-name"])
def test_own_names_are_answered(stack: RunningStack, service: str, host: str) -> None:
    name = service if host == "own-name" else host
    authority = f"{name}:{stack.ports[service]}"

    response = stack.http.get(f"{stack.url(service)}/health", headers={"Host": authority})

    assert response.status_code == 200


@pytest.mark.parametrize("service", SERVICES)
def test_own_page_may_call(stack: RunningStack, service: str) -> None:
    own = {"Origin": f"http://localhost:{stack.ports[service]}"}

    response = stack.http.get(f"{stack.url(service)}/health", headers=own)

    assert response.status_code == 200


@pytest.mark.parametrize("service", SERVICES)
def test_unknown_address_is_a_problem(stack: RunningStack, service: str) -> None:
    response = stack.http.get(f"{stack.url(service)}/nowhere")

    assert response.status_code == 404
    assert response.headers["x-request-id"]
    if service != "embedded-model":
        assert_problem(response, 404, "not-found", hint="/docs")
