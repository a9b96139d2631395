"""A tool's output as the model sees it: head and tail kept, a marker between."""

# The tail holds a traceback's last line, which says what went wrong.
_HEAD_SHARE = 0.6
_MARKER = "\n[… {count} characters left out …]\n"
_MIN_CHARACTERS = 200


def capped(text: str, max_characters: int) -> str:
    """Return `text`, or its head and tail in about `max_characters`."""
    limit = max(max_characters, _MIN_CHARACTERS)
    if len(text) <= limit:
        return text
    head = int(limit * _HEAD_SHARE)
    tail = limit - head
    return text[:head] + _MARKER.format(count=len(text) - limit) + text[-tail:]
