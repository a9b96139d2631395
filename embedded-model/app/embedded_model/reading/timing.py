"""Questions after the time: here, in a zone, in a city; and moments to convert."""

import re
from collections.abc import Sequence

from embedded_model import lexicon
from embedded_model.intents import AskBack, Intent, TellTime, Wants
from embedded_model.places import (
    Place,
    VaguePlace,
    guess_place,
    looks_like_offset,
)
from embedded_model.reading.place_names import (
    PREPOSITIONS,
    Found,
    places_in,
    resolve_containers,
    words_without,
)
from embedded_model.wording import Word, text_of

_ANCHORS = frozenset({"time", "clock", "hour", "o'clock", "date", "time's", "timestamp"})
_JOINS = frozenset({",", "and", "&", "or", "vs", "versus", "/"})
_TIMES = re.compile(
    r"\b(?:local|current|what|show|give me) (?:the )?times\b|\btimes (?:in|for|at)\b"
)
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


# "Is it past noon yet?", "is it night in Sydney?": the clock answers.
_DAYTIME = (
    r"(?:noon|midnight|midday|morning|afternoon|evening|night|night ?time|day ?time|dawn|late|early"
    r"|dark|tomorrow|lunch ?time|am|pm)"
)
_PHASE = re.compile(
    rf"(?:is|do we have) (?:it )?(?:already |still |now |yet |even )*(?:the )?"
    rf"(?:(?:past|after|before|near|close to) )?(?:too )?{_DAYTIME}(?: or (?:the )?{_DAYTIME})?"
    r"(?: (?:there|here|yet|already|now|right now|today|over there|in|at))*"
)
# Whom a time is wanted for does not matter where a place follows: "for my friend in Seoul".
_FOR_WHOM = re.compile(
    r"^(?:for|to) (?:(?:my|our|a|the|some|any|his|her|their) \w+(?: \w+)?"
    r"|someone|somebody|people|folks|anyone|everyone|users|those|them|him|her|me|us|you)"
    r"(?: (?:living|based|who lives?|who live|staying|working|over|out|down|up|that lives?))?$"
)
_MAX_WHOM = 6


def _without_whom(words: Sequence[Word]) -> Sequence[Word]:
    """Drop "for my friend" in front of "in Seoul"."""
    texts = [word.text for word in words]
    for start, text in enumerate(texts):
        if text not in {"for", "to"}:
            continue
        for stop in range(start + 2, min(start + _MAX_WHOM, len(texts) - 1) + 1):
            if texts[stop] in {"in", "at"} and _FOR_WHOM.match(" ".join(texts[start:stop])):
                return (*words[:start], *words[stop:])
    return words


def _without_capital(words: Sequence[Word]) -> Sequence[Word]:
    """Drop "the capital of" in front of a country: where that has one zone, it is the capital's."""
    texts = [word.text for word in words]
    for start in range(len(texts) - 3):
        is_of = texts[start + 1 : start + 3] == ["capital", "of"]
        if texts[start] == "the" and is_of and places_in(words[start + 3 :]):
            return (*words[:start], *words[start + 3 :])
    return words


def read_time(words: Sequence[Word]) -> tuple[Intent, ...]:
    """Read a question after the time now; empty when it is none."""
    words = _without_capital(_without_whom(words))
    if _DIFFERENCE.search(text_of(words)):
        return _difference(words)
    return _read_clock(words, text_of(words))


def _read_clock(words: Sequence[Word], text: str) -> tuple[Intent, ...]:
    found = places_in(words)
    rest = words_without(words, found)
    unknown = [index for index in rest if words[index].text not in lexicon.words("time_words")]
    bag = {words[index].text for index in rest} | _named_anchors(words, found)
    bag |= {"time"} if _TIMES.search(text) else set()
    if _is_doubled(words, rest):
        return ()
    if _PHASE.fullmatch(" ".join(words[index].text for index in rest).strip(" ?!.,")):
        return _told(words, found, "phase") or (TellTime(wants="phase"),)
    if not _is_time_question(words, bag, found, rest):
        return ()
    wants: Wants = "day" if _DAY_QUESTION.search(text) and "time" not in bag else "time"
    if unknown:
        return _guessed(words, unknown, found, wants)
    if found:
        return _here(words, rest, wants) + _told(words, found, wants)
    return (TellTime(wants=wants),)


def read_bare_places(words: Sequence[Word]) -> tuple[Intent, ...]:
    """Read a message that is nothing but places: an offset means its time, a city may mean it."""
    found = places_in(words)
    rest = {words[index].text for index in words_without(words, found)}
    if not found or rest - _JOINS - {"?", "!", ".", "-", "now"}:
        return ()
    told = _told(words, found, "time")
    if all(looks_like_offset(words[item.start].raw) for item in found):
        return told
    if not all(isinstance(intent, TellTime) for intent in told):
        return ()
    names = " and ".join(item.place.name for item in found)
    return (AskBack(f"Do you want to know the time in {names}? Say yes, and I look.", told),)


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
    is_compared = {"compare", "with", "to", "versus", "vs", "against"} & {
        words[index].text for index in rest
    }
    return len(times) > 1 and not is_compared


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
        } or bool(found)
    if {"day", "weekday"} & bag and (bag & {"what", "which", "what's"}):
        return "today" in bag or "it" in bag
    if {"year", "month"} & bag and {"what", "which"} & bag:
        asked = ({"is", "it"}, {"is", "this"}, {"are", "we", "in"}, {"current"})
        return any(words <= bag for words in asked)
    if re.fullmatch(
        r"(?:what|what's|what is) today|how late is it(?: now)?(?: over)?(?: in)?"
        r"(?: right now| at the moment| currently)?",
        text,
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
    return tuple(_tell(item.place, wants) for item in resolve_containers(words, found))


def _tell(place: Place | VaguePlace, wants: Wants = "time") -> Intent:
    if isinstance(place, VaguePlace):
        return AskBack(f"{place.name} has more than one time zone. Which city or zone do you mean?")
    return TellTime(place.zone, place.name, wants)


def tell_place(place: Place | VaguePlace, wants: Wants = "time") -> Intent:
    """Return what to do for the time in a place: tell it, or ask which zone."""
    return _tell(place, wants)


def _guessed(
    words: Sequence[Word], unknown: Sequence[int], found: Sequence[Found], wants: Wants
) -> tuple[Intent, ...]:
    """Read the words that nothing explains as a name with a typing error, or ask."""
    start, stop = unknown[0], unknown[-1] + 1
    is_run = stop - start == len(unknown) <= _MAX_UNKNOWN_WORDS
    before = words[start - 1].text if start else ""
    if start > 1 and before in {"the", "city"}:
        before = words[start - 2].text if before == "the" else "in"
    is_due = before in PREPOSITIONS or (found and before in _JOINS)
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
    found = resolve_containers(words, places_in(words))
    rest = [words[index].text for index in words_without(words, found)]
    extra = [word for word in rest if word not in lexicon.words("time_words") | _DIFFERENCE_WORDS]
    if extra or not found or len(found) > 2:  # noqa: PLR2004  # a difference has two ends
        return ()
    told = tuple(_tell(item.place, "difference") for item in found)
    asked = [intent for intent in told if isinstance(intent, AskBack)]
    if asked:
        return (asked[0],)
    return told if len(told) == 2 else (TellTime(wants="difference"), *told)  # noqa: PLR2004  # as above
