"""A chat: a turn with a deadline and a reserve, counted and logged."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass

from servicekit.deadline import Deadline
from servicekit.errors import StackError
from servicekit.logs import get_logger

from middleware.conversation import Message, Tool
from middleware.errors import ChatTimeout
from middleware.speech import Speech
from middleware.telemetry import CHAT_STEPS, CHAT_TOOL_CALLS, CHAT_TURN_SECONDS, CHAT_TURNS
from middleware.turn import Turn
from middleware.turn_progress import TurnOutcome

log = get_logger()

# Kept back to write the answer: a caller that waits exactly so long must still get it.
_RESERVE_SHARE = 0.05
_MAX_RESERVE_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Chat:
    """Answers conversations within their deadlines.

    Attributes
    ----------
    timeout_seconds
        The bound on every chat; a caller may want less.
    """

    turn: Turn
    system_prompt: str
    timeout_seconds: float

    @property
    def model(self) -> str:
        """The name of the model that answers."""
        return self.turn.model.name

    async def answer(
        self,
        messages: Sequence[Message],
        deadline: Deadline,
        *,
        has_tools: bool = True,
        client_tools: Sequence[Tool] = (),
        speech: Speech | None = None,
    ) -> TurnOutcome:
        """Run one turn; `speech` passes the answer on while it is made.

        Raises
        ------
        StackError
            As `Turn.run`; within the deadline in every case.
        """
        begun = time.monotonic()
        outcome = "internal-error"
        try:
            result = await self.turn.run(
                messages,
                self._inner(deadline),
                has_tools=has_tools,
                client_tools=client_tools,
                listener=speech,
            )
            outcome = result.end
            if speech is not None:
                speech.finish(result.text)
        except StackError as error:
            outcome = error.type
            raise
        except asyncio.CancelledError:
            outcome = "cancelled"
            raise
        else:
            _count(result)
            return result
        finally:
            seconds = time.monotonic() - begun
            CHAT_TURNS.labels(outcome).inc()
            CHAT_TURN_SECONDS.labels(outcome).observe(seconds)
            log.info("chat.finished", outcome=outcome, duration_ms=round(seconds * 1000, 1))

    def _inner(self, deadline: Deadline) -> Deadline:
        bounded = deadline.within(self.timeout_seconds)
        left = bounded.remaining()
        if left <= 0:
            raise ChatTimeout(
                "There was no time left for this chat when it arrived; allow it more.", hop="client"
            )
        return bounded.earlier(min(_MAX_RESERVE_SECONDS, left * _RESERVE_SHARE))


def _count(result: TurnOutcome) -> None:
    CHAT_STEPS.observe(result.steps)
    for record in result.records:
        # Invented names would make a metric without end.
        known = "invented" if record.is_invented else record.name
        status = "error" if record.is_error else "ok"
        CHAT_TOOL_CALLS.labels(known, status).inc()
        log.info(
            "tool.finished", tool=known, status=status, duration_ms=round(record.duration_ms, 1)
        )
