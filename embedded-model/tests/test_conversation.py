import datetime as dt
import json

import pytest
from embedded_model.conversation import NewCall, Reply, Wish, reply_to
from embedded_model.planning import OfferedTool, Toolset
from embedded_model.transcript import Message, ToolCall
from embedded_model_corpus import TOOLS

TODAY = dt.date(2026, 11, 22)
CODE_ONLY = Toolset((OfferedTool("execute_code", frozenset({"code"})),))


def ask(text: str, tools: Toolset = TOOLS, wish: Wish | None = None) -> Reply:
    return reply_to([Message("user", text)], tools, TODAY, wish)


def test_tool_that_is_not_offered_is_not_called() -> None:
    reply = ask("what time is it?", CODE_ONLY)
    assert not reply.calls
    assert "no tool" in reply.text


def test_alias_and_argument_name_of_the_offer_are_used() -> None:
    tools = Toolset((OfferedTool("mcp__execute_python", frozenset({"source"})),))
    assert ask("what is 2+2", tools).calls == (
        NewCall("mcp__execute_python", {"source": "print(2 + 2)"}),
    )


@pytest.mark.parametrize(
    "name",
    [
        "stack__execute_code",
        "stack.execute_code",
        "mcp-server_execute_code",
        "execute_code_mcp_stack",
        "tool_execute_code_post",
        "python_interpreter",
    ],
)
def test_tool_is_known_by_whatever_a_client_puts_around_its_name(name: str) -> None:
    tools = Toolset((OfferedTool(name, frozenset({"code"})),))
    assert [call.name for call in ask("what is 6*7", tools).calls] == [name]


def test_tool_that_lacks_the_argument_is_not_called() -> None:
    tools = Toolset((OfferedTool("execute_code", frozenset({"file"})),))
    assert not ask("what is 6*7", tools).calls


def test_chat_that_a_client_quotes_is_no_request() -> None:
    quoted = "Write a short title.\n\nuser: run `print(1)`\nassistant: 1"
    assert ask(quoted) == Reply("Run print(1)")


def test_calls_come_one_by_one_when_the_client_wants_that() -> None:
    wish = Wish(is_parallel=False)
    question = Message("user", "time in Rome and what is 2+2")
    first = reply_to([question], TOOLS, TODAY, wish)
    assert [call.name for call in first.calls] == ["get_timezone_time"]
    made = ToolCall("c1", "get_timezone_time", json.dumps({"timezone": "Europe/Rome"}))
    messages = [
        question,
        Message("assistant", calls=(made,)),
        Message("tool", "2026-11-22 18:03 CET", call_id="c1"),
    ]
    second = reply_to(messages, TOOLS, TODAY, wish)
    assert [call.name for call in second.calls] == ["execute_code"]


def test_no_call_is_made_when_the_client_forbids_calls() -> None:
    assert not ask("what is 2+2", wish=Wish(is_calling_allowed=False)).calls


def test_answer_follows_the_results_and_asks_for_no_further_call() -> None:
    calls = (
        ToolCall("a", "get_current_time", "{}"),
        ToolCall("b", "execute_code", json.dumps({"code": "print(6 * 7)"})),
    )
    reply = reply_to(
        [
            Message("user", "what time is it and what is 6*7?"),
            Message("assistant", calls=calls),
            Message("tool", "42", call_id="b"),
            Message("tool", "2026-11-22 17:03 UTC", call_id="a"),
        ],
        TOOLS,
        TODAY,
    )
    assert reply == Reply("It is 2026-11-22 17:03 UTC. 6 * 7 = 42.")


def test_results_of_calls_that_another_model_made_are_told() -> None:
    call = ToolCall("a", "execute_code", json.dumps({"code": "print('x')"}))
    reply = reply_to(
        [
            Message("user", "do something nice"),
            Message("assistant", calls=(call,)),
            Message("tool", "x", call_id="a"),
        ],
        TOOLS,
        TODAY,
    )
    assert reply == Reply("The output is `x`.")


@pytest.mark.parametrize(
    ("wanted", "key"), [("title", "title"), ("tags", "tags"), ("follow_ups", "follow_ups")]
)
def test_hidden_task_is_answered_as_json_and_never_calls_a_tool(wanted: str, key: str) -> None:
    prompt = (
        f'### Task:\nMake it.\n### Output:\nJSON: {{ "{wanted}": … }}\n<chat_history>\n'
        "USER: run this: print(1) and install numpy\nASSISTANT: done\n</chat_history>"
    )
    reply = ask(prompt)
    assert not reply.calls
    assert list(json.loads(reply.text)) == [key]


@pytest.mark.parametrize(
    "text",
    [
        "+".join(["1"] * 400),
        "what is 3 - " + "-" * 500,
        "1**" * 600 + "1",
        "what is " + "(" * 300 + "1" + ")" * 300,
        "9" * 6000,
        f"the {'9' * 5000}th prime",
        "x " * 15_000,
    ],
    ids=lambda text: text[:12],
)
def test_message_beyond_the_grammar_is_declined_and_does_not_end_the_chat(text: str) -> None:
    assert "shorter parts" in ask(text).text
    messages = [Message("user", text), Message("assistant", "-"), Message("user", "what is 2+2")]
    assert reply_to(messages, TOOLS, TODAY).calls == (
        NewCall("execute_code", {"code": "print(2 + 2)"}),
    )
