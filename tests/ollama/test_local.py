"""`make local` with an Ollama of the host, as a user types it: LLM_BASE_URL=http://localhost:PORT/v1."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from stack_support.real_ollama import RealOllama, real_ollama
from stack_support.running_stack import RunningStack, running_service, running_stack
from stack_support.waiting import wait_until

pytestmark = [pytest.mark.ollama, pytest.mark.stack]


def localhost(ollama: RealOllama) -> str:
    return f"http://localhost:{ollama.port}/v1"


@pytest.fixture(scope="module")
def local(ollama: RealOllama, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    with running_stack(
        tmp_path_factory.mktemp("local"), LLM_BASE_URL=localhost(ollama), LLM_MODEL_NAME="caller"
    ) as stack:
        yield stack


def test_chat_calls_a_tool_and_answers_from_it(local: RunningStack) -> None:
    answer = local.chat("How much is 6*7?")

    assert answer["response"] == "It is 42."
    assert [(call["name"], call["output"].strip()) for call in answer["tool_calls"]] == [
        ("execute_code", "42")
    ]
    assert answer["usage"]["prompt_tokens"] > 100


def test_embedded_model_is_not_started_beside_it(local: RunningStack) -> None:
    assert local.pid("embedded-model") is None
    assert local.is_ready()


def test_metrics_tell_the_model_s_work(local: RunningStack) -> None:
    local.chat("Again.")

    def total(name: str, **labels: str) -> float:
        return local.metric("middleware", name, gen_ai_request_model="caller", **labels)

    assert total("gen_ai_client_operation_duration_seconds_count", error_type="") >= 2
    assert total("gen_ai_client_operation_time_to_first_chunk_count") >= 2
    assert total("gen_ai_client_token_usage_sum", gen_ai_token_type="output") > 10


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("no-tools", "The model no-tools can't call tools"),
        ("nowhere", "ollama pull nowhere"),
    ],
)
def test_model_that_will_not_do_is_told_of_everywhere(
    ollama: RealOllama, local: RunningStack, tmp_path: Path, name: str, said: str
) -> None:
    with running_service(
        "middleware",
        "MIDDLEWARE_",
        tmp_path / "middleware.log",
        is_ready=False,
        LLM_BASE_URL=localhost(ollama),
        LLM_MODEL_NAME=name,
        MCP_SERVER_URL=local.url("mcp-server"),
    ) as service:
        wait_until(
            lambda: said in service.http.get(f"{service.url}/ready").text,
            within=10,
            what="/ready says it",
        )
        assert service.http.get(f"{service.url}/ready").status_code == 503
        health = service.http.get(f"{service.url}/health").json()
        assert said in health["dependencies"]["llm"]["detail"]
        body = {"messages": [{"role": "user", "content": "6*7?"}]}
        refused = service.http.post(f"{service.url}/chat", json=body)
        assert refused.status_code == 502
        assert said in refused.json()["detail"]
        assert said in service.log()


def test_answer_is_streamed_as_ollama_makes_it(
    ollama: RealOllama, local: RunningStack, tmp_path: Path
) -> None:
    with running_service(
        "middleware",
        "MIDDLEWARE_",
        tmp_path / "middleware.log",
        LLM_BASE_URL=localhost(ollama),
        LLM_MODEL_NAME="endless",
        MIDDLEWARE_MAX_ANSWER_TOKENS="400",
        MCP_SERVER_URL=local.url("mcp-server"),
    ) as service:
        body = {"messages": [{"role": "user", "content": "go on"}], "stream": True}
        address = f"{service.url}/v1/chat/completions"
        with service.http.stream("POST", address, json=body) as response:
            lines = [line.removeprefix("data: ") for line in response.iter_lines() if line]
    assert lines.pop() == "[DONE]"
    choices = [json.loads(line)["choices"][0] for line in lines if not line.startswith(":")]
    pieces = [choice["delta"].get("content") for choice in choices]
    assert len([piece for piece in pieces if piece]) > 20
    assert choices[-1]["finish_reason"] == "length"


def test_stack_heals_when_ollama_is_killed_and_comes_back(
    local: RunningStack, tmp_path: Path
) -> None:
    with (
        real_ollama(tmp_path / "ollama", ["caller"]) as own,
        running_service(
            "middleware",
            "MIDDLEWARE_",
            tmp_path / "middleware.log",
            LLM_BASE_URL=localhost(own),
            LLM_MODEL_NAME="caller",
            MCP_SERVER_URL=local.url("mcp-server"),
        ) as service,
    ):
        body = {"messages": [{"role": "user", "content": "6*7?"}], "timeout_seconds": 20}
        assert service.http.post(f"{service.url}/chat", json=body).status_code == 200
        own.end(is_killed=True)
        refused = service.http.post(f"{service.url}/chat", json=body | {"timeout_seconds": 4})
        assert refused.status_code in {502, 504}
        assert refused.json()["type"].rpartition(":")[2].startswith("llm-")
        own.start()
        wait_until(
            lambda: service.http.post(f"{service.url}/chat", json=body).status_code == 200,
            within=30,
            what="chats are answered again",
        )
