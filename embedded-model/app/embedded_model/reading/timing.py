"""Questions after the time: here, in a zone, in a city; and moments to convert."""

import datetime as dt
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from embedded_model import lexicon
from embedded_model.intents import AskBack, ConvertTime, Intent, TellTime
from embedded_model.places import (
    Place,
    VaguePlace,
    country_names,
    find_place,
    first_words,
    fold,
    guess_place,
    looks_like_offset,
)
from embedded_model.wording import Word, text_of

Wants = Literal["time", "day", "difference"]

_ANCHORS = frozenset({"time", "clock", "hour", "o'clock", "date", "time's", "timestamp"})
_PREPOSITIONS = frozenset(
    {"in", "at", "for", "of", "over", "near", "from", "to", "around", "timezone", "zone"}
)
_JOINS = frozenset({",", "and", "&", "or", "vs", "versus", "/"})
_TIMES = re.compile(
    r"\b(?:local|current|what|show|give me) (?:the )?times\b|\btimes (?:in|for|at)\b"
)
_MAX_PLACE_WORDS = 5
_MAX_UNKNOWN_WORDS = 3
_DAY_QUESTION = re.compile(
    r"\b(?:(?:what|which|current|today's|the) (?:day|date|year|month"
    r"|weekday)|(?:is )?today's date|what(?:'s| is) today|date (?:today|now"
    r"|here)|day (?:is it|of the week)|date\b)"
)
_DIFFERENCE = re.compile(
    r"\btime[ -]?(?:zone )?(?:difference|diff|gap|offset)\b|\bhours? "
    r"(?:ahead|behind|difference|apart)\b|\b(?:ahead|behind) of\b"
)
_DIFFERENCE_WORDS = frozenset(
    [
        "difference",
        "diff",
        "gap",
        "offset",
        "hours",
        "hour",
        "ahead",
        "behind",
        "how",
        "many",
        "much",
        "far",
        "between",
        "from",
        "and",
        "apart",
        "are",
    ]
)
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
        name = " ".join(word.raw.lower() for word in part).removesuffix("'s")
        if length == 1 and _is_weak(words, index, name):
            continue
        place = find_place(name)
        if place is not None:
            return Found(place, index, index + length)
    return None


def _is_weak(words: Sequence[Word], index: int, name: str) -> bool:
    if name == "us" and words[index].raw == "US":
        return False
    before = words[index - 1].text if index else ""
    if name in {"us", "me", "it", "at", "of", "is", "in", "as"}:
        # "in the US", "in US": but "for us" and "tell us".
        return not (name == "us" and before in {"in", "the"})
    return name in _WEAK_NAMES and before not in _PREPOSITIONS and name != "et"


def read_time(words: Sequence[Word]) -> tuple[Intent, ...]:
    """Read a question after the time now; empty when it is none."""
    text = text_of(words)
    if _DIFFERENCE.search(text):
        return _difference(words)
    found = places_in(words)
    rest = _without(words, found)
    unknown = [index for index in rest if words[index].text not in lexicon.words("time_words")]
    bag = {words[index].text for index in rest} | _named_anchors(words, found)
    bag |= {"time"} if _TIMES.search(text) else set()
    if _is_doubled(words, rest):
        return ()
    if not _is_time_question(words, bag, found, rest):
        return ()
    wants: Wants = "day" if _DAY_QUESTION.search(text) and "time" not in bag else "time"
    if unknown:
        return _guessed(words, unknown, found, wants)
    if found:
        return _here(words, rest, wants) + _told(words, found, wants)
    return (TellTime(wants=wants),)


def _named_anchors(words: Sequence[Word], found: Sequence[Found]) -> set[str]:
    """Return the anchors inside names: "UTC time", "eastern time"."""
    return {word.text for item in found for word in words[item.start : item.stop]} & _ANCHORS


def _is_doubled(words: Sequence[Word], rest: Sequence[int]) -> bool:
    """Say whether these are two questions, to be read one by one."""
    times = [
        index
        for index in rest
        if words[index].text == "time"
        and not (index + 1 < len(words) and words[index + 1].text in {"zone", "zones"})
    ]
    return len(times) > 1


