"""What the routes work with."""

import time
from dataclasses import dataclass, field

from mcp_server.gateway import Gateway


@dataclass(frozen=True)
class Wiring:
    """The gateway, and when it began."""

    gateway: Gateway
    started_at: float = field(default_factory=time.monotonic)
