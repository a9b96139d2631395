"""The report of a task as it comes in from a worker: whole, in parts, and of this task alone."""

from sandbox_runner import link


class Inbox:
    """The report that is coming in for one task."""

    def __init__(self, tag: bytes) -> None:
        self._tag = tag
        self._buffer = bytearray()
        self.foreign = 0
        self.is_closed = False

    @property
    def payload(self) -> bytes:
        """What has come in so far."""
        return bytes(self._buffer)

    @property
    def _is_full(self) -> bool:
        return len(self._buffer) >= link.MAX_REPORT_BYTES

    def take(self, message: bytes) -> bool:
        """Add a message; say whether the report is whole. What is not of the task is counted."""
        part = link.parse(message)
        if part is None or part.tag != self._tag:
            self.foreign += 1
            return False
        if not part.is_last and (len(part.data) < link.PART_BYTES or self._is_full):
            self.foreign += 1  # a report is cut into whole parts, and has an end
            return False
        self._buffer += part.data[: link.MAX_REPORT_BYTES - len(self._buffer)]
        return part.is_last