def _without(words: Sequence[Word], found: Sequence[Found]) -> list[int]:
    taken = {index for item in found for index in range(item.start, item.stop)}
    return [index for index in range(len(words)) if index not in taken]


def _is_time_question(
    words: Sequence[Word], bag: set[str], found: Sequence[Found], rest: Sequence[int]
) -> bool:
    text = " ".join(words[index].text for index in rest).strip(" ?!.,")
    if bag & _ANCHORS:
        return text not in {
            "what is time",
            "it's about time",
            "it is about time",
            "it's time",
            "it is time",
            "what's time",
            "time zone",
            "timezone",
            "what is the time zone",
            "what is a time zone",
            "what is a timezone",
            "timezones",
            "date",
        } or bool(found)
    if {"day", "weekday"} & bag and (bag & {"what", "which", "what's"}):
        return "today" in bag or "it" in bag
    if {"year", "month"} & bag and {"what", "which"} & bag:
        return {"is", "it"} <= bag or {"is", "this"} <= bag or "current" in bag
    if re.fullmatch(
        r"(?:what|what's|what is) today|how late is it(?: now)?(?: in)?(?: right now)?", text
    ):
        return True
    # "now in Tokyo", "Tokyo now"
    return bool(found) and "now" in bag and bag <= _NOW_WORDS


_NOW_WORDS = frozenset({"now", "in", "right", "what", "is", "it", "?", "please", "at", "the"})


def _here(words: Sequence[Word], rest: Sequence[int], wants: Wants) -> tuple[Intent, ...]:
    text = " ".join(words[index].text for index in rest)
    is_also_here = re.search(
        r"\bhere (?:and|,|as)|(?:and|,) here\b|\bnow (?:and|,) (?:also )?in\b", text
    )
    return (TellTime(wants=wants),) if is_also_here and "and" in text else ()


def _told(words: Sequence[Word], found: Sequence[Found], wants: Wants) -> tuple[Intent, ...]:
    return tuple(_tell(item.place, wants) for item in _resolve_containers(words, found))


def _tell(place: Place | VaguePlace, wants: Wants = "time") -> Intent:
    if isinstance(place, VaguePlace):
        return AskBack(f"{place.name} has more than one time zone. Which city or zone do you mean?")
    return TellTime(place.zone, place.name, wants)


def tell_place(place: Place | VaguePlace, wants: Wants = "time") -> Intent:
    """Return what to do for the time in a place: tell it, or ask which zone."""
    return _tell(place, wants)


def _is_rival(place: Place | VaguePlace, city: Place | VaguePlace) -> bool:
    """Say whether a place after a city is one of its own: another city, a foreign country."""
    if isinstance(place, VaguePlace) or isinstance(city, VaguePlace):
        return False
    is_foreign = fold(place.name) in country_names() and place.zone != city.zone
    return place.kind == "city" or is_foreign


def _decides(state: Place, city: Place | VaguePlace, between: Sequence[str]) -> bool:
    return isinstance(city, Place) and state.zone != city.zone and between in ([","], [])


def _resolve_containers(words: Sequence[Word], found: Sequence[Found]) -> list[Found]:
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
        elif isinstance(item.place, Place) and _decides(item.place, before.place, between):
            # London, Ontario: the state decides.
            name = f"{before.place.name}, {item.place.name}"
            kept[-1] = Found(Place(name, item.place.zone, "city"), before.start, item.stop)
    return kept


def _guessed(
    words: Sequence[Word], unknown: Sequence[int], found: Sequence[Found], wants: Wants
) -> tuple[Intent, ...]:
    """Read the words that nothing explains as a name with a typing error, or ask."""
    start, stop = unknown[0], unknown[-1] + 1
    is_run = stop - start == len(unknown) <= _MAX_UNKNOWN_WORDS
    before = words[start - 1].text if start else ""
    if start > 1 and before in {"the", "city"}:
        before = words[start - 2].text if before == "the" else "in"
    is_due = before in _PREPOSITIONS or (found and before in _JOINS)
    is_adjacent = (
        start == 0 and stop < len(words) and words[stop].text in _ANCHORS
    ) or before in _ANCHORS
    if not found and _IN_SOME_PLACE.search(text_of(words)):
        return (AskBack("I do not know that place. Which city near it, or which time zone?"),)
    if not is_run or not (is_due or is_adjacent):
        return ()
    name = " ".join(word.raw for word in words[start:stop]).strip(" ?!.").removesuffix("'s")
    place = guess_place(name)
    if place is not None:
        every = sorted([*found, Found(place, start, stop)], key=lambda item: item.start)
        return _told(words, every, wants)
    if not is_due or not _could_be_name(name):
        return ()
    return (
        *_told(words, found, wants),
        AskBack(
            f"I do not know the place '{name}'. Which larger city near it, or which time zone "
            "such as Europe/Paris, do you mean?"
        ),
    )


