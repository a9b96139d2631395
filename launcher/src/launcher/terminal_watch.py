"""Notices that the terminal was closed when nobody passes the signal on.

The kernel sends SIGHUP to the terminal's first process alone. Is that `make` (as in
`tmux new 'make local'`), it waits for its child, and the child never hears of it.
"""

import contextlib
import os
import select
import threading
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def on_terminal_closed(fd: int, act: Callable[[], None]) -> Iterator[None]:
    """Call `act` once, from a thread, when the terminal at `fd` is hung up, if it is one."""
    if not os.isatty(fd):
        yield
        return
    ended_read, ended_write = os.pipe()

    def wait() -> None:
        poller = select.poll()
        poller.register(fd, 0)  # no event but the hang-up: what is typed is not ours
        poller.register(ended_read, select.POLLIN)
        if any(ready == fd for ready, _ in poller.poll()):
            act()

    watch = threading.Thread(target=wait, name="terminal-watch", daemon=True)
    watch.start()
    try:
        yield
    finally:
        os.close(ended_write)  # the other end reads as hung up, and the thread ends
        watch.join()
        os.close(ended_read)
