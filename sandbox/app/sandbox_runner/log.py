"""One JSON line on stderr for each event. Never code, output or file names of a cell."""

import json
import os
import time
from typing import Any, Final

_STDERR: Final = 2


def event(name: str, *, level: str = "info", **details: Any) -> None:
    """Write one event; a line this short reaches a pipe in one piece."""
    moment = time.time()
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(moment))
    line = {
        "timestamp": f"{stamp}.{int(moment % 1 * 1000):03d}Z",
        "level": level,
        "event": name,
        "service": "sandbox-runner",
        **details,
    }
    try:
        os.write(_STDERR, json.dumps(line, default=str).encode() + b"\n")
    except OSError:
        return  # nobody reads the log; the runner goes on