_IN_SOME_PLACE = re.compile(
    r"^(?:what time is it|what(?:'s| is) the (?:current |local )?time)(?: now| right now)? "
    r"in my \w+"
)


def _could_be_name(name: str) -> bool:
    return bool(re.fullmatch(r"[^\W\d_][\w .'/+-]*", name)) and not re.search(
        r"\b(?:my|your|his|her|our|their|a|an|travel|life|space|history|general"
        r"|music|bed|lunch|dinner"
        r"|breakfast|work|school|meeting|party|bank|store|train|flight|game"
        r"|movie|class|minutes?|hours?"
        r"|days?|seconds?|complexity|english|spanish|french|python|java|food|me to|us to)\b",
        name.lower(),
    )


def _difference(words: Sequence[Word]) -> tuple[Intent, ...]:
    found = _resolve_containers(words, places_in(words))
    rest = [words[index].text for index in _without(words, found)]
    extra = [word for word in rest if word not in lexicon.words("time_words") | _DIFFERENCE_WORDS]
    if extra or not found or len(found) > 2:  # noqa: PLR2004  # a difference has two ends
        return ()
    told = tuple(_tell(item.place, "difference") for item in found)
    asked = [intent for intent in told if isinstance(intent, AskBack)]
    if asked:
        return (asked[0],)
    return told if len(told) == 2 else (TellTime(wants="difference"), *told)  # noqa: PLR2004  # as above


# --- conversion of a given moment
_ISO = r"\d{4}-\d\d-\d\d(?:[t ]\d{1,2}:\d\d(?::\d\d(?:\.\d+)?)?(?: ?(?:z|[+-]\d\d:?\d\d))?)?"
_CLOCK = (
    r"\d{1,2}(?::\d\d)?(?::\d\d)? ?(?:a\.?m\.?|p\.?m\.?)"
    r"|\d{1,2}:\d\d(?::\d\d)?|noon|midnight|\d{1,2} o'clock"
)
_UNIX = r"\d{9,13}"
_MOMENT = re.compile(
    rf"(?P<iso>{_ISO})|(?P<unix>\b{_UNIX}\b)|(?P<clock>\b(?:{_CLOCK}))(?=\W|$)", re.IGNORECASE
)
_CONVERT_WORDS = frozenset(
    [
        "convert",
        "conversion",
        "format",
        "change",
        "turn",
        "translate",
        "show",
        "express",
        "write",
        "print",
        "unix",
        "timestamp",
        "epoch",
        "stamp",
        "date",
        "datetime",
        "into",
        "to",
        "in",
        "from",
        "time",
        "what",
        "what's",
        "is",
        "it",
        "would",
        "be",
        "when",
        "at",
        "the",
        "of",
        "for",
        "a",
        ",",
        "?",
        ".",
        ":",
        "there",
        "local",
        "as",
        "readable",
        "human",
        "utc",
        "gmt",
        "if",
        "it's",
        "its",
        "now",
        "o'clock",
        "does",
        "do",
        "that",
        "and",
        "then",
        "seconds",
        "using",
        "moment",
        "on",
        "zone",
        "timezone",
        "will",
        "was",
        "correspond",
        "equal",
        "equals",
        "represent",
        "tell",
        "me",
        "give",
        "iso",
        "day",
        "which",
        "today",
        "mean",
        "here",
        "'",
        '"',
        "-",
        "my",
        "value",
        "code",
        "get",
        "corresponding",
        "give",
        "pattern",
        "with",
        "like",
        "style",
        "strftime",
        "people",
    ]
)
_FORM = re.compile(
    r"(?:as|with|using|like|in|to|format|pattern)?:? "
    r"?[\"'`]?(?P<form>%[a-zA-Z%:/ .,\-]*%?[a-zA-Z])[\"'`]?"
)


