"""The line of installs: one goes on at a time, in the order in which they came."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from servicekit.deadline import Deadline
from servicekit.errors import DeadlineExceeded, TooBusy

from sandbox.errors import InstallFailed
from sandbox.sessions import LiveSession, Sessions

# Who would be later than this in the line is sent away.
_WAITING_INSTALLS: Final = 32


class InstallLine:
    """Gives installs their turns.

    Parameters
    ----------
    sessions
        The live sessions, each of which has a line of its own for what concerns it.
    """

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions
        self._turn = asyncio.Lock()
        self._waiting = 0

    @asynccontextmanager
    async def turn(
        self, session_id: str | None, deadline: Deadline
    ) -> AsyncIterator[LiveSession | None]:
        """Hold what an install changes: its session, if it is for one, and then the turn.

        In this order, for a session may run a cell for minutes, which is no business of others.

        Raises
        ------
        SessionUnknown, SessionEnded
            There is no such session.
        TooBusy, DeadlineExceeded
            Too many wait, or the request's time ended.
        """
        if session_id is None:
            async with self._next(deadline):
                yield None
            return
        async with self._sessions.use(session_id, deadline) as session, self._next(deadline):
            yield session

    @asynccontextmanager
    async def _next(self, deadline: Deadline) -> AsyncIterator[None]:
        if self._waiting >= _WAITING_INSTALLS:
            raise TooBusy(
                f"{self._waiting} installs wait already. Try again later.", retry_after_seconds=5.0
            )
        self._waiting += 1
        try:
            async with until(deadline, deadline):
                await self._turn.acquire()
        finally:
            self._waiting -= 1
        try:
            yield
        finally:
            self._turn.release()


@asynccontextmanager
async def until(limit: Deadline, deadline: Deadline) -> AsyncIterator[None]:
    """End the block at the limit, and blame it: the request's deadline, or our own limit."""
    try:
        async with asyncio.timeout(limit.remaining()):
            yield
    except TimeoutError:
        if not deadline.is_expired:
            raise InstallFailed(
                "The installation took too long and was stopped; nothing was installed. Try "
                "again, or name a smaller package. An operator can raise "
                "SANDBOX_PACKAGES_TIMEOUT_SECONDS."
            ) from None
        raise DeadlineExceeded(
            "The time for this request ended before the package was installed; nothing was "
            "changed. Try again with more time."
        ) from None
