"""The tool loop over scripted fakes: what users of peers complain of, one outcome a test."""

import asyncio
import json

import pytest
from middleware.budget import TurnLimits
from middleware.conversation import (
    AssistantMessage,
    SystemMessage,
    Tool,
    ToolMessage,
    ToolResult,
    UserMessage,
)
from middleware.errors import (
    ChatTimeout,
    GatewayUnreachable,
    LlmAnswerTooLong,
    LlmEmptyAnswer,
    LlmTimeout,
    LlmUnreachable,
    ToolTimeout,
    ToolUnavailable,
)
from middleware.pictures import MAX_CHARACTERS, Picture
from middleware.testing import (
    FakeToolbox,
    HangingModel,
    ScriptedModel,
    calls,
    says,
    tool,
    toolbox_of,
)
from middleware.turn import Turn, TurnOutcome
from servicekit.deadline import Deadline

RULES = SystemMessage("Be brief.")
ASK = (RULES, UserMessage("What time is it, and what is 6*7?"))
CLOCK = tool("get_current_time", {"timezone": {"type": "string"}})
PYTHON = tool(
    "execute_code",
    {"code": {"type": "string"}, "timeout_seconds": {"type": "number"}},
    required=["code"],
)


def usual_tools() -> FakeToolbox:
    return toolbox_of(
        (CLOCK, lambda _: ToolResult("2026-11-22 17:03 UTC")),
        (PYTHON, lambda arguments: ToolResult(f"ran {arguments['code']}")),
    )


async def run(
    model: ScriptedModel | HangingModel,
    toolbox: FakeToolbox | None = None,
    *,
    messages=ASK,
    seconds: float = 5.0,
    client_tools: tuple[Tool, ...] = (),
    has_tools: bool = True,
    **limits: int,
) -> TurnOutcome:
    turn = Turn(model, toolbox or usual_tools(), TurnLimits(**limits))
    return await turn.run(
        messages, Deadline.after(seconds), client_tools=client_tools, has_tools=has_tools
    )


def last_tool_texts(model: ScriptedModel) -> list[str]:
    return [
        message.text for message in model.requests[-1].messages if isinstance(message, ToolMessage)
    ]


async def test_turn_without_calls_is_one_step():
    outcome = await run(ScriptedModel([says("Hello.")]))
    assert (outcome.text, outcome.end, outcome.steps) == ("Hello.", "stop", 1)
    assert outcome.records == ()


async def test_turn_tells_the_model_what_a_call_gave():
    model = ScriptedModel([calls(("get_current_time", "{}")), says("It is 17:03.")])
    outcome = await run(model)
    assert outcome.text == "It is 17:03."
    assert last_tool_texts(model) == ["2026-11-22 17:03 UTC"]
    assert outcome.records[0].output == "2026-11-22 17:03 UTC"
    assert not outcome.records[0].is_error


async def test_turn_makes_several_calls_of_one_step_in_order():
    model = ScriptedModel(
        [calls(("execute_code", '{"code": "a"}'), ("get_current_time", "{}")), says("Done.")]
    )
    toolbox = usual_tools()
    outcome = await run(model, toolbox)
    assert [name for name, _ in toolbox.made] == ["execute_code", "get_current_time"]
    assert [record.name for record in outcome.records] == ["execute_code", "get_current_time"]
    said = model.requests[1].messages
    assert isinstance(said[2], AssistantMessage)
    assert [call.id for call in said[2].calls] == [m.call_id for m in said[3:]]


async def test_turn_goes_through_several_steps_and_sums_usage():
    model = ScriptedModel(
        [
            calls(("get_current_time", "{}")),
            calls(("execute_code", '{"code": "print(1)"}')),
            says("Both done."),
        ]
    )
    outcome = await run(model)
    assert outcome.steps == 3
    assert (outcome.usage.prompt_tokens, outcome.usage.total_tokens) == (30, 45)


