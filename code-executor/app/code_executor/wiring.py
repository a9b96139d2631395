"""What the routes work with."""

from dataclasses import dataclass

from code_executor.sandbox import Sandbox
from code_executor.shaping import Caps


@dataclass(frozen=True)
class Wiring:
    """The opened adapters and the values from the settings."""

    sandbox: Sandbox
    caps: Caps
