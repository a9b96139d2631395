"""What is heard of an answer while it is made, and what never is."""

import asyncio

import pytest
from middleware.budget import TurnLimits
from middleware.conversation import CallBegun, CallRecord, ToolResult, UserMessage
from middleware.speech import HELD_BACK_CHARACTERS, Heard, Piece, Speech
from middleware.testing import ScriptedModel, calls, says, tool, toolbox_of
from middleware.turn import Turn
from servicekit.deadline import Deadline

CLOCK = tool("clock", {"zone": {"type": "string"}})
LONG = " ".join(f"word{number}" for number in range(100))


class Ear:
    """Keeps what was passed on."""

    def __init__(self) -> None:
        self.heard: list[Heard] = []
        self.speech = Speech(self.heard.append)

    @property
    def text(self) -> str:
        return "".join(each.text for each in self.heard if isinstance(each, Piece))

    def hear(self, text: str, *, may_call: bool, size: int = 3) -> str:
        self.speech.begin(may_call=may_call)
        for start in range(0, len(text), size):
            self.speech.add(text[start : start + size])
        return self.text


def test_answer_that_can_t_be_a_call_is_heard_at_once():
    ear = Ear()
    assert ear.hear("Hello there", may_call=False) == "Hello there"
    assert len(ear.heard) > 1


def test_beginning_is_held_back_where_a_call_may_follow():
    ear = Ear()
    assert ear.hear("Let me look at the clock.", may_call=True) == ""
    ear.speech.finish("Let me look at the clock.")
    assert ear.text == "Let me look at the clock."


def test_long_answer_is_heard_before_its_end():
    ear = Ear()
    ear.speech.begin(may_call=True)
    ear.speech.add(LONG[:HELD_BACK_CHARACTERS])
    assert ear.text == LONG[:HELD_BACK_CHARACTERS]
    ear.speech.add(LONG[HELD_BACK_CHARACTERS:])
    assert ear.text == LONG
    ear.speech.finish(LONG)
    assert ear.text == LONG


@pytest.mark.parametrize("beginning", ["{", " [", "<tool_call>", "```json\n"])
def test_text_that_could_be_a_call_is_held_back_to_its_end(beginning):
    ear = Ear()
    assert ear.hear(beginning + LONG, may_call=True) == ""
    ear.speech.finish(beginning + LONG)
    assert ear.text == beginning + LONG


@pytest.mark.parametrize("may_call", [True, False])
@pytest.mark.parametrize("size", [1, 3, 7, 1000])
@pytest.mark.parametrize("tag", ["think", "thinking"])
def test_thinking_is_never_heard(tag, size, may_call):
    ear = Ear()
    ear.hear(f"\n<{tag}>hm, {LONG}</{tag}>\n\n{LONG}", may_call=may_call, size=size)
    ear.speech.finish(LONG)
    assert ear.text == LONG


def test_thinking_that_never_ends_is_no_answer():
    ear = Ear()
    assert ear.hear(f"<think>{LONG}", may_call=False) == ""


def test_word_that_begins_like_a_tag_is_heard():
    ear = Ear()
    assert ear.hear("<thin ice>", may_call=False) == "<thin ice>"


@pytest.mark.parametrize("may_call", [True, False])
def test_halves_of_a_character_are_heard_as_one(may_call):
    ear = Ear()
    ear.speech.begin(may_call=may_call)
    for piece in ("smile ", "\ud83d", "\ude00", LONG):
        ear.speech.add(piece)
    ear.speech.finish(f"smile 😀{LONG}")
    assert ear.text == f"smile 😀{LONG}"


def test_answer_that_begins_anew_before_it_was_heard_leaves_no_trace():
    ear = Ear()
    ear.hear("Half an ans", may_call=True)
    assert not ear.speech.has_heard
    ear.hear("Whole answer", may_call=True)
    ear.speech.finish("Whole answer")
    assert ear.text == "Whole answer"


def test_text_that_was_heard_before_a_call_is_parted_from_the_answer():
    ear = Ear()
    ear.hear(LONG, may_call=True)
    ear.hear("It is noon.", may_call=True)
    ear.speech.finish("It is noon.")
    assert ear.text == f"{LONG}\n\nIt is noon."


def test_turn_that_ends_in_other_words_adds_them():
    ear = Ear()
    ear.hear(LONG, may_call=True)
    ear.speech.finish("I stopped after 8 steps.")
    assert ear.text == f"{LONG}\n\nI stopped after 8 steps."


@pytest.mark.parametrize("length", [10_000, 100_000])
def test_long_answers_and_thoughts_cost_no_more_than_their_length(length):
    thought = "x" * length
    ear = Ear()
    ear.hear(f"<think>{thought}</think>{thought}", may_call=True, size=40)
    assert ear.text == thought


async def test_turn_lets_calls_and_the_answer_be_heard_in_order():
    model = ScriptedModel([calls(("clock", "{}"), text="I look."), says("It is noon.")])
    ear = Ear()
    turn = Turn(model, toolbox_of((CLOCK, lambda _: ToolResult("12:00"))), TurnLimits())
    outcome = await turn.run((UserMessage("?"),), Deadline.after(5), listener=ear.speech)
    ear.speech.finish(outcome.text)
    (begun, call, piece) = ear.heard
    assert begun == CallBegun("clock", {})
    assert isinstance(call, CallRecord)
    assert (call.name, call.output) == ("clock", "12:00")
    assert piece == Piece("It is noon.")


async def test_call_is_heard_before_it_is_over():
    may_end = asyncio.Event()

    async def slow(_: dict[str, object]) -> ToolResult:
        await may_end.wait()
        return ToolResult("12:00")

    model = ScriptedModel([calls(("clock", '{"zone": "UTC"}')), says("It is noon.")])
    heard: asyncio.Queue[Heard] = asyncio.Queue()
    turn = Turn(model, toolbox_of((CLOCK, slow)), TurnLimits())
    listener = Speech(heard.put_nowait)
    running = asyncio.create_task(
        turn.run((UserMessage("?"),), Deadline.after(5), listener=listener)
    )
    assert await heard.get() == CallBegun("clock", {"zone": "UTC"})
    assert heard.empty()
    may_end.set()
    assert isinstance(await heard.get(), CallRecord)
    await running


async def test_call_that_is_not_made_does_not_begin():
    model = ScriptedModel([calls(("no_such_tool", "{}")), says("Sorry.")])
    ear = Ear()
    turn = Turn(model, toolbox_of((CLOCK, lambda _: ToolResult("12:00"))), TurnLimits())
    await turn.run((UserMessage("?"),), Deadline.after(5), listener=ear.speech)
    assert [type(each) for each in ear.heard] == [CallRecord]
