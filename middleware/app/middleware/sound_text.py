"""Text that can be written down: halves of surrogate pairs are joined or replaced.

JSON can carry half a character (one of the two escapes of an emoji), and a server that
splits its stream between two halves does so; UTF-8 can't, so that writing it on would fail.
"""

from typing import Any


def sound(text: str) -> str:
    """Return the text with pairs joined and lone halves replaced by U+FFFD."""
    if text.isascii():
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def is_sound(text: str) -> bool:
    """Whether the text can be written as UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def sound_value(value: Any) -> Any:
    """Return a JSON value with all its text made sound."""
    if isinstance(value, str):
        return sound(value)
    if isinstance(value, dict):
        return {sound(str(key)): sound_value(item) for key, item in value.items()}
    if isinstance(value, list):
        return [sound_value(item) for item in value]
    return value