def read_conversion(words: Sequence[Word], today: dt.date) -> tuple[Intent, ...]:
    """Read a moment that is to be shown in another zone or form."""
    raw = " ".join(word.raw for word in words)
    moment = _MOMENT.search(raw)
    if moment is None:
        return ()
    form = _FORM.search(raw)
    text = text_of(words)
    rest = raw[: moment.start()] + " § " + raw[moment.end() :]
    if form is not None:
        rest = rest.replace(form[0], " ")
    rest_words = [Word(part, part.lower()) for part in re.sub(r"([,?:])", r" \1 ", rest).split()]
    found = _resolve_containers(rest_words, places_in(rest_words))
    left = {rest_words[index].text.strip("\"'?.") for index in _without(rest_words, found)}
    if left - _CONVERT_WORDS - {"§", ""}:
        return ()
    if moment["unix"] is None and not found and form is None:
        return ()
    if moment["unix"] and not re.search(r"unix|epoch|timestamp|stamp|date|time|convert", text):
        return ()
    return _conversion(moment, found, rest_words, form["form"] if form else None, today)


def _conversion(
    moment: re.Match[str],
    found: Sequence[Found],
    words: Sequence[Word],
    form: str | None,
    today: dt.date,
) -> tuple[Intent, ...]:
    vague = next((item.place for item in found if isinstance(item.place, VaguePlace)), None)
    if vague is not None:
        return (_tell(vague),)
    places = [item for item in found if isinstance(item.place, Place)]
    source, target = _ends(words, places)
    has_own_zone = moment["unix"] is not None or bool(
        re.search(r"(?:z|[+-]\d\d:?\d\d)$", moment[0], re.IGNORECASE) and "t" in moment[0].lower()
    )
    if has_own_zone and source is not None and target is None:
        source, target = None, source
    if moment["clock"] and (source is None or target is None) and form is None:
        if target is None and source is None:
            return ()
        if source is None and not re.search(r"\b(?:to|into)\b", text_of(words)):
            return (AskBack("From which zone or city to which shall I convert that time?"),)
    return (
        ConvertTime(
            time=_iso(moment, today),
            zone=target.zone if target else None,
            from_zone=source.zone if source else None,
            form=form,
            place=target.name if target else None,
        ),
    )


def _ends(words: Sequence[Word], places: Sequence[Found]) -> tuple[Place | None, Place | None]:
    """Tell the place that the moment is in from the place that is asked for."""
    source: Place | None = None
    target: Place | None = None
    moment = next(index for index, word in enumerate(words) if word.text == "§")
    for item in places[:2]:
        assert isinstance(item.place, Place)  # noqa: S101  # filtered by the caller
        before = words[item.start - 1].text if item.start else ""
        is_target = before in {"to", "into", "as"} or (source is not None)
        if not is_target and len(places) == 2 and item is places[0] and item.start < moment:  # noqa: PLR2004  # two ends
            text = text_of(words[item.stop : moment])
            is_target = bool(re.search(r"\b(?:when|if|from)\b", text))
        if is_target and target is None:
            target = item.place
        else:
            source = item.place
    return source, target


def _iso(moment: re.Match[str], today: dt.date) -> str:
    if moment["unix"]:
        return moment["unix"]
    if moment["iso"]:
        text = moment["iso"].strip()
        return (
            re.sub(r"^(\d{4}-\d\d-\d\d) (?=\d)", r"\1T", text).replace("t", "T").replace("z", "Z")
        )
    return f"{today.isoformat()}T{clock_time(moment['clock'])}"


def clock_time(text: str) -> str:
    """Turn `3pm`, `9:30 am`, `noon` into `15:00`, `09:30`, `12:00`."""
    text = text.lower().replace(".", "").strip()
    if text in {"noon", "midnight"}:
        return "12:00" if text == "noon" else "00:00"
    match = re.match(r"(\d{1,2})(?::(\d\d))?(?::\d\d)? ?(am|pm)?", text)
    if match is None:
        return "00:00"
    hour = int(match[1])
    if match[3]:
        hour = hour % 12 + (12 if match[3] == "pm" else 0)
    return f"{hour:02d}:{match[2] or '00'}"
