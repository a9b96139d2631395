"""Follow-ups: "and in Tokyo?", "now with 20", "run it again", "times 2", "yes"."""

import re
from collections.abc import Callable, Sequence
from dataclasses import replace

from embedded_model import lexicon
from embedded_model.intents import (
    AskBack,
    Calculate,
    ConvertTime,
    Draw,
    Install,
    Intent,
    ListPackages,
    Refuse,
    RunCode,
    TellTime,
)
from embedded_model.places import find_place, guess_place
from embedded_model.reading.code_changes import INSTEAD, VALUE, changed_code
from embedded_model.reading.context import Context
from embedded_model.reading.date_questions import read_date_question
from embedded_model.reading.dates import DATE
from embedded_model.reading.numerals import digitised
from embedded_model.reading.packages import read_package_answer, read_packages
from embedded_model.reading.place_names import places_in
from embedded_model.reading.plots import read_plot
from embedded_model.reading.sum_templates import formula_of
from embedded_model.reading.sums import calculation, read_sum, substitute, tidy
from embedded_model.reading.timing import tell_place
from embedded_model.wording import Word, text_of, words_of

_REPEAT = re.compile(
    r"^(?:(?:run|do|execute|repeat|try|say|show|tell|print|give|calculate"
    r"|compute|check|rerun|re-run|redo|plot|draw)(?: me| us)?)?"
    r"(?: ?(?:it|that|this|them|everything|the same|same|the same thing"
    r"|same thing|the last one|the last thing|the last command|the (?:last "
    r"|same |previous )?(?:code|script|snippet|calculation|command|request)"
    r"|my (?:last |same |previous )?(?:code|script|snippet)|that code|this "
    r"code|what you did|the time|last|previous))*"
    r"(?: ?(?:once|one|again|over|more|time|once again|another time|a second time|please|twice))*$"
)
_REPEAT_SIGN = re.compile(
    r"\b(?:again|repeat|rerun|re-run|redo|once more|one more time|another "
    r"time|same thing|a second time|last command|do the same|over)\b"
)
_DEICTIC_RUN = re.compile(
    r"^(?:run|execute|try|test)(?: it| that| this| the code| my code| the "
    r"script| the snippet| the above| that code| this code)(?: now| then| "
    r"please)*$"
)
_LEAD = re.compile(
    r"^(?:(?:and|now|then|also|so|ok|but|or|what about|what if|what is it"
    r"|how about|what's with|with|same|the same|do the same|do it|do that"
    r"|do this|do|try|try it|try that|use|for|again|same thing|the same "
    r"thing|it|that|this|change it to|change that to|make it|make that"
    r"|instead|rather|just|plus|calculate|compute|tell me|give me|show me"
    r"|what is|what's|is|run it|run that|repeat|repeat it|rerun|plot|draw"
    r"|if it was|if it were|when it is)\b[ ,]*)+"
)
_NUMBER = re.compile(r"(?<![\w.])-?\d[\d,]*(?:\.\d+)?(?!\w*[-:/]\d)(?:\s?(?:%|percent))?")
_MAX_WORDS = 12
Reread = Callable[[str], tuple[Intent, ...]]


def read_follow_up(words: Sequence[Word], context: Context) -> tuple[Intent, ...]:
    """Read a fragment that only what went before explains; empty when nothing does."""
    text = text_of(words).strip(" ?!.,:;")
    if not text or len(words) > _MAX_WORDS:
        return ()
    return (
        _reply(text, context)
        or _again(text, context)
        or _deictic(text, context)
        or _continued(text, context)
        or _varied(words, text, context)
    )


def _reply(text: str, context: Context) -> tuple[Intent, ...]:
    if not context.pending:
        return ()
    if text in lexicon.section_phrases("follow_up_words", "yes"):
        return context.pending
    is_no = text in lexicon.section_phrases("follow_up_words", "no")
    return (Refuse("All right, I leave it."),) if is_no else ()


def _again(text: str, context: Context) -> tuple[Intent, ...]:
    text = re.sub(r"^(?:and |now |ok |please |can you |could you )+", "", text).removesuffix(
        " please"
    )
    if not _REPEAT_SIGN.search(text) or not _REPEAT.match(text):
        return ()
    if re.search(r"\b(?:code|script|snippet)\b", text) and context.code is not None:
        return (context.code,)
    if not context.last_turn:
        return (AskBack("There is nothing yet that I could do again. What shall I run?"),)
    return context.last_turn


def _deictic(text: str, context: Context) -> tuple[Intent, ...]:
    if _DEICTIC_RUN.match(text) and context.code is not None:
        return (context.code,)
    match = re.match(
        r"^(?:please |ok |then |so |yes |yes , )*(?:pip )?(?:install|add|get) "
        r"(?:it|that|this|them|those|both)(?: then| please| now| too)*$",
        text,
    )
    last = context.last
    if match and last is not None:
        asked = [
            name
            for intent in last.intents
            if isinstance(intent, ListPackages)
            for name in intent.asked
        ]
        return tuple(Install(name) for name in asked)
    return ()


