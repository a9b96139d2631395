"""Given moments that are to be shown in another zone or form: "3pm London in Tokyo"."""

import datetime as dt
import re
from collections.abc import Sequence

from embedded_model.intents import AskBack, ConvertTime, Intent
from embedded_model.places import Place, VaguePlace
from embedded_model.reading.timing import (
    Found,
    places_in,
    resolve_containers,
    tell_place,
    words_without,
)
from embedded_model.wording import Word, text_of

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
    rest_words = [Word(part, part.lower()) for part in re.sub(r"([,?:])", r" \1 ", rest).split()]
    found = resolve_containers(rest_words, places_in(rest_words))
    left = {rest_words[index].text.strip("\"'?.") for index in words_without(rest_words, found)}
    if left - _CONVERT_WORDS - {"§", ""}:
        return ()
    if moment["unix"] is None and not found and form is None:
        return ()
    if moment["unix"] and not re.search(r"unix|epoch|timestamp|stamp|date|time|convert", text):
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
