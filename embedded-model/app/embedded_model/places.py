"""The gazetteer: from what people call a place to the name of its time zone."""

import datetime as dt
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Literal
from zoneinfo import ZoneInfo, available_timezones

from rapidfuzz.distance import OSA

from embedded_model import lexicon

_MANY = "?"
_OFFSET = re.compile(
    r"(?:utc|gmt)(?P<sign>[+-])(?P<hours>0?\d|1[0-4])(?::?(?P<minutes>00|15|30|45))?", re.IGNORECASE
)
# Zones of tzdata's own that no person asks for.
_ODD_ZONES = frozenset({"Factory", "localtime", "posixrules"})
_MIN_FUZZY_LETTERS = 5


@dataclass(frozen=True, slots=True)
class Place:
    """A place with one time; `name` as a person would write it."""

    name: str
    zone: str
    kind: Literal["city", "region", "zone"]


@dataclass(frozen=True, slots=True)
class VaguePlace:
    """A place with several times, or in several countries."""

    name: str


def fold(text: str) -> str:
    """Return a name without case, accents and dots, for comparing."""
    plain = unicodedata.normalize("NFKD", text.lower().replace("ß", "ss").replace("ø", "o"))
    kept = "".join(char for char in plain if not unicodedata.combining(char))
    return " ".join(re.sub(r"[.']", "", kept).replace("-", " ").replace("_", " ").split())


def _table(name: str) -> list[list[str]]:
    text = (resources.files("tzdata") / "zoneinfo" / name).read_text(encoding="utf-8")
    return [line.split("\t") for line in text.splitlines() if line and not line.startswith("#")]


def _countries() -> Iterator[tuple[str, Place | VaguePlace]]:
    zones: dict[str, list[str]] = {}
    for code, _, zone, *_ in _table("zone.tab"):
        zones.setdefault(code, []).append(zone)
    for code, label in _table("iso3166.tab"):
        name = label.split(" (")[0]
        own = zones.get(code, [])
        if len(own) == 1:
            yield fold(name), Place(name, own[0], "region")
        elif own:
            yield fold(name), VaguePlace(name)


@cache
def country_names() -> frozenset[str]:
    """Return the folded names of all countries."""
    return frozenset(name for name, _ in _countries())


def _zone_names() -> Iterator[tuple[str, Place]]:
    for zone in sorted(available_timezones()):
        if zone in _ODD_ZONES or zone.startswith(("posix/", "right/")):
            continue
        yield zone.lower(), Place(zone, zone, "zone")
        yield fold(zone), Place(zone, zone, "zone")


def _zone_cities() -> Iterator[tuple[str, Place]]:
    for _, _, zone, *_ in _table("zone.tab"):
        city = zone.rpartition("/")[2].replace("_", " ")
        yield fold(city), Place(city, zone, "city")


def _own_places() -> Iterator[tuple[str, Place | VaguePlace]]:
    for zone, names in lexicon.keyed_lists("cities"):
        for name in names:
            yield fold(name), Place(_title(name), zone, "city")
    for zone, names in lexicon.keyed_lists("regions"):
        for name in names:
            if zone == _MANY:
                yield fold(name), VaguePlace(_title(name))
            else:
                yield fold(name), Place("UTC" if zone == "UTC" else _title(name), zone, "region")


def _title(name: str) -> str:
    if len(name) <= 3:  # noqa: PLR2004  # NYC, UK, HK
        return name.upper()
    small = {"am", "de", "do", "of", "the", "on", "upon", "del", "la", "and"}
    return " ".join(
        word
        if index and word in small
        else word.upper()
        if "." in word[:-1] or word == "dc"
        else word[:1].upper() + word[1:]
        for index, word in enumerate(name.split())
    )


@cache
def gazetteer() -> dict[str, Place | VaguePlace]:
    """Return all names, folded: zones and their cities and countries first, then our lists."""
    found: dict[str, Place | VaguePlace] = dict(_zone_names())
    found |= dict(_countries())
    found |= {name: place for name, place in _zone_cities() if name not in found}
    found |= dict(_own_places())
    return found


@cache
def first_words() -> frozenset[str]:
    """Return every first word of a name, to look places up quickly."""
    return frozenset(name.split()[0] for name in gazetteer())