# --- the result of the last sum goes on
_OPERATOR_LED = re.compile(
    r"^(?:times|multiplied|divided|plus|minus|to the|squared|cubed|mod"
    r"|modulo|\+|-|\*|/|\^|\*\*|raised|over)\b|^[-+*/^%]"
)
_ON_THAT = re.compile(
    r"\b(?:that|itself|it|this|the result|the answer|the total|that number|the "
    r"last result|the previous result|result|ans)\b"
)
_BARE_VERB = re.compile(
    r"^(?P<verb>add|subtract|take away|multiply by|divide by|multiply it by"
    r"|divide it by|raise to) (?P<rest>.+)$"
)


def _continued(text: str, context: Context) -> tuple[Intent, ...]:
    last = context.last
    sums = [intent for intent in last.intents if isinstance(intent, Calculate)] if last else []
    formula = sums[-1].formula if sums else None
    if formula is None:
        return ()
    text = re.sub(
        r"^(?:and|now|then|also|ok|so|what is|what's|what about|how about"
        r"|calculate|take|what|but|please|next|and then)\s+(?=\S)",
        "",
        text,
    )
    text = re.sub(r"^(?:and|now|then|also|what is|what's)\s+(?=\S)", "", text)
    for sentence in _sentences(tidy(text)):
        found = formula_of(sentence, variable="that")
        if found is not None and "that" in sentence:
            return (calculation(substitute(found, "that", formula)),)
    return ()


def _sentences(text: str) -> tuple[str, ...]:
    if _OPERATOR_LED.match(text):
        return (f"that {text}",)
    if match := _BARE_VERB.match(text):
        whole = {"add": "that + {}", "subtract": "that - {}", "take away": "that - {}"}
        sign = "**" if "raise" in match["verb"] else "*" if "multiply" in match["verb"] else "/"
        form = whole.get(match["verb"], f"that {sign} {{}}")
        if not re.search(r"\b(?:to|and|from|with)\b", match["rest"]):
            return (form.format(match["rest"]),)
    named = _ON_THAT.sub("that", text)
    return (named, named.replace("that 's", "that")) if "that" in named else ()


# --- the same again with something else in it
def _varied(  # noqa: C901  # one case a kind
    words: Sequence[Word], text: str, context: Context
) -> tuple[Intent, ...]:
    last = context.last
    if context.awaited == "package" and (answered := read_package_answer(words)):
        return answered
    if last is None:
        return _awaited_place(text, words, context)
    lead = _LEAD.match(text)
    fragment = text[lead.end() :].strip(" ,") if lead else text
    is_led = lead is not None and bool(lead[0].strip())
    found = _awaited_place(text, words, context)
    if found:
        return found
    for intent in reversed(last.intents):
        match intent:
            case TellTime() | ConvertTime():
                varied = _elsewhere(words, intent)
            case Calculate():
                varied = _other_sum(
                    intent.source or last.text, fragment, is_led=is_led or text != fragment
                )
            case RunCode():
                varied = changed_code(intent, fragment, is_led=is_led)
            case Draw():
                varied = _other_plot(intent.source or last.text, fragment, is_led=is_led)
            case Install():
                varied = _other_package(fragment, is_led=is_led)
            case ListPackages(asked=asked) if asked:
                named = _other_package(fragment, is_led=is_led)
                names = tuple(item.package for item in named if isinstance(item, Install))
                varied = (ListPackages(names),) if names else ()
            case _:
                varied = ()
        return varied
    return ()


_PLACE_LEAD = re.compile(
    r"^(?:(?:in|i mean|i meant|sorry|the|for|use|ok|make it|no|oh|it's|oops)\b[ ,]*)+"
)


def _awaited_place(text: str, words: Sequence[Word], context: Context) -> tuple[Intent, ...]:
    if context.awaited != "place":
        return ()
    name = _PLACE_LEAD.sub("", text)
    place = find_place(name) or guess_place(name)
    found = places_in(words)
    if place is None and len(found) == 1 and len(words) <= 4:  # noqa: PLR2004  # "the one in Texas"
        place = found[0].place
    return (tell_place(place),) if place is not None else ()


