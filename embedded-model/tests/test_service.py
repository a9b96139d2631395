import asyncio
import json
import socket
from collections.abc import AsyncIterator

import httpx
import openai
import pytest
import uvicorn
from embedded_model.app import create_app
from embedded_model.settings import EmbeddedModelSettings

TOOLS = [
    {
        "type": "function",
        "function": {
            "name": name,
            "parameters": {
                "type": "object",
                "properties": {key: {"type": "string"} for key in keys},
            },
        },
    }
    for name, keys in {
        "execute_code": ["code"],
        "get_current_time": ["timezone"],
        "get_timezone_time": ["timezone"],
    }.items()
]


@pytest.fixture
async def base_url() -> AsyncIterator[str]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        app = create_app(EmbeddedModelSettings(port=port))
        server = uvicorn.Server(uvicorn.Config(app, log_config=None, ws="none"))
        task = asyncio.create_task(server.serve(sockets=[listener]))
        async with asyncio.timeout(20):
            while not server.started:  # noqa: ASYNC110  # uvicorn has no event for it
                await asyncio.sleep(0.01)
        yield f"http://127.0.0.1:{port}"
        server.should_exit = True
        async with asyncio.timeout(20):
            await task


@pytest.fixture
async def client(base_url: str) -> AsyncIterator[openai.AsyncOpenAI]:
    http = httpx.AsyncClient(trust_env=False)
    async with openai.AsyncOpenAI(
        base_url=f"{base_url}/v1", api_key="none", max_retries=0, http_client=http
    ) as found:
        yield found


async def test_official_client_gets_calls_and_then_the_answer(client: openai.AsyncOpenAI) -> None:
    messages = [{"role": "user", "content": "What time is it in Tokyo, and what is 17*23?"}]
    first = await client.chat.completions.create(model="embedded", messages=messages, tools=TOOLS)
    choice = first.choices[0]
    assert choice.finish_reason == "tool_calls"
    calls = [
        (call.function.name, json.loads(call.function.arguments))
        for call in choice.message.tool_calls
    ]
    assert calls == [
        ("get_timezone_time", {"timezone": "Asia/Tokyo"}),
        ("execute_code", {"code": "print(17 * 23)"}),
    ]
    results = ["2026-11-23 02:03 JST (Asia/Tokyo)", "391"]
    messages += [
        choice.message.model_dump(exclude_none=True),
        *(
            {"role": "tool", "tool_call_id": call.id, "content": text}
            for call, text in zip(choice.message.tool_calls, results, strict=True)
        ),
    ]
    second = await client.chat.completions.create(model="embedded", messages=messages, tools=TOOLS)
    assert second.choices[0].finish_reason == "stop"
    assert second.choices[0].message.content == (
        "In Tokyo it is 2026-11-23 02:03 JST. 17 * 23 = 391."
    )
    assert second.usage is not None
    assert second.usage.total_tokens == second.usage.prompt_tokens + second.usage.completion_tokens


async def test_streamed_calls_join_to_the_same_calls(client: openai.AsyncOpenAI) -> None:
    code = "print('" + "x" * 300 + "')"
    names, arguments, reasons, usage = {}, {}, [], None
    stream = await client.chat.completions.create(
        model="embedded",
        messages=[{"role": "user", "content": f"run `{code}` and tell me the time"}],
        tools=TOOLS,
        stream=True,
        stream_options={"include_usage": True},
    )
    async for chunk in stream:
        usage = chunk.usage or usage
        for choice in chunk.choices:
            reasons.append(choice.finish_reason)
            for call in choice.delta.tool_calls or ():
                names.setdefault(call.index, call.function.name)
                arguments[call.index] = arguments.get(call.index, "") + call.function.arguments
    assert names == {0: "execute_code", 1: "get_current_time"}
    assert json.loads(arguments[0]) == {"code": code}
    assert json.loads(arguments[1]) == {}
    assert [reason for reason in reasons if reason] == ["tool_calls"]
    assert usage is not None