async def test_turn_stops_when_steps_are_spent():
    toolbox = usual_tools()
    outcome = await run(ScriptedModel([calls(("get_current_time", "{}"))]), toolbox, max_steps=3)
    assert outcome.end == "max_steps"
    assert outcome.steps == 3
    # The calls of the last step are not made: nobody would read what they give.
    assert len(toolbox.made) == 2
    assert "3 steps" in outcome.text


async def test_call_in_the_text_is_recovered_when_it_is_the_whole_reply():
    model = ScriptedModel(
        [says('{"name": "execute_code", "parameters": {"code": "print(1)"}}'), says("1")]
    )
    toolbox = usual_tools()
    outcome = await run(model, toolbox)
    assert toolbox.made == [("execute_code", {"code": "print(1)"})]
    assert outcome.text == "1"


async def test_call_in_the_text_stays_text_when_the_name_is_not_offered():
    text = '{"name": "delete_everything", "arguments": {}}'
    outcome = await run(ScriptedModel([says(text)]))
    assert outcome.text == text
    assert outcome.records == ()


async def test_call_in_the_text_stays_text_when_no_tools_were_offered():
    text = '{"name": "execute_code", "arguments": {"code": "1"}}'
    toolbox = usual_tools()
    outcome = await run(ScriptedModel([says(text)]), toolbox, has_tools=False)
    assert outcome.text == text
    assert toolbox.made == []


async def test_malformed_arguments_go_back_to_the_model_and_nothing_is_called():
    model = ScriptedModel(
        [
            calls(("execute_code", '{"code": "print(1')),
            calls(("execute_code", '{"code": "print(1)"}')),
            says("1"),
        ]
    )
    toolbox = usual_tools()
    outcome = await run(model, toolbox)
    assert toolbox.made == [("execute_code", {"code": "print(1)"})]
    assert [record.is_error for record in outcome.records] == [True, False]
    assert outcome.records[0].arguments == '{"code": "print(1'
    assert "JSON" in last_tool_texts(model)[0]


async def test_transcript_holds_only_valid_json_arguments():
    model = ScriptedModel([calls(("execute_code", '{"code": "print(1')), says("Sorry.")])
    await run(model)
    said = model.requests[1].messages[2]
    assert isinstance(said, AssistantMessage)
    assert isinstance(json.loads(said.calls[0].arguments_text), dict)


@pytest.mark.parametrize(
    "arguments", ['{"cod": "print(1)"}', "{}", "", "[]", '"print(1)"', "42", '{"code": 7}', "null"]
)
async def test_arguments_against_the_schema_are_refused(arguments):
    model = ScriptedModel([calls(("execute_code", arguments)), says("I could not.")])
    toolbox = usual_tools()
    outcome = await run(model, toolbox)
    assert toolbox.made == []
    assert outcome.records[0].is_error
    assert outcome.text == "I could not."


async def test_invented_name_is_answered_with_the_offered_names():
    model = ScriptedModel([calls(("run_python", '{"code": "1"}')), says("Sorry.")])
    outcome = await run(model)
    text = last_tool_texts(model)[0]
    assert "execute_code" in text
    assert "get_current_time" in text
    assert outcome.records[0].name == "run_python"
    assert outcome.records[0].is_error


async def test_refusals_are_counted_over_all_names_together():
    replies = [calls((f"invented_{number}", "{}")) for number in range(20)]
    outcome = await run(ScriptedModel(replies), max_steps=20, max_refused_calls=4)
    assert outcome.end == "invalid_tool_calls"
    assert len(outcome.records) == 4


async def test_wrong_calls_of_one_answer_go_back_to_the_model():
    wrong = calls(
        ("execute_code", '{"kode": 1}'),
        ("execute_code", '{"kode": 1}'),
        ("execute_code", '{"kode": 1}'),
        ("invented", "{}"),
        ("get_current_time", '{"zone'),
    )
    right = calls(("execute_code", '{"code": "print(1)"}'))
    model = ScriptedModel([wrong, right, says("Mended.")])
    outcome = await run(model, max_refused_calls=2, max_same_failures=2)
    assert outcome.text == "Mended."
    assert [record.is_error for record in outcome.records] == [True] * 5 + [False]


