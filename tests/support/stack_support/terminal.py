"""Commands of Compose as somebody types them: in a terminal."""

import os
import pty
import select
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from stack_support.containers import COMPOSE_COMMANDS, Containers, uses_compose_v2


@contextmanager
def typed(stack: Containers, *arguments: str) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """Type a command of Compose in a terminal; give its process and the terminal's descriptor."""
    compose = COMPOSE_COMMANDS[uses_compose_v2()]
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        (*stack.person.prefix, *compose, *arguments),
        cwd=stack.folder,
        env=dict(stack.env),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    try:
        yield process, ours
    finally:
        os.close(ours)
        # To the group, as a terminal does: `docker` waits for its plugin, which hears no other.
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        process.wait(timeout=30)


def read_until(terminal: int, wanted: bytes, *, seconds: float) -> bytes:
    """Give what was written up to `wanted`, or within `seconds`."""
    ends, said = time.monotonic() + seconds, b""
    while wanted not in said and (left := ends - time.monotonic()) > 0:
        if select.select([terminal], [], [], left)[0]:
            try:
                said += os.read(terminal, 65536)
            except OSError:  # the other end is closed
                break
    return said


def assert_shell_opens(stack: Containers, service: str) -> None:
    """`exec SERVICE sh` gives a shell that does as it is told, and ends as it is told."""
    with typed(stack, "exec", service, "sh") as (shell, terminal):
        os.write(terminal, b"echo it is $((6*7)) && exit 3\n")

        assert b"it is 42" in read_until(terminal, b"it is 42", seconds=30)
        assert shell.wait(timeout=30) == 3
