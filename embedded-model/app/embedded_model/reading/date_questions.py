"""Questions about dates and spans of time, answered by code with datetime."""

import re
from dataclasses import replace

from embedded_model.intents import Calculate
from embedded_model.reading.clock_questions import read_clock_question
from embedded_model.reading.date_programs import count_of, difference, moved, operand, program
from embedded_model.reading.dates import (
    DATE,
    MONTH,
    MONTHS,
    WEEKDAYS,
    DateTerm,
    month_number,
    read_date,
)

_COUNT = (
    r"(?:\d+|an?|one|two|three|four|five|six|seven|eight|nine|ten|eleven"
    r"|twelve|[a-z]+ty(?:[- ][a-z]+)?|(?:a|one|two) hundred)"
)
_UNIT = r"(?:day|week|fortnight|month|year|hour|minute|second|weekday|business day)s?"
_PERSON = r"(?:i|he|she|they|you|we|someone|my \w+)"
_SPAN = rf"(?P<count>{_COUNT}) (?P<unit>{_UNIT})"
_HOW_MANY = (
    r"(?:(?:how many |number of |the number of |count (?:the "
    r")?)?(?P<unit>days?|weeks?|months?|years?|hours?|sleeps)|how "
    r"(?P<long>long|far))"
)
_IS = (
    r"(?:are there |is there |is it |there are |do we have |do i have |are "
    r"|is |away |left |remain |remaining |have passed |passed |has it been "
    r"|until )*"
)
_PATTERNS = tuple(
    (name, re.compile(pattern))
    for name, pattern in {
        "between": rf"{_HOW_MANY} {_IS}(?:lie |pass )?(?:between|from) (?P<first>{DATE}) "
        rf"(?:and|to|till|until) (?P<second>{DATE})",
        "until": rf"{_HOW_MANY} {_IS}(?:until|till|til|to|before)? ?(?:it's |it is "
        rf")?(?P<date>{DATE})",
        "left": rf"{_HOW_MANY} (?:(?:are|do we have|do i have|have we|is) )*(?:left|remaining"
        r"|remain|to go|still to go)(?: in| of| until the end of)? (?:this|the|the current) "
        r"(?P<of>year|month|week)",
        "since": rf"{_HOW_MANY} {_IS}(?:since|from|after) (?P<date>{DATE})(?: until today"
        r"| to today| until now)?",
        "weekday": r"(?:what|which|on what|on which)? ?(?:day of the week|weekday|week day"
        r"|day|dow) (?:of the week )?(?:is|was|will be|will|does|did|falls|fell"
        r"|it was on|for|of|on|is on|was on)? ?(?:it )?(?:on "
        rf")?(?P<date>{DATE})(?: be| fall on| fall| on)?",
        "weekday_of": r"(?:on )?(?:what|which) (?:day of the week|weekday|day) (?:does|did|is"
        rf"|was|will) (?P<date>{DATE}) (?:fall|fall on|on|be)",
        "born": r"(?:(?:on )?(?:what|which) (?:weekday|day of the week|day) "
        rf"(?:was|were) {_PERSON} born(?: on)? ?,? ?(?:(?:if|when) )?"
        rf"(?:{_PERSON} (?:was|were) born )?(?:on )?(?P<date>{DATE})"
        rf"|{_PERSON} (?:was|were) born (?:on )?(?P<first>{DATE}) ?,? ?"
        r"(?:so )?(?:on )?(?:what|which) (?:weekday|day of the week|day) (?:was|is) (?:it|that))",
        "offset": r"(?:(?:what|which) )?(?:(?:is |was |will be |s )?(?:the )?(?:date"
        r"|day)(?: of the week)? (?:is it |was it |will it be |is |was |will be "
        rf"|it is |be )?)?(?:in )?{_SPAN} (?P<way>from|after|before|later than"
        rf"|earlier than|prior to|past) (?P<date>{DATE})",
        "from_now": r"(?:(?:what|which) )?(?:(?:is |was |will be )?(?:the )?(?:date|day)(?: "
        r"of the week)? (?:is it |was it |will it be |is |was |will be |it is "
        rf"|be )?)?(?P<in>in )?{_SPAN}(?P<way> ago| back| earlier| from now| "
        r"later| hence| ahead| time| from today)?",
        "clock": r"(?:what |which )?(?:the )?time (?:will it be |would it be |is it |was "
        rf"it |will be |be )?(?P<in>in )?{_SPAN}(?P<way> ago| from now| later| "
        r"hence)?(?: be)?",
        "unix": r"(?:the )?(?:current |present )?(?:unix|epoch|posix)(?: epoch)?(?: "
        r"time ?stamp| time| timestamp)?(?: is it)?(?: now| right now)?",
        "add": rf"(?:add|adding) {_SPAN} to (?P<date>{DATE})",
        "subtract": rf"(?:subtract|take|remove|subtracting|take away) {_SPAN} (?:from|off) "
        rf"(?P<date>{DATE})",
        "sum": rf"(?:(?:the )?date )?(?P<date>{DATE}) (?P<sign>plus|minus|\+|-) {_SPAN}",
        "leap": r"(?:is|was|will)?(?: the)? ?(?:year )?(?P<year>\d{1,4}) (?:be )?(?:a )?leap ?year",
        "month": r"(?:how many |number of )?days (?:are there |are |does |has |there are "
        rf")?(?:in |has )?(?P<month>{MONTH})(?: (?:of )?(?P<year>\d{{4}}))?(?: "
        r"have)?",
        "year": r"(?:how many |number of )?days (?:are there |are |does |has |there are "
        r")?(?:in )?(?:the year )?(?P<year>\d{4})(?: have)?",
        "week": r"(?:what |which |the )?(?:calendar |iso )?week(?: number| of the year| "
        r"no)?(?: is it| are we in| is this| is today| is it today| is it "
        r"now)?(?: today| now| this week)?",
        "day_of_year": r"(?:what |which )?day (?:number|of the year)(?: is it| is today| is it "
        r"today| today)*",
        "date": r"(?:the |what )?(?:date|day|day of the week|weekday)?(?: of the "
        r"week)?(?: is it| was it| will it be)? ?(?:is|was|will be|of|on|for)? "
        r"?(?P<date>(?:the day after )?tomorrow(?:'s)?|(?:the day before "
        r")?yesterday(?:'s)?|next \w+day|this \w+day)(?: date| day| be| is it)?",
        "age": r"(?:how old|what age) (?:is|am|are|would be|will be|would) (?:someone"
        r"|somebody|a person|i|you|we|one|a man|a woman|he|she|they|it|who was"
        r"|who is|that|be|a|person|if|was|were|is|am|who|they're) ?.*?born "
        rf"(?:on |in )?(?P<date>{DATE})(?: today| now)?",
        "is_day": r"(?:is it|is today|is today's day|is the day|is it a|is today a)(?: today)? "
        r"(?:already |still |now |really )?(?:a )?"
        r"(?P<day>(?:mon|tues|wednes|thurs|fri|satur|sun)day"
        rf"|weekend|the weekend|weekday|{MONTH})(?: today| now| already| yet)?",
        "units": r"(?:how many |(?:the )?number of )?"
        r"(?P<small>seconds?|minutes?|hours?|days?|weeks?|months?) "
        r"(?:are there |are |does |has |there are |make |is )?(?:in"
        rf"|make|per) (?P<count>{_COUNT}) (?P<big>minute|hour|day|week|year|leap "
        r"year|month|decade|century)s?(?: have)?",
    }.items()
)
_SECONDS = {
    "second": 1, "minute": 60, "hour": 3600, "day": 86400, "week": 604800,
    "year": 31536000, "leap year": 31622400, "decade": 315360000, "century": 3153600000,
}  # fmt: skip


