"""A session's files: listed, read, written and deleted between its runs.

A call waits for the session's turn as a cell does: while a cell runs, the files are its own. The
request's deadline bounds everything, the transfer included.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager

from servicekit.deadline import Deadline
from servicekit.errors import DeadlineExceeded
from servicekit.wire.files import FileListing, SessionFile

from sandbox.artifacts import describe
from sandbox.end_reason import EndReason
from sandbox.errors import RunnerDown
from sandbox.sessions import Sessions
from sandbox.stored_files import CellFiles, OpenFile, StoredFiles


class SessionFiles:
    """Leads to the files of each live session."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    async def list(self, session_id: str, deadline: Deadline, client: str) -> FileListing:
        """List everything in a session's folder.

        Raises
        ------
        SessionUnknown, SessionEnded, TooBusy, DeadlineExceeded, RunnerDown
            The session is not there, or not in time.
        """
        async with self._of(session_id, deadline, client) as files:
            found = await files.list()
        # Off the loop: it may be thousands of files, and everybody waits for the loop.
        return await asyncio.to_thread(_listing, found, session_id)

    def read(
        self, session_id: str, path: str, deadline: Deadline, client: str
    ) -> AbstractAsyncContextManager[OpenFile]:
        """Open a plain file; its pieces can be read inside of the `with` block.

        Raises
        ------
        FileRefusal
            There is no such file, or it is none that can be had.
        SessionUnknown, SessionEnded, TooBusy, DeadlineExceeded, RunnerDown
            The session is not there, or not in time.
        """
        return self._open(session_id, path, deadline, client)

    @asynccontextmanager
    async def _open(
        self, session_id: str, path: str, deadline: Deadline, client: str
    ) -> AsyncIterator[OpenFile]:
        async with self._of(session_id, deadline, client) as files, files.read(path) as opened:
            yield opened

    async def write(
        self,
        session_id: str,
        path: str,
        content: AsyncIterator[bytes],
        deadline: Deadline,
        client: str,
    ) -> tuple[SessionFile, bool]:
        """Write a file, all of it or nothing; say also whether it is new.

        Raises
        ------
        FileRefusal
            The path is none, or the file does not fit.
        SessionUnknown, SessionEnded, TooBusy, DeadlineExceeded, RunnerDown
            The session is not there, or not in time.
        """
        async with self._of(session_id, deadline, client) as files:
            file, is_new = await files.write(path, content)
        return describe(file, session_id), is_new

    async def delete(self, session_id: str, path: str, deadline: Deadline, client: str) -> None:
        """Remove a file or a link.

        Raises
        ------
        FileRefusal
            There is no such file, or it is a folder.
        SessionUnknown, SessionEnded, TooBusy, DeadlineExceeded, RunnerDown
            The session is not there, or not in time.
        """
        async with self._of(session_id, deadline, client) as files:
            await files.delete(path)

    @asynccontextmanager
    async def _of(
        self, session_id: str, deadline: Deadline, client: str
    ) -> AsyncIterator[CellFiles]:
        async with self._sessions.use(session_id, deadline, client=client) as session:
            with self._told(session_id):
                try:
                    async with asyncio.timeout(deadline.remaining()):
                        yield session.cell.files
                except TimeoutError:
                    raise DeadlineExceeded(
                        "The time for this request ended before the file was through. "
                        "Allow more time, or move less at once."
                    ) from None

    @contextmanager
    def _told(self, session_id: str) -> Iterator[None]:
        """Tell why a session is gone, and forget it."""
        try:
            yield
        except RunnerDown:
            self._sessions.raise_if_ended(session_id)
            self._sessions.end(session_id, EndReason.RUNNER_LOST)
            raise


def _listing(found: StoredFiles, session_id: str) -> FileListing:
    return FileListing(
        files=tuple(describe(file, session_id) for file in found.files),
        truncated=found.is_truncated,
    )