async def test_tool_error_goes_back_to_the_model():
    failing = toolbox_of((PYTHON, lambda _: ToolResult("ZeroDivisionError", is_error=True)))
    model = ScriptedModel([calls(("execute_code", '{"code": "1/0"}')), says("You can't.")])
    outcome = await run(model, failing)
    assert outcome.text == "You can't."
    assert last_tool_texts(model) == ["ZeroDivisionError"]
    assert outcome.records[0].is_error


@pytest.mark.parametrize(
    "error",
    [
        ToolUnavailable("The sandbox is down."),
        ToolTimeout("Too slow."),
        GatewayUnreachable("Gone."),
    ],
)
async def test_tool_service_that_is_down_is_told_to_the_model(error):
    def fail(_: dict) -> ToolResult:
        raise error

    model = ScriptedModel([calls(("execute_code", '{"code": "1"}')), says("It is down.")])
    outcome = await run(model, toolbox_of((PYTHON, fail)))
    assert outcome.text == "It is down."
    assert error.detail in last_tool_texts(model)[0]
    assert outcome.records[0].is_error


async def test_same_failing_call_three_times_ends_the_turn():
    failing = toolbox_of((PYTHON, lambda _: ToolResult("NameError: x", is_error=True)))
    outcome = await run(
        ScriptedModel([calls(("execute_code", '{"code": "x"}'))]), failing, max_steps=20
    )
    assert outcome.end == "repeated_failure"
    assert len(failing.made) == 3
    assert "NameError: x" in outcome.text


async def test_same_call_that_works_may_be_repeated():
    toolbox = usual_tools()
    replies = [calls(("get_current_time", "{}"))] * 4 + [says("Done.")]
    outcome = await run(ScriptedModel(replies), toolbox)
    assert outcome.end == "stop"
    assert len(toolbox.made) == 4


async def test_empty_answer_is_asked_for_again():
    model = ScriptedModel([says("  "), says("Hello.")])
    outcome = await run(model)
    assert outcome.text == "Hello."
    assert outcome.usage.total_tokens == 30


async def test_empty_answer_after_thinking_is_asked_for_without_thinking():
    model = ScriptedModel([says("", has_reasoning=True), says("Hello.")])
    await run(model)
    assert [request.is_retry_without_thinking for request in model.requests] == [False, True]


async def test_empty_answer_twice_is_an_error_that_lists_the_calls_made():
    model = ScriptedModel([calls(("get_current_time", "{}")), says("")])
    with pytest.raises(LlmEmptyAnswer) as caught:
        await run(model)
    assert caught.value.extensions["tool_calls"][0]["name"] == "get_current_time"


async def test_call_cut_by_the_token_bound_is_an_error_and_is_not_made():
    toolbox = usual_tools()
    cut = calls(("execute_code", '{"code": "import shutil; shutil'), finish_reason="length")
    with pytest.raises(LlmAnswerTooLong):
        await run(ScriptedModel([cut]), toolbox)
    assert toolbox.made == []


async def test_cut_call_with_closed_strings_is_not_repaired():
    toolbox = usual_tools()
    cut = calls(("execute_code", '{"code": "print(1)"'), finish_reason="length")
    with pytest.raises(LlmAnswerTooLong):
        await run(ScriptedModel([cut]), toolbox)
    assert toolbox.made == []


async def test_text_cut_by_the_token_bound_is_returned_as_such():
    outcome = await run(ScriptedModel([says("Once upon", finish_reason="length")]))
    assert (outcome.text, outcome.end) == ("Once upon", "length")


