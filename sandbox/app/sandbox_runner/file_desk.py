"""Serves requests about a session's files, between its runs and while its processes are stopped."""

import os
import time
from dataclasses import dataclass
from typing import Final, Protocol

from sandbox_runner import slot_files, slot_usage
from sandbox_runner.file_messages import (
    DeleteFile,
    FileDeleted,
    FileEnd,
    FileEvent,
    FileOpened,
    FileRefused,
    FileRequest,
    FileWritten,
    ListFiles,
    ReadFile,
    WriteFile,
)
from sandbox_runner.frames import MAX_OUTPUT_BYTES
from sandbox_runner.policy import SessionLimits
from sandbox_runner.slot_changes import ChangeWatch
from sandbox_runner.slot_files import FileTrouble, Upload

STALL_SECONDS: Final = 30.0
"""How long the service may neither take nor send a byte of a file."""


class Interrupted(Exception):
    """The service has asked for the end of a transfer: it has sent its last piece."""


class Overtaken(Interrupted):
    """Something else has to be done first; of an upload more pieces may be on their way."""


class Stalled(Exception):
    """The service neither took nor sent a byte for too long."""


class FileLine(Protocol):
    """The line to the service, as far as files need it."""

    @property
    def is_clear(self) -> bool:
        """Whether all that was said has been taken."""

    def say_of_files(self, event: FileEvent) -> None:
        """Send an event."""

    def send_piece(self, data: bytes) -> None:
        """Send a FILE frame."""

    def take_piece(self) -> bytes | None:
        """Return the next FILE frame's payload, None if none has come.

        Raises
        ------
        Interrupted, Overtaken
            Something else has come instead.
        """

    def wait(self, timeout_seconds: float) -> None:
        """Wait until something can be sent or has come."""


@dataclass(frozen=True, slots=True)
class FileDesk:
    """Lists, reads, writes and deletes files of one session.

    Attributes
    ----------
    slot
        Descriptor of the session's folder.
    has_quota
        Whether a file system of its own counts what is in it.
    changes
        Told of each change that is not a run's.
    """

    slot: int
    has_quota: bool
    limits: SessionLimits
    changes: ChangeWatch
    line: FileLine

    def serve(self, request: FileRequest) -> None:
        """Carry out a request and answer it; what goes wrong is an answer too.

        Raises
        ------
        Stalled
            The service is there and does nothing.
        """
        try:
            match request:
                case ListFiles():
                    self.line.say_of_files(slot_files.list_files(self.slot))
                case ReadFile(path=path):
                    self._read(path)
                case WriteFile(path=path):
                    self._write(path)
                case DeleteFile(path=path):
                    slot_files.delete(self.slot, path)
                    self.changes.accept()
                    self.line.say_of_files(FileDeleted())
        except FileTrouble as trouble:
            self.line.say_of_files(FileRefused(trouble.reason, trouble.detail))

    # ------------------------------------------------------------ reading

    def _read(self, path: str) -> None:
        with slot_files.open_to_read(self.slot, path) as (descriptor, entry):
            self.line.say_of_files(FileOpened(entry))
            try:
                is_whole = self._send(descriptor, entry.size_bytes)
            except (Interrupted, OSError):
                is_whole = False
        self.line.say_of_files(FileEnd(is_whole))

    def _send(self, descriptor: int, size_bytes: int) -> bool:
        left = size_bytes
        while left:
            self._until_clear()
            data = os.read(descriptor, min(left, MAX_OUTPUT_BYTES))
            if not data:
                return False  # it became shorter
            self.line.send_piece(data)
            left -= len(data)
        self._until_clear()
        return True

    def _until_clear(self) -> None:
        limit = time.monotonic() + STALL_SECONDS
        while True:
            self.line.take_piece()  # none is due; this is how a Cancel is heard
            if self.line.is_clear:
                return
            self._wait(limit)

    # ------------------------------------------------------------ writing

    def _write(self, path: str) -> None:
        try:
            room = self._room()
            with Upload(
                self.slot, path, max_bytes=self.limits.file_bytes, room_bytes=room
            ) as upload:
                while data := self._next_piece():
                    upload.write(data)
                answer = FileWritten(upload.commit(), upload.is_new)
        except FileTrouble as trouble:
            # Said at once, so that no more is sent; what is on its way is taken and dropped.
            self.line.say_of_files(FileRefused(trouble.reason, trouble.detail))
            self._drop_the_rest()
        except Interrupted as interruption:
            self.line.say_of_files(FileRefused("cancelled", "The upload was given up."))
            if isinstance(interruption, Overtaken):
                self._drop_the_rest()
        else:
            self.line.say_of_files(answer)
        self.changes.accept()

    def _room(self) -> int | None:
        if self.has_quota:
            return None
        used = slot_usage.measure(self.slot, max_entries=self.limits.disk_entries)
        if used.entries >= self.limits.disk_entries or not used.is_whole:
            text = f"The session has as many files as it may: {self.limits.disk_entries}."
            raise FileTrouble("full", text)
        return max(0, self.limits.disk_bytes - used.disk_bytes)

    def _next_piece(self) -> bytes:
        limit = time.monotonic() + STALL_SECONDS
        while (data := self.line.take_piece()) is None:
            self._wait(limit)
        return data

    def _drop_the_rest(self) -> None:
        is_over = False
        while not is_over:
            try:
                is_over = not self._next_piece()
            except Overtaken:
                continue  # one more has to be done first: pieces may still be on their way
            except Interrupted:
                return

    def _wait(self, limit: float) -> None:
        left = limit - time.monotonic()
        if left <= 0:
            raise Stalled("the service neither took nor sent a byte of a file")
        self.line.wait(left)
