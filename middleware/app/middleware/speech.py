"""The answer as it is heard while the model still makes it.

What is heard can't be taken back, and only the end of an answer shows whether it was one
or led to tool calls. So its beginning is held back: what models say before a call is a
sentence or two, and what goes on for longer is taken for the answer. Text that could be a
call in words is held back to its end, and thinking is never heard.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal, assert_never

from middleware.conversation import CallBegun, CallRecord
from middleware.sound_text import sound

# More than models say before they call a tool, and a second or two of most models' time.
HELD_BACK_CHARACTERS: Final = 240
_THINKING: Final = ("<think>", "<thinking>")
# How a call that is written as text may begin; see `spoken_calls`.
_CALL_BEGINNINGS: Final = ("{", "[", "<", "```")
_HIGH_SURROGATES: Final = range(0xD800, 0xDC00)


@dataclass(frozen=True, slots=True)
class Piece:
    """More text of the answer."""

    text: str


Heard = Piece | CallBegun | CallRecord


class Speech:
    """A `Listener` that passes on what is certain enough; all pieces together are the answer.

    Parameters
    ----------
    pass_on
        Gets each piece of text and each call; it may not wait.
    """

    def __init__(self, pass_on: Callable[[Heard], None]) -> None:
        self._pass_on = pass_on
        self._owes_break = False
        # What this answer let be heard, in pieces.
        self._heard: list[str] = []
        self.begin(may_call=False)

    @property
    def has_heard(self) -> bool:
        """Whether text of the present answer went on already."""
        return bool(self._heard)

    def begin(self, *, may_call: bool) -> None:
        """Begin an answer; see the port."""
        self._owes_break = self._owes_break or self.has_heard
        self._heard = []
        self._may_call = may_call
        self._state: Literal["held", "thinking", "speaking", "mute"] = "held"
        self._has_thought = False
        self._held = ""
        self._closing = ""
        self._half = ""

    def add(self, piece: str) -> None:
        """Take more text of the present answer."""
        match self._state:
            case "held":
                self._hold(piece)
            case "thinking":
                self._think(piece)
            case "speaking":
                self._say(piece)
            case "mute":
                pass
            case never:
                assert_never(never)

    def calling(self, call: CallBegun) -> None:
        """Take a tool call that begins."""
        self._pass_on(call)

    def called(self, record: CallRecord) -> None:
        """Take a tool call that is over."""
        self._pass_on(record)

    def finish(self, text: str) -> None:
        """Pass on what is missing of the turn's whole text."""
        heard = "".join(self._heard)
        self._half = ""
        if text.startswith(heard):
            self._say(text[len(heard) :])
        else:
            self._owes_break = True
            self._say(text)

    def _hold(self, piece: str) -> None:
        """Keep the beginning until it is known what it is."""
        self._held += piece
        start = self._held.lstrip()
        if not self._has_thought and any(tag.startswith(start) for tag in _THINKING):
            return
        tag = next((tag for tag in _THINKING if start.startswith(tag)), None)
        if tag is not None and not self._has_thought:
            self._state, self._held, self._closing = "thinking", "", f"</{tag[1:]}"
            self._think(start.removeprefix(tag))
        elif self._may_call and start.startswith(_CALL_BEGINNINGS):
            self._state, self._held = "mute", ""
        elif start and (not self._may_call or len(start) >= HELD_BACK_CHARACTERS):
            text = start if self._has_thought else self._held
            self._state, self._held = "speaking", ""
            self._say(text)

    def _think(self, piece: str) -> None:
        """Skip to the end of the thinking, and hold what follows."""
        _, closing, rest = (self._held + piece).partition(self._closing)
        if closing:
            self._state, self._held, self._has_thought = "held", "", True
            self._hold(rest)
        else:
            self._held = (self._held + piece)[-len(self._closing) :]

    def _say(self, text: str) -> None:
        """Pass text on, but for half of a character at its end."""
        whole = self._half + text
        self._half = whole[-1:] if whole and ord(whole[-1]) in _HIGH_SURROGATES else ""
        whole = sound(whole.removesuffix(self._half) if self._half else whole)
        if not whole:
            return
        if self._owes_break:
            self._owes_break = False
            self._pass_on(Piece("\n\n"))
        self._heard.append(whole)
        self._pass_on(Piece(whole))