async def test_large_tool_result_keeps_head_and_tail_for_the_model_and_all_for_the_caller():
    big = "HEAD" + "x" * 100_000 + "TAIL"
    toolbox = toolbox_of((PYTHON, lambda _: ToolResult(big)))
    model = ScriptedModel([calls(("execute_code", '{"code": "1"}')), says("Big.")])
    outcome = await run(model, toolbox, max_tool_output_characters=1000)
    seen = last_tool_texts(model)[0]
    assert seen.startswith("HEAD")
    assert seen.endswith("TAIL")
    assert len(seen) < 1100
    assert "left out" in seen
    assert outcome.records[0].output == big


async def test_pictures_go_to_the_caller_up_to_what_one_turn_may_show():
    half = Picture("image/png", "A" * (MAX_CHARACTERS // 2))
    toolbox = toolbox_of((CLOCK, lambda _: ToolResult("[image: image/png]", pictures=(half,))))
    wanted = calls(*[("get_current_time", "{}")] * 3)
    outcome = await run(ScriptedModel([wanted, says("Three.")]), toolbox)
    assert [len(record.pictures) for record in outcome.records] == [1, 1, 0]
    assert [record.output for record in outcome.records] == ["[image: image/png]"] * 3


async def test_old_results_are_trimmed_and_the_turn_says_so():
    toolbox = toolbox_of((CLOCK, lambda _: ToolResult("z" * 4000)))
    replies = [calls(("get_current_time", "{}"))] * 4 + [says("Done.")]
    model = ScriptedModel(replies, window_tokens=4096)
    outcome = await run(model, toolbox, max_answer_tokens=500, max_tool_output_characters=4000)
    assert outcome.notices
    assert "removed" in outcome.notices[0]
    final = model.requests[-1].messages
    assert final[0] == RULES
    assert final[1] == ASK[1]
    assert last_tool_texts(model)[-1] == "z" * 4000


async def test_small_window_leaves_the_answer_a_quarter_and_the_model_is_told_so():
    model = ScriptedModel([says("Done.")], window_tokens=2000)
    await run(model)
    (request,) = model.requests
    assert request.answer_tokens == 500


async def test_without_a_window_the_answer_has_its_own_bound():
    model = ScriptedModel([says("Done.")])
    await run(model, max_answer_tokens=700)
    assert model.requests[0].answer_tokens == 700


async def test_hanging_model_ends_in_a_typed_error_within_the_deadline():
    model = HangingModel()
    with pytest.raises(LlmTimeout) as caught:
        await asyncio.wait_for(run(model, seconds=0.2), 3)
    assert caught.value.extensions["hop"] == "model"
    assert model.was_cancelled.is_set()


async def test_hanging_tool_leaves_the_model_time_to_say_so():
    async def hang(_: dict) -> ToolResult:
        await asyncio.Event().wait()
        raise AssertionError

    model = ScriptedModel([calls(("execute_code", '{"code": "1"}')), says("It hangs.")])
    outcome = await asyncio.wait_for(run(model, toolbox_of((PYTHON, hang)), seconds=2.0), 8)
    assert outcome.text == "It hangs."
    assert "did not answer in time" in outcome.records[0].output


async def test_turn_whose_time_was_used_up_by_tools_says_so():
    model = ScriptedModel([says("never asked")])
    with pytest.raises(ChatTimeout) as caught:
        await run(model, seconds=0.0)
    assert caught.value.extensions["hop"] == "tools"
    assert model.requests == []


async def test_gateway_that_is_down_at_the_start_is_an_error():
    toolbox = usual_tools()
    toolbox.failure = GatewayUnreachable("The gateway is down.")
    with pytest.raises(GatewayUnreachable):
        await run(ScriptedModel([says("hi")]), toolbox)


async def test_model_that_fails_in_mid_turn_lists_the_calls_made():
    model = ScriptedModel([calls(("get_current_time", "{}")), LlmUnreachable("Gone.")])
    with pytest.raises(LlmUnreachable) as caught:
        await run(model)
    assert [made["name"] for made in caught.value.extensions["tool_calls"]] == ["get_current_time"]


async def test_cancelling_the_turn_cancels_the_model():
    model = HangingModel()
    task = asyncio.ensure_future(run(model))
    await asyncio.wait_for(model.was_asked.wait(), 3)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert model.was_cancelled.is_set()


async def test_cancelling_the_turn_cancels_the_tool():
    begun, ended = asyncio.Event(), asyncio.Event()

    async def hang(_: dict) -> ToolResult:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        raise AssertionError

    task = asyncio.ensure_future(
        run(
            ScriptedModel([calls(("execute_code", '{"code": "1"}'))]),
            toolbox_of((PYTHON, hang)),
        )
    )
    await asyncio.wait_for(begun.wait(), 3)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended.is_set()


async def test_calls_without_ids_get_ids_of_their_own():
    answer = calls(("get_current_time", "{}"), ("get_current_time", "{}"))
    blank = answer.__class__(
        "", tuple(c.__class__("", c.name, c.arguments_text) for c in answer.calls), "tool_calls"
    )
    model = ScriptedModel([blank, says("Done.")])
    await run(model)
    said = model.requests[1].messages
    assert isinstance(said[2], AssistantMessage)
    ids = [call.id for call in said[2].calls]
    assert len(set(ids)) == 2
    assert all(ids)
    assert ids == [message.call_id for message in said[3:]]


async def test_ids_that_repeat_in_each_answer_are_told_apart():
    again = calls(("get_current_time", "{}"))
    model = ScriptedModel([again, again, says("Done.")])
    await run(model)
    told = [m.call_id for m in model.requests[-1].messages if isinstance(m, ToolMessage)]
    made = [
        call.id
        for message in model.requests[-1].messages
        if isinstance(message, AssistantMessage)
        for call in message.calls
    ]
    assert told == made
    assert len(set(told)) == 2


async def test_runaway_number_of_calls_in_one_step_is_bounded():
    toolbox = usual_tools()
    wild = calls(*[("get_current_time", "{}")] * 40)
    outcome = await run(ScriptedModel([wild, says("Done.")]), toolbox, max_refused_calls=100)
    assert len(toolbox.made) == 16
    assert len(outcome.records) == 40


async def test_numbers_written_as_strings_are_converted():
    toolbox = usual_tools()
    model = ScriptedModel(
        [calls(("execute_code", '{"code": "1", "timeout_seconds": "5"}')), says("ok")]
    )
    await run(model, toolbox)
    assert toolbox.made == [("execute_code", {"code": "1", "timeout_seconds": 5})]


async def test_client_tool_is_handed_back_and_not_called():
    theirs = tool("ask_user", {"question": {"type": "string"}})
    toolbox = usual_tools()
    model = ScriptedModel([calls(("ask_user", '{"question": "Which?"}'))])
    outcome = await run(model, toolbox, client_tools=(theirs,))
    assert outcome.end == "tool_calls"
    assert [(call.name, call.arguments_text) for call in outcome.client_calls] == [
        ("ask_user", '{"question": "Which?"}')
    ]
    assert toolbox.made == []


async def test_client_tool_with_our_name_is_offered_under_another_and_handed_back_under_its_own():
    toolbox = usual_tools()
    model = ScriptedModel([calls(("client_execute_code", '{"code": "1"}'))])
    outcome = await run(model, toolbox, client_tools=(PYTHON,))
    assert {offered.name for offered in model.requests[0].tools} == {
        "get_current_time",
        "execute_code",
        "client_execute_code",
    }
    assert outcome.client_calls[0].name == "execute_code"
    assert toolbox.made == []


async def test_our_calls_beside_a_client_call_are_made_and_told():
    theirs = tool("ask_user")
    model = ScriptedModel([calls(("get_current_time", "{}"), ("ask_user", "{}"))])
    outcome = await run(model, client_tools=(theirs,))
    assert [call.name for call in outcome.client_calls] == ["ask_user"]
    assert "2026-11-22 17:03 UTC" in outcome.text
