"""One turn: ask the model, make the calls that it wants, tell it what they gave, again.

Knows a model and a toolbox by their ports alone. Whatever the model does wrong is
told to it, within a budget; whatever it can't mend ends the turn with an error that
says whose fault it was, or with a plain sentence.
"""

import asyncio
import json
import time
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar, assert_never

from servicekit.deadline import Deadline
from servicekit.errors import ArgumentsInvalid, DeadlineExceeded, StackError

from middleware.arguments import Refused, Valid, parse, read_arguments, sound_arguments
from middleware.budget import Budget, TurnLimits
from middleware.context_window import fit
from middleware.conversation import (
    AssistantMessage,
    CallBegun,
    CallRecord,
    Message,
    ModelAnswer,
    ModelRequest,
    Tool,
    ToolCall,
)
from middleware.endings import (
    after_refusals,
    after_same_failures,
    after_steps,
    cut_call,
    empty_answer,
    shown,
    with_results,
)
from middleware.errors import (
    ChatTimeout,
    GatewayTimeout,
    LlmTimeout,
    ToolTimeout,
    ToolUnknown,
)
from middleware.offer import Offer
from middleware.pictures import Picture
from middleware.ports import ChatModel, Listener, Toolbox
from middleware.spoken_calls import spoken_calls
from middleware.turn_progress import CallFate, Made, Progress, TurnEnd, TurnOutcome

# One answer that asks for more is a model running wild, not a plan.
_MAX_CALLS_A_STEP = 16
# Ports keep the deadline themselves; this backs them up and must not beat them to it.
_GRACE_SECONDS = 0.1
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Turn:
    """Runs turns with one model and one toolbox."""

    model: ChatModel
    toolbox: Toolbox
    limits: TurnLimits

    async def run(
        self,
        messages: Sequence[Message],
        deadline: Deadline,
        *,
        has_tools: bool = True,
        client_tools: Sequence[Tool] = (),
        listener: Listener | None = None,
    ) -> TurnOutcome:
        """Answer a conversation.

        Parameters
        ----------
        messages
            System prompt first, the user's or a tool's last.
        deadline
            By when the turn must be over; the caller keeps its own reserve.
        has_tools
            Whether our tools are offered.
        client_tools
            Tools that the client makes calls of itself.
        listener
            Hears the answer and the calls while they are made.

        Raises
        ------
        StackError
            Of the model, the gateway or the clock; what was already called stands
            in its `tool_calls` extension.
        """
        own = await self._tools(deadline) if has_tools else ()
        offer = Offer.of(own, client_tools)
        progress = Progress(
            offer.renamed_for_model(messages),
            Budget.of(self.limits, deadline),
            window=await self.model.window(deadline),
        )
        while True:
            try:
                answer, progress = await self._ask(progress, offer, listener)
                outcome, progress = await self._act(answer, progress, offer, listener)
            except StackError as error:
                # Calls have effects: whoever gets the error must learn what was done.
                error.extensions.setdefault("tool_calls", shown(progress.records))
                raise
            if outcome is not None:
                return outcome

    async def _tools(self, deadline: Deadline) -> tuple[Tool, ...]:
        slow = GatewayTimeout(
            "The MCP gateway did not list its tools in time; see its /health, then ask again.",
            hop="gateway",
        )
        return await _bounded(self.toolbox.tools(deadline), deadline, slow)

    async def _ask(
        self, progress: Progress, offer: Offer, listener: Listener | None
    ) -> tuple[ModelAnswer, Progress]:
        """Return an answer that says or calls something; an empty one is asked for again."""
        answer_tokens = self.limits.answer_tokens(progress.window)
        fitted = fit(
            progress.messages,
            offer.tools,
            window=progress.window,
            answer_tokens=answer_tokens,
        )
        request = ModelRequest(
            fitted.messages,
            offer.tools,
            answer_tokens=answer_tokens,
        )
        answer = await self._answer(request, progress.budget.deadline, listener)
        if answer.is_empty:
            first = answer
            request = replace(request, is_retry_without_thinking=first.has_reasoning)
            answer = await self._answer(request, progress.budget.deadline, listener)
            answer = replace(answer, usage=answer.usage.plus(first.usage))
        if answer.is_empty:
            raise empty_answer(answer, answer_tokens)
        answer = _with_usable_ids(_recovered(answer, offer), progress)
        _refuse_half_calls(answer, answer_tokens)
        return answer, progress.after_answer(answer, fitted.notice)

    async def _answer(
        self, request: ModelRequest, deadline: Deadline, listener: Listener | None
    ) -> ModelAnswer:
        if deadline.is_expired:
            raise ChatTimeout(
                "The time for this chat was used up by its tools before the model could answer. "
                "Ask for less, or raise MIDDLEWARE_CHAT_TIMEOUT_SECONDS.",
                hop="tools",
            )
        slow = LlmTimeout(
            f"The model {self.model.name} did not answer in time. Ask again, use a smaller "
            f"model, or raise MIDDLEWARE_CHAT_TIMEOUT_SECONDS.",
            hop="model",
        )
        return await _bounded(self.model.answer(request, deadline, listener), deadline, slow)

    async def _act(
        self, answer: ModelAnswer, progress: Progress, offer: Offer, listener: Listener | None
    ) -> tuple[TurnOutcome | None, Progress]:
        """Make the answer's calls; an outcome when the turn is over."""
        if not answer.calls:
            end: TurnEnd = "stop" if answer.finish_reason == "tool_calls" else answer.finish_reason
            return progress.ended(end, answer.text), progress
        ours = tuple(call for call in answer.calls if call.name not in offer.client)
        theirs = tuple(
            offer.renamed_for_client(call) for call in answer.calls if call.name in offer.client
        )
        if ours and progress.budget.steps_left <= 0:
            text = after_steps(answer.text, progress.steps, len(progress.records))
            return progress.ended("max_steps", text), progress
        # The transcript must hold valid JSON: Ollama answers 400 to a history without.
        said = AssistantMessage(answer.text, tuple(_with_sound_arguments(call) for call in ours))
        progress = replace(progress, messages=(*progress.messages, said))
        all_made: list[Made] = []
        for place, call in enumerate(ours):
            made = progress.with_room_for(
                await self._make(call, place, offer, progress.budget, listener)
            )
            all_made.append(made)
            if listener is not None:
                listener.called(made.record)
            progress = progress.after_call(made, self.limits.max_tool_output_characters)
        progress = progress.after_calls(all_made)
        if theirs:
            text = with_results(answer.text, progress.records)
            return progress.ended("tool_calls", text, theirs), progress
        return self._stopped(progress), progress

    def _stopped(self, progress: Progress) -> TurnOutcome | None:
        """Return the outcome of a turn that goes in circles; None when it may go on."""
        worst = max(progress.failures.items(), key=lambda item: item[1], default=None)
        if worst is not None and worst[1] >= self.limits.max_same_failures:
            (name, _), times = worst
            last = next(record for record in reversed(progress.records) if record.is_error)
            return progress.ended(
                "repeated_failure",
                after_same_failures(name, times, last.output),
            )
        if progress.budget.refusals_left <= 0:
            return progress.ended(
                "invalid_tool_calls",
                after_refusals(progress.records[-1].output),
            )
        return None

    async def _make(
        self, call: ToolCall, place: int, offer: Offer, budget: Budget, listener: Listener | None
    ) -> Made:
        """Make one call; every way in which it can go wrong becomes text for the model."""
        tool = offer.own.get(call.name)
        if place >= _MAX_CALLS_A_STEP:
            return _refused(call, f"too many calls at once; make at most {_MAX_CALLS_A_STEP}", {})
        if tool is None:
            names = ", ".join(sorted(offer.own)) or "none"
            made = _refused(call, f"there is no tool {call.name!r}. The tools are: {names}")
            return replace(made, record=replace(made.record, is_invented=True))
        match read_arguments(call.arguments_text, tool.input_schema):
            case Refused(reason, arguments):
                return _refused(call, f"{call.name} was not called: {reason}", arguments)
            case Valid(arguments):
                if listener is not None:
                    listener.calling(CallBegun(tool.name, arguments))
                return await self._call(call, tool, arguments, budget.tool_deadline())
            case never:
                assert_never(never)

    async def _call(
        self, call: ToolCall, tool: Tool, arguments: dict[str, Any], deadline: Deadline
    ) -> Made:
        begun = time.monotonic()
        slow = ToolTimeout(f"{tool.name} did not answer in time.", hop=f"tool:{tool.name}")
        fate: CallFate = "failed"
        pictures: tuple[Picture, ...] = ()
        try:
            result = await _bounded(
                self.toolbox.call(tool.name, arguments, deadline), deadline, slow
            )
            output, fate = result.text, "failed" if result.is_error else "done"
            pictures = result.pictures
        except (ToolUnknown, ArgumentsInvalid) as error:
            output, fate = f"Error: {error.detail}", "refused"
        except DeadlineExceeded as error:
            output = f"Error: {error.detail} It took longer than the chat can wait for."
        except StackError as error:
            output = f"Error: {error.detail}"
        duration_ms = (time.monotonic() - begun) * 1000
        is_error = fate != "done"
        record = CallRecord(tool.name, arguments, output, is_error, duration_ms, pictures=pictures)
        return Made(call, record, fate)


