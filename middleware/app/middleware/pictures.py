"""Pictures that tools give: what may be shown of them, and how much of it."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

# SVG is not among them: it is a document, and may hold scripts.
_MEDIA_TYPES: Final = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp"})
_BASE64: Final = re.compile(r"[A-Za-z0-9+/]+={0,2}")
_BASE64_GROUP: Final = 4
MAX_PICTURES: Final = 16
"""Of one call."""
MAX_CHARACTERS: Final = 8 << 20
"""Of all pictures of one turn, in base64: 6 MiB of content."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture; `data` is its content in base64."""

    media_type: str
    data: str


def pictures_in(content: Iterable[Mapping[str, Any]]) -> tuple[Picture, ...]:
    """Return the pictures among the blocks of a tool's result; what is malformed is none."""
    found: list[Picture] = []
    for block in content:
        match block:
            case {"type": "image", "mimeType": str(media_type), "data": str(data)} if (
                media_type in _MEDIA_TYPES and _is_base64(data)
            ):
                found.append(Picture(media_type, data))
    return tuple(found[:MAX_PICTURES])


def fitting(pictures: Iterable[Picture], shown: Iterable[Picture]) -> tuple[Picture, ...]:
    """Return those that a turn still has room for beside those that it shows already."""
    room = MAX_CHARACTERS - sum(len(picture.data) for picture in shown)
    kept: list[Picture] = []
    for picture in pictures:
        if len(picture.data) <= room:
            room -= len(picture.data)
            kept.append(picture)
    return tuple(kept)


def _is_base64(text: str) -> bool:
    return len(text) % _BASE64_GROUP == 0 and _BASE64.fullmatch(text) is not None
