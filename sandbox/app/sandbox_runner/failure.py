"""What ends the whole runner."""

from typing import Final

EXIT_CONFIGURATION: Final = 78
"""As in sysexits.h: starting it again as it is will not help."""


class RunnerFailed(Exception):
    """The runner cannot go on; the text says why, `exit_code` how to end."""

    def __init__(self, text: str, exit_code: int = 1) -> None:
        super().__init__(text)
        self.exit_code = exit_code