async def _bounded(work: Awaitable[T], deadline: Deadline, slow: StackError) -> T:
    """Await a port; `slow` when it overstays the deadline that it was given."""
    try:
        async with asyncio.timeout(deadline.remaining() + _GRACE_SECONDS):
            return await work
    except TimeoutError:
        raise slow from None


def _recovered(answer: ModelAnswer, offer: Offer) -> ModelAnswer:
    """Return the answer with calls that it wrote as text made real."""
    if answer.calls or answer.finish_reason == "length":
        return answer
    calls = spoken_calls(answer.text, offer.names)
    return replace(answer, text="", calls=calls) if calls else answer


def _with_usable_ids(answer: ModelAnswer, progress: Progress) -> ModelAnswer:
    """Give each call an id of its own; some servers send none, or the same in each answer."""
    said = (message for message in progress.messages if isinstance(message, AssistantMessage))
    seen = {call.id for message in said for call in message.calls} | {""}
    calls: list[ToolCall] = []
    for place, call in enumerate(answer.calls):
        usable = call.id if call.id not in seen else f"call_{len(seen)}_{place}"
        seen.add(usable)
        calls.append(replace(call, id=usable))
    return replace(answer, calls=tuple(calls))


def _refuse_half_calls(answer: ModelAnswer, answer_tokens: int) -> None:
    """Raise when the bound on one answer cut a call: half a program must not run."""
    if answer.finish_reason != "length":
        return
    for call in answer.calls:
        try:
            json.loads(call.arguments_text)
        except ValueError:
            raise cut_call(answer_tokens) from None


def _refused(call: ToolCall, reason: str, arguments: dict[str, Any] | str | None = None) -> Made:
    known: dict[str, Any] | str = call.arguments_text if arguments is None else arguments
    if isinstance(known, str):
        try:
            value = parse(known)
        except ValueError:
            value = known
        known = value if isinstance(value, dict) else known
    return Made(call, CallRecord(call.name, known, f"Error: {reason}.", True, 0.0), "refused")


def _with_sound_arguments(call: ToolCall) -> ToolCall:
    return replace(call, arguments_text=sound_arguments(call.arguments_text))
