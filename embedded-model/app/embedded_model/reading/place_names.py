"""Names of places among the words of a message."""

from collections.abc import Sequence
from dataclasses import dataclass

from embedded_model.places import (
    Place,
    VaguePlace,
    country_names,
    find_place,
    first_words,
    fold,
    looks_like_offset,
)
from embedded_model.wording import Word

PREPOSITIONS = frozenset(
    {"in", "at", "for", "of", "over", "near", "from", "to", "around", "timezone", "zone"}
)


_MAX_PLACE_WORDS = 5


# Places whose names are plain words count only where a place is due.
_WEAK_NAMES = frozenset(
    [
        "nice",
        "reading",
        "split",
        "male",
        "bath",
        "hull",
        "como",
        "bari",
        "lund",
        "essen",
        "perm",
        "cork",
        "queens",
        "la",
        "essen",
        "santos",
        "faro",
        "art",
        "eat",
        "wat",
        "act",
        "mt",
        "et",
        "pt",
        "hue",
        "cali",
        "mobile",
        "of",
        "is",
        "me",
        "in",
        "us",
        "at",
        "it",
        "as",
        "z",
    ]
)


@dataclass(frozen=True, slots=True)
class Found:
    """A place in some words, and which words named it."""

    place: Place | VaguePlace
    start: int
    stop: int


def places_in(words: Sequence[Word]) -> tuple[Found, ...]:
    """Find all known places, the longest names first at each word."""
    found: list[Found] = []
    index = 0
    while index < len(words):
        hit = _place_at(words, index)
        if hit is not None:
            found.append(hit)
            index = hit.stop
        else:
            index += 1
    return tuple(found)


def _place_at(words: Sequence[Word], index: int) -> Found | None:
    first = words[index].raw.lower().removesuffix("'s")
    folded = fold(first).split()
    if looks_like_offset(first):
        place = find_place(first)
        return Found(place, index, index + 1) if place is not None else None
    if not folded or (
        folded[0] not in first_words() and first not in first_words() and folded[0] != "the"
    ):
        return None
    for length in range(min(_MAX_PLACE_WORDS, len(words) - index), 0, -1):
        part = words[index : index + length]
        if part[-1].text in {"?", "!", ",", ":", ";"}:
            continue
        full = " ".join(word.raw.lower() for word in part)
        name = full.removesuffix("'s")
        if length == 1 and _is_weak(words, index, name):
            continue
        place = find_place(name) or find_place(full)  # "London's", and "St. John's"
        if place is not None:
            return Found(place, index, index + length)
    return None


def _is_weak(words: Sequence[Word], index: int, name: str) -> bool:
    is_shouted = all(word.raw.isupper() for word in words if word.raw.isalpha())
    if words[index].raw.isupper() and not is_shouted and len(name) > 1:
        return False  # "LA", "US": nobody writes "la" so
    before = words[index - 1].text if index else ""
    if name in {"us", "me", "it", "at", "of", "is", "in", "as"}:
        # "in the US", "in US": but "for us" and "tell us".
        return not (name == "us" and before in {"in", "the"})
    return name in _WEAK_NAMES and before not in PREPOSITIONS and name != "et"


def words_without(words: Sequence[Word], found: Sequence[Found]) -> list[int]:
    """Return the places of the words that name nothing known."""
    taken = {index for item in found for index in range(item.start, item.stop)}
    return [index for index in range(len(words)) if index not in taken]


def _is_rival(place: Place | VaguePlace, city: Place | VaguePlace) -> bool:
    """Say whether a place after a city is one of its own: another city, a foreign country."""
    if isinstance(place, VaguePlace) or isinstance(city, VaguePlace):
        return False
    is_foreign = fold(place.name) in country_names() and place.zone != city.zone
    return place.kind == "city" or is_foreign


_AMERICAN_STATES = frozenset(
    ["washington", "oregon", "idaho", "kansas", "nebraska", "kentucky", "tennessee"]
) | {"north dakota", "south dakota"}


def _is_abroad(city: Place | VaguePlace, state: VaguePlace) -> bool:
    """Say whether a state of the USA can't be the known city's own."""
    return (
        isinstance(city, Place)
        and fold(state.name) in _AMERICAN_STATES
        and not city.zone.startswith("America/")
    )


def _decides(state: Place, city: Place | VaguePlace, between: Sequence[str]) -> bool:
    return isinstance(city, Place) and state.zone != city.zone and between in ([","], [])


def resolve_containers(words: Sequence[Word], found: Sequence[Found]) -> list[Found]:
    """Drop the country or state after a city: "Paris, France", "Portland, Oregon"."""
    kept: list[Found] = []
    for item in found:
        before = kept[-1] if kept else None
        between = [word.text for word in words[before.stop : item.start]] if before else []
        is_container = (
            before is not None
            and between in ([","], [], [",", "in"], ["in"])
            and (isinstance(before.place, Place) and before.place.kind == "city")
        )
        if before is None or not is_container or _is_rival(item.place, before.place):
            kept.append(item)
        elif isinstance(item.place, VaguePlace) and _is_abroad(before.place, item.place):
            # Moscow, Idaho: not the city that is known, and a state of several times.
            kept[-1] = Found(item.place, before.start, item.stop)
        elif isinstance(item.place, Place) and _decides(item.place, before.place, between):
            # London, Ontario: the state decides.
            name = f"{before.place.name}, {item.place.name}"
            kept[-1] = Found(Place(name, item.place.zone, "city"), before.start, item.stop)
    return kept
