"""What the routes find in `request.state.wiring`."""

from dataclasses import dataclass

from middleware.chat import Chat
from middleware.execution import Execution


@dataclass(frozen=True, slots=True)
class Wiring:
    """The decisions of this service, composed."""

    chat: Chat
    execution: Execution
