"""Paths of files in a session's folder, as a caller may name them. Pure; used by both sides."""

import os
from typing import Final

MAX_PATH_BYTES: Final = 1024
"""Of the whole path. The kernel's own bound (PATH_MAX) is 4096."""
MAX_NAME_BYTES: Final = 255
MAX_DEPTH: Final = 64
"""Of folders in each other; one descriptor is held for each."""


class PathRefused(ValueError):
    """The path names no file of a session; the text is one sentence."""


def split_path(path: str) -> tuple[str, ...]:
    """Return the names on the way to a file, the file's own name last.

    Bytes that are no UTF-8 come and go as lone surrogates, as in `os.fsdecode`.

    Raises
    ------
    PathRefused
        It is absolute, leads upwards, is too long, or holds what no name may hold.
    """
    if not path:
        raise PathRefused("Name a file: the path is empty.")
    if "\0" in path:
        raise PathRefused("A path must not hold a NUL character.")
    if path.startswith("/"):
        raise PathRefused("The path is absolute; name the file relative to the session's folder.")
    try:
        names = tuple(path.split("/"))
        sizes = [len(os.fsencode(name)) for name in names]
    except UnicodeEncodeError:
        raise PathRefused("The path holds half a character (a lone surrogate).") from None
    if any(name in {"", ".", ".."} for name in names):
        raise PathRefused(
            "No part of a path may be empty, `.` or `..`; name the file relative to the "
            "session's folder."
        )
    if max(sizes) > MAX_NAME_BYTES or sum(sizes) + len(sizes) - 1 > MAX_PATH_BYTES:
        raise PathRefused(
            f"The path is too long: a name may have {MAX_NAME_BYTES} bytes, "
            f"the whole path {MAX_PATH_BYTES}."
        )
    if len(names) > MAX_DEPTH:
        raise PathRefused(f"The path is too deep: {MAX_DEPTH} folders at most.")
    return names


def refuse_control_characters(path: str) -> None:
    """Refuse a name for a new file that would break lines, listings or headers.

    Raises
    ------
    PathRefused
        It holds a newline or another control character.
    """
    if any(ord(character) < ord(" ") or character == "\x7f" for character in path):
        raise PathRefused("The name of a new file must not hold newlines or control characters.")