def find_place(text: str) -> Place | VaguePlace | None:
    """Look a name up as it stands, in any case and without accents."""
    if (offset := _OFFSET.fullmatch(text.strip())) is not None:
        minutes = int(offset["minutes"] or 0)
        return _fixed_offset(offset["sign"], int(offset["hours"]), minutes)
    found = gazetteer().get(text.lower().strip()) or gazetteer().get(fold(text))
    if found is None and fold(text).startswith("the "):
        return gazetteer().get(fold(text).removeprefix("the "))
    return found


def is_place_name(text: str) -> bool:
    """Say whether a text is the name of a place as it stands."""
    return find_place(text) is not None


def looks_like_offset(text: str) -> bool:
    """Say whether a word is an offset from UTC, as in `UTC+2`."""
    return _OFFSET.fullmatch(text.strip()) is not None


@cache  # the list of zones is read from the disk each time it is asked for
def _fixed_offset(sign: str, hours: int, minutes: int) -> Place | None:
    if minutes:
        zone = _zones_off_the_hour().get(f"{sign}{hours}:{minutes}", "")
        return Place(f"UTC{sign}{hours}:{minutes}", zone, "region") if zone else None
    # POSIX counts the other way round: Etc/GMT-2 is two hours ahead of UTC.
    zone = "UTC" if hours == 0 else f"Etc/GMT{'-' if sign == '+' else '+'}{hours}"
    return Place(f"UTC{sign}{hours}", zone, "region") if zone in available_timezones() else None


@cache
def _zones_off_the_hour() -> dict[str, str]:
    """Return a zone for each offset of half and quarter hours that some zone keeps all year.

    Notes
    -----
    tzdata has no `Etc/` zone for them; the first in its own order of countries stands for it.
    """
    found: dict[str, str] = {}
    for _, _, zone, *_ in _table("zone.tab"):
        year = dt.datetime.now(dt.UTC).year
        offsets = {
            dt.datetime(year, month, 15, tzinfo=ZoneInfo(zone)).utcoffset()
            for month in (1, 4, 7, 10)
        }
        minutes = (offsets.pop() or dt.timedelta()).total_seconds() // 60
        if not offsets and minutes % 60:
            sign, size = ("-", -minutes) if minutes < 0 else ("+", minutes)
            found.setdefault(f"{sign}{int(size) // 60}:{int(size) % 60}", zone)
    return found


def guess_place(text: str) -> Place | VaguePlace | None:
    """Look up a name with a typing error in it.

    Notes
    -----
    At least five letters, one slip of the hand, the same first letter, and nothing
    else as near: a wrong city is worse than a question (Atlantis is not Atlanta).
    """
    name = fold(text)
    letters = len(name.replace(" ", ""))
    if letters < _MIN_FUZZY_LETTERS or any(char.isdigit() for char in name):
        return None
    near = {
        place
        for known, place in gazetteer().items()
        if known[0] == name[0] and len(known) >= _MIN_FUZZY_LETTERS - 1 and _is_slip(name, known)
    }
    zones = {place.zone if isinstance(place, Place) else place.name for place in near}
    return min(near, key=str) if len(zones) == 1 else None


# Letters that sound alike or lie side by side on a keyboard.
_ALIKE = ("aeiouy", "cksz", "mn", "bvp", "dt", "fv", "gj", "wv", "lr", "qwertyuiop", "asdfghjkl")


def _is_slip(typed: str, known: str) -> bool:
    """Say whether one letter is lost, doubled, swapped with the next, or taken for its like."""
    if abs(len(typed) - len(known)) > 1 or OSA.distance(typed, known, score_cutoff=1) != 1:
        return False
    if len(typed) < len(known) or sorted(typed) == sorted(known):
        return True
    place = next((at for at, (a, b) in enumerate(zip(typed, known, strict=False)) if a != b), -1)
    if len(typed) > len(known):
        # A letter too many at the end makes another name ("Parisa"), unless it is doubled.
        return place >= 0 or typed[-1] == typed[-2]
    pair = {typed[place], known[place]}
    return any(pair <= set(row) for row in _ALIKE[:-2]) or any(
        abs(row.find(typed[place]) - row.find(known[place])) == 1 and pair <= set(row)
        for row in _ALIKE[-2:]
    )


def count_cities() -> int:
    """Return how many cities are known beside the bare names of zones."""
    return sum(isinstance(place, Place) and place.kind == "city" for place in gazetteer().values())