async def test_streamed_text_joins_to_the_whole_text(client: openai.AsyncOpenAI) -> None:
    messages = [{"role": "user", "content": "who are you?"}]
    whole = await client.chat.completions.create(model="embedded", messages=messages)
    stream = await client.chat.completions.create(model="embedded", messages=messages, stream=True)
    pieces = [choice.delta.content or "" async for chunk in stream for choice in chunk.choices]
    assert len(pieces) > 3
    assert "".join(pieces) == whole.choices[0].message.content


async def test_raw_stream_ends_with_done(base_url: str) -> None:
    body = {"messages": [{"role": "user", "content": "hi"}], "stream": True}
    async with httpx.AsyncClient(trust_env=False) as http:
        response = await http.post(f"{base_url}/v1/chat/completions", json=body)
    assert response.headers["content-type"].startswith("text/event-stream")
    assert response.text.endswith("data: [DONE]\n\n")


async def test_limit_of_tokens_cuts_a_text_and_says_so(client: openai.AsyncOpenAI) -> None:
    answer = await client.chat.completions.create(
        model="embedded", messages=[{"role": "user", "content": "help"}], max_tokens=5
    )
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 5


async def test_limit_bounds_texts_and_cuts_no_call(client: openai.AsyncOpenAI) -> None:
    answer = await client.chat.completions.create(
        model="embedded",
        messages=[{"role": "user", "content": "what is 2+2"}],
        tools=TOOLS,
        max_tokens=2,
    )
    assert answer.choices[0].finish_reason == "tool_calls"
    (call,) = answer.choices[0].message.tool_calls or ()
    assert json.loads(call.function.arguments) == {"code": "print(2 + 2)"}


async def test_longest_chat_that_the_chat_api_takes_is_answered(
    client: openai.AsyncOpenAI,
) -> None:
    said = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "Hello."}] * 5000
    asked = {"role": "user", "content": "what is 6*7"}
    answer = await client.chat.completions.create(
        model="embedded", messages=[*said[1:], asked], tools=TOOLS
    )
    assert answer.choices[0].finish_reason == "tool_calls"


async def test_content_in_parts_and_unknown_fields_are_read(base_url: str) -> None:
    body = {
        "model": "anything",
        "seed": 7,
        "some_new_field": {"a": 1},
        "messages": [
            {"role": "developer", "content": "be brief", "name": "x"},
            {"role": "user", "content": [{"type": "text", "text": "hi", "extra": 1}]},
        ],
    }
    async with httpx.AsyncClient(trust_env=False) as http:
        response = await http.post(f"{base_url}/v1/chat/completions", json=body)
    assert response.status_code == 200
    assert "Hello" in response.json()["choices"][0]["message"]["content"]


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b"{", None),
        (b'{"messages": []}', "messages"),
        (b'{"messages": [{"role": "robot", "content": "x"}]}', "messages.0.role"),
        (b'{"messages": [{"role": "system", "content": "x"}]}', "messages"),
        (b'{"messages": [{"role": "user", "content": "x"}], "n": 3}', "n"),
        (b'{"messages": [{"role": "user", "content": "x"}], "max_tokens": 0}', "max_tokens"),
    ],
)
async def test_bad_request_is_told_in_openais_form(
    base_url: str, body: bytes, param: str | None
) -> None:
    async with httpx.AsyncClient(trust_env=False) as http:
        response = await http.post(
            f"{base_url}/v1/chat/completions",
            content=body,
            headers={"content-type": "application/json"},
        )
    assert response.status_code == 400
    error = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["type"] == "invalid_request_error"
    assert error["param"] == param


async def test_models_are_listed_and_a_foreign_one_is_not_found(
    client: openai.AsyncOpenAI,
) -> None:
    models = await client.models.list()
    assert [model.id for model in models.data] == ["embedded"]
    assert (await client.models.retrieve("embedded")).id == "embedded"
    with pytest.raises(openai.NotFoundError):
        await client.models.retrieve("gpt-9")


async def test_health_and_readiness_are_green(base_url: str) -> None:
    async with httpx.AsyncClient(trust_env=False) as http:
        assert (await http.get(f"{base_url}/health")).json()["status"] == "ok"
        assert (await http.get(f"{base_url}/ready")).status_code == 200