def read_date_question(text: str) -> Calculate | None:
    """Read a question about dates that takes the whole text."""
    text = re.sub(r" (?=[,.?!]( |$))", "", text).strip(" .?!,")
    text = re.sub(r"^(?:the )?(?:what's|what is|what was|what will be) (?:the )?", "", text)
    text = re.sub(
        r"^(?:can you )?(?:tell me |calculate |compute |find |give me |show me )+(?:the )?",
        "",
        text,
    )
    if (clock := read_clock_question(text)) is not None:
        return clock
    for name, pattern in _PATTERNS:
        match = pattern.fullmatch(text)
        if match is not None:
            question = _ANSWERS[name](match.groupdict(), text)
            if question is not None:
                return question
    return None


Groups = dict[str, str | None]


def _between(groups: Groups, _: str) -> Calculate | None:
    first, second = read_date(groups["first"] or ""), read_date(groups["second"] or "")
    if first is None or second is None:
        return None
    unit = groups["unit"] or "days"
    label = f"The number of {unit.rstrip('s')}s between {first.label} and {second.label}"
    return difference(first, second, groups["unit"], label)


_TODAY = DateTerm("date.today()", "today")


def _until(groups: Groups, _: str) -> Calculate | None:
    term = read_date(groups["date"] or "")
    if term is None or term.label == "today":
        return None
    unit = (groups["unit"] or "days").rstrip("s")
    unit = "day" if unit == "sleep" else unit
    return difference(_TODAY, term, unit, f"The number of {unit}s until {term.label}")


