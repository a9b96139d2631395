"""Counts and caps what a session writes to one of its streams."""

import os
from typing import Final

from sandbox_runner.protocol import MAX_OUTPUT_BYTES, FrameKind, encode_frame

# How many times its cap a run may write before it counts as a flood and is killed.
_FLOOD_FACTOR: Final = 16
# A pipe holds 64 KiB and its size cannot be changed; the pieces may be small.
_MAX_READS: Final = 64


class OutputMeter:
    """One pipe from a worker: up to a cap it is passed on for each run, the rest is counted.

    What comes between two runs is nobody's: a session's threads are told to stop and write for a
    moment more, and they go on while packages are put in place.

    Attributes
    ----------
    is_open
        Whether it has a writer yet, so that it is worth waiting for.
    """

    def __init__(self, descriptor: int, kind: FrameKind, cap_bytes: int) -> None:
        self.descriptor = descriptor
        self._kind = kind
        self._cap_bytes = cap_bytes
        self._kept = 0
        self._is_heard = False
        self.dropped = 0
        self.is_open = True

    @classmethod
    def of_stdout(cls, descriptor: int, cap_bytes: int) -> "OutputMeter":
        """Return the meter of a standard output."""
        return cls(descriptor, FrameKind.STDOUT, cap_bytes)

    @classmethod
    def of_stderr(cls, descriptor: int, cap_bytes: int) -> "OutputMeter":
        """Return the meter of a standard error."""
        return cls(descriptor, FrameKind.STDERR, cap_bytes)

    @property
    def is_flooded(self) -> bool:
        """Whether a run wrote so much beyond the cap that it should end."""
        return self.dropped > _FLOOD_FACTOR * self._cap_bytes

    def start(self, cap_bytes: int) -> None:
        """Count anew, for the next run; what is in the pipe by now is not its."""
        self._discard()
        self._cap_bytes = cap_bytes
        self._kept = self.dropped = 0
        self._is_heard = True

    def _discard(self) -> None:
        for _ in range(_MAX_READS):
            try:
                if not os.read(self.descriptor, MAX_OUTPUT_BYTES):
                    return
            except OSError:
                return  # nothing is left

    def read(self, most_bytes: int) -> bytes | None:
        """Return the frame of what can be read now (empty if nothing is kept), None at the end."""
        try:
            data = os.read(self.descriptor, most_bytes)
        except BlockingIOError:
            return b""
        except OSError:
            return None
        if not data:
            return None
        if not self._is_heard:
            return b""
        keep = data[: self._cap_bytes - self._kept]
        self._kept += len(keep)
        self.dropped += len(data) - len(keep)
        return encode_frame(self._kind, keep) if keep else b""

    def drain(self) -> bytes:
        """Return the frames of what is in the pipe, the last of a run; its writers are to stop."""
        frames = bytearray()
        for _ in range(_MAX_READS):
            dropped = self.dropped
            frame = self.read(MAX_OUTPUT_BYTES)
            if not frame and self.dropped == dropped:
                break
            frames += frame or b""
        self._is_heard = False
        return bytes(frames)
