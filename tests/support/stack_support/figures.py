"""Figures that a test measured, for whoever runs it with `-s` or sees it fail."""

import sys


def note(text: str) -> None:
    """Write one line to the test's output."""
    sys.stdout.write(f"{text}\n")