def _left(groups: Groups, _: str) -> Calculate | None:
    of, unit = groups["of"] or "", (groups["unit"] or "days").rstrip("s")
    ends = {
        "year": "date(today.year, 12, 31)",
        "month": "date(today.year, today.month, calendar.monthrange(today.year, today.month)[1])",
        "week": "today + timedelta(days=6 - today.weekday())",
    }
    if unit not in {"day", "week"}:
        return None
    days = f"({operand(ends[of])} - today).days"
    count = days if unit == "day" else f"{days} / 7"
    setup = "today = date.today()\n"
    return program(count, f"The number of {unit}s left this {of}", setup=setup)


def _born(groups: Groups, _: str) -> Calculate | None:
    term = read_date(groups["date"] or groups["first"] or "")
    if term is None or term.is_feast:
        return None
    return program(f'{term.python}.strftime("%A")', f"The weekday of {term.label}")


def _since(groups: Groups, _: str) -> Calculate | None:
    term = read_date(groups["date"] or "")
    if term is None or term.is_feast:
        return None
    unit = (groups["unit"] or "days").rstrip("s")
    return difference(term, _TODAY, unit, f"The number of {unit}s since {term.label}")


def _weekday_question(groups: Groups, _: str) -> Calculate | None:
    term = read_date(groups["date"] or "")
    if term is None:
        return None
    if term.label in {"today", "now"}:
        return None
    if term.label in {"tomorrow", "yesterday"} or "day " in term.label:
        return _relative_day(term)
    return program(f'{operand(term.python)}.strftime("%A")', f"The weekday of {term.label}")


def _relative_day(term: DateTerm) -> Calculate:
    return program(f'({term.python}).strftime("%A %Y-%m-%d")', term.label.capitalize())


def _offset(groups: Groups, _: str) -> Calculate | None:
    term = read_date(groups["date"] or "")
    sign = "-" if groups["way"] in {"before", "earlier than", "prior to"} else "+"
    return _moved_question(term, groups, sign)


def _moved_question(term: DateTerm | None, groups: Groups, sign: str) -> Calculate | None:
    if term is None:
        return None
    count, unit = count_of(groups["count"]), groups["unit"] or "days"
    python = moved(term.python, count, unit, sign)
    if python is None:
        return None
    noun = unit.rstrip("s") + ("" if count == 1 else "s")
    way = "before" if sign == "-" else "after"
    label = f"{count} {noun} {way} {term.label}"
    if term is _TODAY:
        label = f"{count} {noun} ago" if sign == "-" else f"{count} {noun} from today"
    return program(python, label)


def _from_now(groups: Groups, text: str) -> Calculate | None:
    way = (groups["way"] or "").strip()
    if not way and not groups["in"]:
        return None
    if groups["in"] and not way and not re.match(r"(?:what|which|the|is|was|date|day)", text):
        return None
    sign = "-" if way in {"ago", "back", "earlier"} else "+"
    return _moved_question(_TODAY, groups, sign)


def _clock(groups: Groups, _: str) -> Calculate | None:
    way, unit = (groups["way"] or "").strip(), (groups["unit"] or "").rstrip("s")
    if unit not in {"hour", "minute", "second", "day", "week"} or not (way or groups["in"]):
        return None
    sign, count = "-" if way == "ago" else "+", count_of(groups["count"])
    code = (
        "from datetime import datetime, timedelta, timezone\n"
        f"moment = datetime.now(timezone.utc) {sign} timedelta({unit}s={count})\n"
        'print(f"{moment:%Y-%m-%d %H:%M} UTC")'
    )
    noun = unit if count == 1 else unit + "s"
    return Calculate(code, f"The time {count} {noun} {'ago' if sign == '-' else 'from now'}")


def _unix(_: Groups, __: str) -> Calculate | None:
    return Calculate("import time\nprint(int(time.time()))", "The Unix time")


