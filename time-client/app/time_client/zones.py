"""Time zones by name, and the nearest names of one that does not exist."""

import re
from collections.abc import Iterable
from functools import cache
from zoneinfo import ZoneInfo, available_timezones

from rapidfuzz import fuzz, process, utils

from time_client.errors import TimezoneUnknown
from time_client.known_places import ZONES_OF_PLACES

_MAX_SUGGESTIONS = 3
_NEAR_ENOUGH = 62.0
_MAX_SHOWN_CHARACTERS = 60
# Not places: the machine's own zone, a placeholder, and copies of the whole tree.
_HIDDEN = re.compile(r"^(?:localtime|Factory|posixrules|(?:posix|right)/.*)$")
# Aliases of old that nobody means by a misspelt city.
_NO_SUGGESTION = re.compile(r"^(?:Etc/.*|SystemV/.*|US/.*|Brazil/.*|Chile/.*|Mexico/.*|Canada/.*)$")
_OFFSET = re.compile(r"^(?:utc|gmt)?\s*([+-])\s*(\d{1,2})(?::?00)?$", re.IGNORECASE)


@cache
def zone_names() -> tuple[str, ...]:
    """Give all names, sorted."""
    return tuple(sorted(name for name in available_timezones() if not _HIDDEN.match(name)))


@cache
def _by_folded_name() -> dict[str, str]:
    return {_folded(name): name for name in zone_names()}


def _folded(name: str) -> str:
    return "_".join(name.strip().casefold().split())


def find_zone(name: str) -> ZoneInfo:
    """Find a zone by its IANA name; case, and spaces for underscores, do not matter.

    Raises
    ------
    TimezoneUnknown
        With the nearest names, also in its `nearest` member.
    """
    known = _by_folded_name().get(_folded(name))
    if known is not None:
        return ZoneInfo(known)
    nearest = nearest_zones(name)
    shown = name if len(name) <= _MAX_SHOWN_CHARACTERS else name[:_MAX_SHOWN_CHARACTERS] + "…"
    hint = (
        f"Did you mean {_either(nearest)}?"
        if nearest
        else "Use an IANA name such as Europe/Berlin, America/New_York or UTC."
    )
    raise TimezoneUnknown(f"There is no time zone {shown!r}. {hint}", nearest=list(nearest))


def nearest_zones(name: str) -> tuple[str, ...]:
    """Give the IANA names that were probably meant, best first; empty when none is near."""
    wanted = _folded(name)[:200]
    offset = _OFFSET.match(name.strip())
    if offset is not None and 1 <= int(offset[2]) <= 12:  # noqa: PLR2004  # Etc/GMT±12
        # POSIX counts westward: five hours east of Greenwich is Etc/GMT-5.
        return (f"Etc/GMT{'-' if offset[1] == '+' else '+'}{int(offset[2])}",)
    place = wanted.rpartition("/")[2]
    if place in ZONES_OF_PLACES:
        return ZONES_OF_PLACES[place]
    names = [each for each in zone_names() if not _NO_SUGGESTION.match(each)]
    scored: dict[str, float] = {}
    _score(scored, place, {each: _folded(each).rpartition("/")[2] for each in names}, weight=1.0)
    _score(scored, wanted, {each: _folded(each) for each in names}, weight=0.98)
    for near, score in _extract(place, ZONES_OF_PLACES):
        for zone in ZONES_OF_PLACES[near]:
            scored[zone] = max(scored.get(zone, 0.0), score * 0.97)
    best = sorted(scored.items(), key=lambda item: (-item[1], item[0]))
    return tuple(zone for zone, _ in best[:_MAX_SUGGESTIONS])


def _score(scored: dict[str, float], wanted: str, names: dict[str, str], *, weight: float) -> None:
    matches = process.extract(
        wanted,
        names,
        scorer=fuzz.ratio,
        processor=utils.default_process,
        limit=_MAX_SUGGESTIONS,
        score_cutoff=_NEAR_ENOUGH,
    )
    for _, score, name in matches:
        scored[name] = max(scored.get(name, 0.0), score * weight)


def _extract(wanted: str, places: Iterable[str]) -> list[tuple[str, float]]:
    # Short names (abbreviations) are near to everything.
    if len(wanted) < 5:  # noqa: PLR2004  # letters
        return []
    longer = [place for place in places if len(place) > 4]  # noqa: PLR2004  # as above
    found = process.extract(wanted, longer, scorer=fuzz.ratio, limit=2, score_cutoff=80.0)
    return [(place, score) for place, score, _ in found]


def _either(names: tuple[str, ...]) -> str:
    if len(names) == 1:
        return names[0]
    return f"{', '.join(names[:-1])} or {names[-1]}"
