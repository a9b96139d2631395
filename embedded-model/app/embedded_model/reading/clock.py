"""Times of day as people say them: "3pm", "half past 8", "8 in the evening"."""

import re

CLOCK = (
    r"\d{1,2}(?::\d\d)?(?::\d\d)? ?(?:a\.?m\.?|p\.?m\.?)"
    r"|\d{1,2}(?::\d\d)?(?: o'clock)? (?:in the (?:morning|afternoon|evening)|at night)"
    r"|(?:half past|quarter past|quarter to) \d{1,2}(?: ?[ap]\.?m\.?)?"
    r"|\d{1,2}:\d\d(?::\d\d)?|noon|midnight|\d{1,2} o'clock"
)
_PART_OF_DAY = {
    "in the morning": "am", "in the afternoon": "pm", "in the evening": "pm", "at night": "pm",
}  # fmt: skip
_NOON, _HOURS, _MINUTES = 12, 24, 60


def clock_time(text: str) -> str | None:
    """Turn `3pm`, `noon`, `half past 8`, `8 in the evening` into `15:00`; None for `25:00`."""
    text = text.lower().replace(".", "").replace(" o'clock", "").strip()
    if text in {"noon", "midnight"}:
        return "12:00" if text == "noon" else "00:00"
    for words, half in _PART_OF_DAY.items():
        text = text.replace(words, half)
    if match := re.match(
        r"(?P<part>half past|quarter past|quarter to) (?P<hour>\d+)(?P<rest>.*)", text
    ):
        minutes = {"half past": 30, "quarter past": 15, "quarter to": 45}[match["part"]]
        hour = int(match["hour"]) - (match["part"] == "quarter to")
        text = f"{hour % 24}:{minutes:02d}{match['rest']}"
    match = re.match(r"(\d{1,2})(?::(\d\d))?(?::\d\d)? ?(am|pm)?", text)
    if match is None:
        return None
    hour, minute = int(match[1]), int(match[2] or 0)
    if match[3] and hour <= _NOON:
        hour = hour % _NOON + (_NOON if match[3] == "pm" else 0)
    return f"{hour:02d}:{minute:02d}" if hour < _HOURS and minute < _MINUTES else None
