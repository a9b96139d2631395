"""Tells a session of the ends of its processes: who has lost its parent is the warden's to reap.

Until it is reaped, a process that has ended counts against the session's limits.
"""

import select
import signal
import socket
from typing import Final

_PLENTY: Final = 4096


class Endings:
    """Has a poll return when a child ends; there may be one in a process."""

    def __init__(self, poll: select.poll) -> None:
        self._waking, self._woken = socket.socketpair()
        self._waking.setblocking(False)
        self._woken.setblocking(False)
        signal.set_wakeup_fd(self._woken.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        poll.register(self._waking, select.POLLIN)

    def have_come(self, ready: dict[int, int]) -> bool:
        """Say, after a poll, whether a child has ended, or has been stopped or continued."""
        if self._waking.fileno() not in ready:
            return False
        self._waking.recv(_PLENTY)
        return True
