"""The one readable stream of events on the terminal."""

import io
import re
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, TextIO

Tone = Literal["plain", "good", "warning", "error", "quiet"]

_TONES: Mapping[Tone, str] = {
    "plain": "",
    "good": "\x1b[32m",
    "warning": "\x1b[33m",
    "error": "\x1b[31m",
    "quiet": "\x1b[2m",
}
_BOLD, _RESET = "\x1b[1m", "\x1b[0m"
_NAME_WIDTH = 14
# A child's line must not move the cursor or retitle the terminal.
_CONTROL = re.compile(
    r"\x1b\[[0-9;?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?|[\x00-\x08\x0b-\x1f\x7f]"
)


def wants_colour(stream: TextIO, environ: Mapping[str, str]) -> bool:
    """Tell whether to colour: on a terminal, unless NO_COLOR or TERM=dumb say no."""
    return stream.isatty() and not environ.get("NO_COLOR") and environ.get("TERM") != "dumb"


@dataclass
class Console:
    """Prints events with time and service; a quiet one prints errors only."""

    stream: TextIO
    is_coloured: bool = False
    is_quiet: bool = False
    clock: Callable[[], str] = lambda: time.strftime("%H:%M:%S")

    def event(self, service: str, text: str, tone: Tone = "plain") -> None:
        """Print one event, each of its lines under the same time and name."""
        if self.is_quiet and tone != "error":
            return
        stamp = self._paint(self.clock(), "quiet")
        name = self._bold(service.ljust(_NAME_WIDTH))
        for line in _CONTROL.sub("", text).splitlines() or [""]:
            self._write(f"{stamp}  {name}  {self._paint(line, tone)}")

    def block(self, text: str) -> None:
        """Print a block of text as it is."""
        if not self.is_quiet:
            self._write(text)

    def _paint(self, text: str, tone: Tone) -> str:
        colour = _TONES[tone]
        return f"{colour}{text}{_RESET}" if self.is_coloured and colour else text

    def _bold(self, text: str) -> str:
        return f"{_BOLD}{text}{_RESET}" if self.is_coloured else text

    def _write(self, text: str) -> None:
        try:
            self.stream.write(text + "\n")
            self.stream.flush()
        except UnicodeEncodeError:
            encoding = self.stream.encoding or "ascii"
            self._write(text.encode(encoding, "replace").decode(encoding))
        except (OSError, ValueError):
            # The reader went away (`make local | head`, a closed terminal): go on without a voice.
            self.stream = io.StringIO()


def stdout_console(environ: Mapping[str, str]) -> Console:
    """Give the console on standard output."""
    return Console(sys.stdout, is_coloured=wants_colour(sys.stdout, environ))
