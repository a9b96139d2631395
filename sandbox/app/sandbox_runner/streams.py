"""The standard streams of a worker."""

import io
import os
import sys
from typing import TextIO


class StandardStreams:
    """stdin at its end, stdout and stderr on descriptors 1 and 2, whatever a cell does to `sys`."""

    def __init__(self) -> None:
        self._stdin = _text(os.fdopen(0, "rb", closefd=False))
        self._stdout = _writer(1, "strict")
        self._stderr = _writer(2, "backslashreplace")
        self.restore()

    def restore(self) -> None:
        """Put the streams back where a cell may have put its own."""
        sys.stdin = sys.__stdin__ = self._stdin  # type: ignore[misc, assignment]  # Final, and narrower, in the stub only
        sys.stdout = sys.__stdout__ = self._stdout  # type: ignore[misc, assignment]  # Final, and narrower, in the stub only
        sys.stderr = sys.__stderr__ = self._stderr  # type: ignore[misc, assignment]  # Final, and narrower, in the stub only

    def settle(self) -> None:
        """Write out what the cell printed, to its own streams too, and restore ours."""
        for stream in (sys.stdout, sys.stderr, self._stdout, self._stderr):
            try:
                stream.flush()
            except BaseException:  # noqa: BLE001, S112  # it may be an object of the cell's
                continue
        if self._stdout.closed:
            self._stdout = _writer(1, "strict")
        if self._stderr.closed:
            self._stderr = _writer(2, "backslashreplace")
        self.restore()


def _text(raw: io.BufferedIOBase) -> TextIO:
    return io.TextIOWrapper(raw, encoding="utf-8")  # type: ignore[type-var]  # any buffer will do


def _writer(descriptor: int, errors: str) -> TextIO:
    # Nothing is held back, as with `python -u`: what was printed before a kill is not lost, and who
    # follows the run sees it at once, also when the line has no end yet.
    raw = io.FileIO(descriptor, "wb", closefd=False)
    return io.TextIOWrapper(
        raw,
        encoding="utf-8",
        errors=errors,
        write_through=True,
    )