def _elsewhere(words: Sequence[Word], last: TellTime | ConvertTime) -> tuple[Intent, ...]:
    found = places_in(words)
    taken = {index for item in found for index in range(item.start, item.stop)}
    rest = [word for index, word in enumerate(words) if index not in taken]
    around = lexicon.section_words("follow_up_words", "around places")
    left = [word for word in rest if word.text not in around]
    if not found and [word.text for word in left] == ["here"] and isinstance(last, TellTime):
        return (TellTime(wants=last.wants),)
    if len(left) == 1 and not found and any(word.text in {"in", "about", "for"} for word in rest):
        name = left[0].raw
        guess = guess_place(name)
        if guess is not None:
            return (_moved(last, tell_place(guess)),)
        is_name = name[:1].isupper() or any(word.text == "in" for word in rest)
        return (
            (
                AskBack(
                    f"I do not know the place '{name}'. Which larger city or time zone do you mean?"
                ),
            )
            if is_name
            else ()
        )
    if left or not found:
        return ()
    return tuple(_moved(last, tell_place(item.place)) for item in found)


def _moved(last: TellTime | ConvertTime, there: Intent) -> Intent:
    if isinstance(last, ConvertTime) and isinstance(there, TellTime):
        return replace(last, zone=there.zone, place=there.place)
    if isinstance(last, TellTime) and isinstance(there, TellTime):
        return replace(there, wants=last.wants)
    return there


def _other_sum(asked: str, fragment: str, *, is_led: bool) -> tuple[Intent, ...]:
    source = digitised(asked)
    for text in _variants(source, digitised(fragment), is_led=is_led):
        if text == "?":
            return (AskBack("Which of the numbers shall I replace?"),)
        read = _reread_sum(text)
        if read is not None:
            return (replace(read, source=text),)
    return ()


def _reread_sum(text: str) -> Calculate | None:
    text = re.sub(
        r"^(?:(?:what|how much|how many)(?: is|'s| are)?|what's|calculate"
        r"|compute|tell me|evaluate|please|and|is|give me|show me) (?=.)",
        "",
        text,
    )
    found = read_date_question(text) or read_sum(text) or read_date_question("how many " + text)
    if found is None:
        found = read_sum(re.sub(r"^(?:what is|what's|the)\s+", "", text))
    return found


def _variants(source: str, fragment: str, *, is_led: bool) -> list[str]:
    """Return the earlier question with the fragment put where it fits."""
    if match := INSTEAD.match(fragment):
        old, new = match["old"] or match["old2"], match["new"] or match["new2"]
        return [re.sub(rf"(?<![\w.]){re.escape(old)}(?![\w.])", new, source)]
    date = re.fullmatch(
        rf"(?:until |till |to |since |in |on |for |between |from |about )?({DATE})", fragment
    )
    if date is not None:
        return (
            [re.sub(DATE, date[1], source, count=1)] if len(re.findall(DATE, source)) == 1 else []
        )
    value = VALUE.match(fragment)
    if value is None or not (is_led or value["of"]):
        return []
    return _with_number(source, value)


def _with_number(source: str, value: re.Match[str]) -> list[str]:
    numbers = list(_NUMBER.finditer(source))
    number = value["value"]
    if value["percent"]:
        percents = [match for match in numbers if re.search(r"%|percent", match[0])]
        return [_spliced(source, percents[0], f"{number}%")] if len(percents) == 1 else []
    plain = [match for match in numbers if not re.search(r"%|percent", match[0])]
    if value["of"] == "of " and (
        after := [m for m in plain if source[: m.start()].endswith("of ")]
    ):
        return [_spliced(source, after[-1], number)]
    if len(plain) == 1:
        return [_spliced(source, plain[0], number)]
    return ["?"] if plain else []


def _spliced(source: str, match: re.Match[str], new: str) -> str:
    return source[: match.start()] + new + source[match.end() :]


_SPAN = re.compile(r"(?:from|between|over) .+|to \S+$")


def _other_plot(asked: str, fragment: str, *, is_led: bool) -> tuple[Intent, ...]:
    span = re.search(r"\b(?:for x |x )?(?:from|between|in|over) \S.*$", asked)
    if re.match(r"(?:from|between) ", fragment):
        text = (asked[: span.start()].strip() if span else asked) + " " + fragment
    elif is_led and (value := VALUE.match(digitised(fragment))) and span:
        text = re.sub(r"\S+$", value["value"], asked)
    elif is_led:
        has_range = re.search(r"\bfrom\b|\bbetween\b", fragment)
        text = f"plot {fragment} {span[0] if span and not has_range else ''}".strip()
    else:
        return ()
    plot = read_plot(text)
    return (replace(plot, source=text),) if isinstance(plot, Draw) else ()


def _other_package(fragment: str, *, is_led: bool) -> tuple[Intent, ...]:
    words = words_of("install " + fragment)
    found = read_packages(words)
    names = [intent for intent in found if isinstance(intent, Install)]
    if not is_led or len(names) != len(found) or not names:
        return ()
    known = lexicon.words("packages")
    return found if all(name.package in known or name.version for name in names) else ()
