"""Given moments that are to be shown in another zone or form: "3pm London in Tokyo"."""

import datetime as dt
import re
from collections.abc import Sequence

from embedded_model.intents import AskBack, ConvertTime, Intent
from embedded_model.places import Place, VaguePlace
from embedded_model.reading.clock import CLOCK, clock_time
from embedded_model.reading.place_names import Found, places_in, resolve_containers, words_without
from embedded_model.reading.timing import tell_place
from embedded_model.wording import Word, text_of

_ISO = r"\d{4}-\d\d-\d\d(?:[t ]\d{1,2}:\d\d(?::\d\d(?:\.\d+)?)?(?: ?(?:z|[+-]\d\d:?\d\d))?)?"
_UNIX = r"\d{9,13}"
_MOMENT = re.compile(
    rf"(?P<iso>{_ISO})|(?P<unix>\b{_UNIX}\b)|(?P<clock>\b(?:{CLOCK}))(?=\W|$)", re.IGNORECASE
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
# What happens at the time that is asked for elsewhere: "my flight lands at 6:20 in Doha, …".
_EVENT_WORDS = frozenset(
    [
        *("flight", "plane", "train", "lands", "land", "landing", "arrives", "arrive", "departs"),
        *("leaves", "meeting", "call", "webinar", "starts", "start", "begins", "begin", "ends"),
        *("event", "game", "match", "show", "stream", "session", "class", "interview", "opens"),
        *("closes", "scheduled", "happens", "conference", "deadline", "live", "airs", "kickoff"),
        *("launch", "release", "broadcast", "appointment", "invite", "invites", "says", "i", "we"),
        *("us", "you", "them", "have", "has", "our", "your", "their", "an", "this", "by", "his"),
        *("her", "he", "she", "they", "are", "around", "about", "exactly", "us", "lunch", "party"),
    ]
)
_ASKS = re.compile(r"\b(?:what|what's|when|which|convert|how late)\b")
# Unquoted, a form ends with its last directive: "%d/%m in Europe/Paris" names a place as well.
_DIRECTIVE = r"%-?[a-zA-Z%]"
_FORM = re.compile(
    r"(?:as|with|using|like|in|to|format|pattern)?:? "
    r"?(?:(?P<quote>[\"'`])(?P<quoted>[^\"'`]*%[^\"'`]*)(?P=quote)"
    rf"|(?P<form>{_DIRECTIVE}(?:(?:[^\s%]{{0,4}}|[ ,:/.\-]{{1,3}}){_DIRECTIVE})*Z?))"
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
    rest = re.sub(r"\s*[-=]+>\s*|\s*\u2192\s*", " to ", rest)
    rest_words = [Word(part, part.lower()) for part in re.sub(r"([,?:])", r" \1 ", rest).split()]
    found = resolve_containers(rest_words, places_in(rest_words))
    left = {rest_words[index].text.strip("\"'?.") for index in words_without(rest_words, found)}
    told = left - _CONVERT_WORDS - {"§", ""}
    is_asked = len(found) > 1 and _ASKS.search(text) is not None
    if told and not (told <= _EVENT_WORDS and is_asked):
        return ()
    if moment["unix"] is None and not found and form is None:
        return ()
    is_named = re.search(r"unix|epoch|timestamp|stamp|date|time|convert", text) is not None
    if moment["unix"] and form is None and not is_named:
        return ()
    return _conversion(
        moment, found, rest_words, (form["form"] or form["quoted"]) if form else None, today
    )


def _conversion(
    moment: re.Match[str],
    found: Sequence[Found],
    words: Sequence[Word],
    form: str | None,
    today: dt.date,
) -> tuple[Intent, ...]:
    vague = next((item.place for item in found if isinstance(item.place, VaguePlace)), None)
    if vague is not None:
        return (tell_place(vague),)
    source, ends = _ends(words, found)
    targets: tuple[Place | None, ...] = ends
    has_own_zone = moment["unix"] is not None or bool(
        re.search(r"(?:z|[+-]\d\d:?\d\d)$", moment[0], re.IGNORECASE) and "t" in moment[0].lower()
    )
    if has_own_zone and source is not None and not targets:
        source, targets = None, (source,)
    if moment["clock"] and (source is None or not targets) and form is None:
        if source is None and not targets:
            return ()
        if source is None and not re.search(r"\b(?:to|into)\b", text_of(words)):
            return (AskBack("From which zone or city to which shall I convert that time?"),)
    time = _iso(moment, today)
    if time is None:
        return ()
    return tuple(
        ConvertTime(
            time=time,
            zone=target.zone if target else None,
            from_zone=source.zone if source else None,
            form=form,
            place=target.name if target else None,
        )
        for target in targets or (None,)
    )


def _ends(words: Sequence[Word], found: Sequence[Found]) -> tuple[Place | None, tuple[Place, ...]]:
    """Tell the place that the moment is in from the places that are asked for."""
    places = [(item, item.place) for item in found if isinstance(item.place, Place)]
    source: Place | None = None
    targets: list[Place] = []
    moment = next(index for index, word in enumerate(words) if word.text == "§")
    for index, (item, place) in enumerate(places):
        before = words[item.start - 1].text if item.start else ""
        goes_on = bool(targets) and before in {",", "and", "&", "or"}
        is_target = before in {"to", "into", "as"} or source is not None or goes_on
        if not is_target and len(places) > 1 and not index and item.start < moment:
            text = text_of(words[item.stop : moment])
            is_target = bool(re.search(r"\b(?:when|if|from)\b", text))
        if is_target:
            targets.append(place)
        else:
            source = place
    return source, tuple(targets)


def _iso(moment: re.Match[str], today: dt.date) -> str | None:
    if moment["unix"]:
        return moment["unix"]
    if moment["iso"]:
        text = moment["iso"].strip()
        return (
            re.sub(r"^(\d{4}-\d\d-\d\d) (?=\d)", r"\1T", text).replace("t", "T").replace("z", "Z")
        )
    time = clock_time(moment["clock"])
    return f"{today.isoformat()}T{time}" if time is not None else None