def _add(groups: Groups, _: str) -> Calculate | None:
    return _moved_question(read_date(groups["date"] or ""), groups, "+")


def _subtract(groups: Groups, _: str) -> Calculate | None:
    return _moved_question(read_date(groups["date"] or ""), groups, "-")


def _sum(groups: Groups, _: str) -> Calculate | None:
    sign = "-" if groups["sign"] in {"minus", "-"} else "+"
    return _moved_question(read_date(groups["date"] or ""), groups, sign)


def _leap(groups: Groups, _: str) -> Calculate | None:
    year = int(groups["year"] or 0)
    code = f"import calendar\nprint(calendar.isleap({year}))"
    return Calculate(
        code, f"{year}", yes=f"{year} is a leap year.", no=f"{year} is not a leap year."
    )


def _month_length(groups: Groups, _: str) -> Calculate | None:
    month = month_number((groups["month"] or "").rstrip("."))
    year = groups["year"] or "date.today().year"
    name = MONTHS[(month or 1) - 1].capitalize()
    label = f"The number of days in {name} {groups['year'] or ''}".rstrip()
    return program(f"calendar.monthrange({year}, {month})[1]", label)


def _year_length(groups: Groups, _: str) -> Calculate | None:
    year = int(groups["year"] or 0)
    code = f"import calendar\nprint(366 if calendar.isleap({year}) else 365)"
    return Calculate(code, f"The number of days in {year}")


def _week(_: Groups, text: str) -> Calculate | None:
    if "week" not in text or not re.search(r"what|which|number|week (?:is|of)", text):
        return None
    return program("date.today().isocalendar()[1]", "The week number")


def _day_of_year(_: Groups, __: str) -> Calculate | None:
    return program("date.today().timetuple().tm_yday", "The day of the year")


def _date(groups: Groups, _: str) -> Calculate | None:
    term = read_date((groups["date"] or "").removesuffix("'s"))
    return _relative_day(term) if term is not None else None


def _age(groups: Groups, _: str) -> Calculate | None:
    term = read_date(groups["date"] or "")
    if term is None or term.is_feast:
        return None
    setup = f"born, today = {term.python}, date.today()\n"
    expression = "today.year - born.year - ((today.month, today.day) < (born.month, born.day))"
    return program(expression, f"The age of someone born on {term.label} in years", setup=setup)


def _is_day(groups: Groups, _: str) -> Calculate | None:
    name = (groups["day"] or "").removeprefix("the ")
    if name in WEEKDAYS:
        test = f"date.today().weekday() == {WEEKDAYS.index(name)}"
    elif name in {"weekend", "weekday"}:
        test = f"date.today().weekday() {'>=' if name == 'weekend' else '<'} 5"
    else:
        test = f"date.today().month == {month_number(name)}"
    shown = {"weekend": "the weekend", "weekday": "a weekday"}.get(name, name.capitalize())
    question = program(test, shown)
    return replace(question, yes=f"Yes, it is {shown}.", no=f"No, it is not {shown}.")


def _units(groups: Groups, _: str) -> Calculate | None:
    small, big = (groups["small"] or "").rstrip("s"), groups["big"] or ""
    count = count_of(groups["count"])
    noun = big if count == 1 else ("centuries" if big == "century" else big + "s")
    label = f"The number of {small}s in {count} {noun}"
    if small == "month" and big in {"year", "decade", "century"}:
        return Calculate(
            f"print({count} * {12 * {'year': 1, 'decade': 10, 'century': 100}[big]})", label
        )
    if small not in _SECONDS or big not in _SECONDS or _SECONDS[big] <= _SECONDS[small]:
        return None
    quotient, rest = divmod(_SECONDS[big], _SECONDS[small])
    ratio = str(quotient) if not rest else f"{_SECONDS[big]} / {_SECONDS[small]}"
    return Calculate(f"print({count} * {ratio})", label)


_ANSWERS = {
    "between": _between, "until": _until, "since": _since, "left": _left, "born": _born,
    "weekday": _weekday_question,
    "weekday_of": _weekday_question, "offset": _offset, "from_now": _from_now,
    "clock": _clock, "unix": _unix, "add": _add,
    "subtract": _subtract, "sum": _sum, "leap": _leap, "month": _month_length,
    "year": _year_length, "week": _week, "day_of_year": _day_of_year, "date": _date, "age": _age,
    "units": _units, "is_day": _is_day,
}  # fmt: skip
