"""Reading a message: cut into clauses so that as much as possible of it is understood.

Every grammar has to take the whole of a clause; of all ways to cut a message, the one with
the fewest words left over is taken (dynamic programming over the places where it may be cut).
"""

import datetime as dt
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from embedded_model.intents import (
    AskBack,
    Install,
    Intent,
    ListPackages,
    Refuse,
    RunCode,
    ShowStatus,
    SmallTalk,
    TellTime,
    is_action,
)
from embedded_model.places import Place
from embedded_model.reading.arithmetic import is_too_long
from embedded_model.reading.assembly import IMPERATIVE_CODE, assembled
from embedded_model.reading.clauses import (
    CLOSERS,
    Atom,
    asked_parts,
    atoms_of,
    joined,
    without_courtesy,
)
from embedded_model.reading.code_requests import (
    is_deictic,
    marks_in,
    read_code_clause,
)
from embedded_model.reading.code_text import Code, MarkedText, find_code, mark
from embedded_model.reading.context import Context, Done
from embedded_model.reading.conversion import read_conversion
from embedded_model.reading.date_questions import read_date_question
from embedded_model.reading.follow_up import read_follow_up
from embedded_model.reading.message import Clause, Message
from embedded_model.reading.packages import read_package_question, read_packages
from embedded_model.reading.place_names import places_in
from embedded_model.reading.plots import mentions_plot, read_plot
from embedded_model.reading.sums import read_sum
from embedded_model.reading.talk import read_talk
from embedded_model.reading.timing import read_bare_places, read_time
from embedded_model.wording import Word, raw_of, straighten, text_of, words_of

_MAX_ATOMS = 40
_MAX_JOINED = 9
_MAX_CHARACTERS = 20_000
UNREADABLE = (
    "That is too long or nested too deeply for me to read. Ask it in shorter parts, or put it "
    "as Python code between ``` fences, and I run it."
)
# What a cut costs: the cheapest one is the reading.
_READ, _FRAGMENT, _TALK, _UNKNOWN, _UNKNOWN_WORD = 1.0, 1.7, 1.2, 6.0, 0.4
_ASKING, _SWALLOWED = 1.5, 1.5

_NEGATED = re.compile(
    r"^(?:please |but |and |just |so |ok |no |actually )*(?:don't|do not"
    r"|dont|never|you shouldn't|you should not|without|stop|avoid|i don't "
    r"want you to|i do not want you to|there is no need to|no need to|you "
    r"must not|must not)\b"
)
_THERE = re.compile(
    r"\bwhat(?:'s)? (?:time|day|the time|date)\b.*\b(?:there|for (?:her|him"
    r"|them)|over there)(?: now| right now| then)?$"
    r"|\bwhat(?:'s| is) (?:his|her|their) (?:local |current )?time(?: now| right now)?$"
)
_AFTER = re.compile(
    r"^(?P<second>.+?) (?:after|once you have|after you|when you have|once "
    r"you) (?P<verb>installing|running|executing|listing|calculating"
    r"|checking|install|installed|run|printing|telling)\b (?P<first>.+)$"
)
_GERUNDS = {
    "installing": "install", "installed": "install", "running": "run", "executing": "execute",
    "listing": "list",
    "calculating": "calculate", "checking": "check", "printing": "print", "telling": "tell",
}  # fmt: skip
_VAGUE_INSTALL = re.compile(
    r"^(?:pip )?install (?:it|this|that|them|those|something|anything|(?:a"
    r"|the|some|my) (?:new )?(?:library|package|module|libraries|packages"
    r"|modules)\b.*)$"
)
_VAGUE_CODE = re.compile(
    r"^(?:run|execute|try|test|evaluate) (?:some|any|a|an|a piece of|a bit of|my|our|one) "
    r"(?:of my )?(?:python |own |little |small |short )*"
    r"(?:code|script|program|snippet|command|file)s?$"
)
# "What's 2+2!" is said with zeal, no factorial; "what is 5!" and "3! + 4!" are none of these.
_ZEAL = re.compile(r"[\d)]!+(?=\s*$|\s+[A-Za-z])")
_ASKED_SUM = re.compile(
    r"(?i)\b(?:what(?:'?s| is| are| does)?|how much(?: is)?)\b.*"
    r"(?:[-+*/^]|\b(?:plus|minus|times|divided|multiplied|added|over|power|factorial)\b)"
)
_MAX_ASKED = 200


@dataclass(frozen=True, slots=True)
class Reading:
    """What a message asks for, and the context that it leaves."""

    intents: tuple[Intent, ...]
    context: Context


@dataclass(frozen=True, slots=True)
class _Path:
    cost: float = 0.0
    clauses: tuple[Clause, ...] = ()
    context: Context = field(default_factory=Context)


def read_message(text: str, context: Context, today: dt.date) -> Reading:
    """Read one message of a person."""
    marked = find_code(text)
    if len(marked.prose) > _MAX_CHARACTERS or _is_endless_sum(marked.prose):
        return Reading((Refuse(UNREADABLE),), context)
    if context.awaited == "code" and not marked.codes and read_sum(straighten(text).lower()):
        marked = MarkedText(mark(0), (Code(text.strip()),))
    prose = _without_zeal(straighten(marked.prose))
    words = words_of(re.sub(r"\n+", " ; ", prose))
    message = Message(words, marked.codes, today)
    atoms = _atoms(words)
    if len(atoms) > _MAX_ATOMS:  # half of a message is not what was asked for
        return Reading((Refuse(UNREADABLE),), context)
    clauses = _best_clauses(atoms, message, context)
    intents = assembled(clauses, message)
    after = context
    for clause in clauses:
        after = after.with_clause(Done(text_of(without_courtesy(clause.words)), clause.intents))
    seen = tuple(code.text for code in marked.codes if code.is_python)
    return Reading(intents, after.with_turn(intents, seen))


def _without_zeal(prose: str) -> str:
    """Part the exclamation mark from the sum of a question, where it is no factorial."""

    def parted(match: re.Match[str]) -> str:
        before = prose[max(0, match.start() - _MAX_ASKED) : match.start()]
        sentence = re.split(r"[!?;§]", before)[-1]
        return f"{match[0][0]} !" if _ASKED_SUM.search(sentence) else match[0]

    return _ZEAL.sub(parted, prose)


def _is_endless_sum(prose: str) -> bool:
    """Say whether the message is one sum of more terms than the grammar of sums reads."""
    bare = re.sub(r"^[^\d(+-]{0,40}", "", straighten(prose).lower()).strip(" ?!.")
    return is_too_long(bare)


def _atoms(words: Sequence[Word]) -> tuple[Atom, ...]:
    found: list[Atom] = []
    for atom in atoms_of(words):
        found.extend(_reordered(atom))
    return _with_long_lists(found)


def _with_long_lists(atoms: Sequence[Atom]) -> tuple[Atom, ...]:
    """Keep a list of many numbers in one piece: more atoms than are ever joined."""
    found: list[Atom] = []
    for index, atom in enumerate(atoms):
        before = atoms[max(0, index - 1) : index]
        near = [*(other for other in before if _is_number(other)), *atoms[index + 1 : index + 2]]
        if found and _is_number(atom) and any(_is_number(other) for other in near):
            found[-1] = Atom((*found[-1].words, *atom.before, *atom.words), found[-1].before)
        else:
            found.append(atom)
    return tuple(found) if len(atoms) > _MAX_JOINED else tuple(atoms)


def _is_number(atom: Atom) -> bool:
    joins = {word.text for word in atom.before}
    return len(atom.words) == 1 and atom.words[0].text.isdecimal() and joins <= {",", "and", "&"}


def _reordered(atom: Atom) -> list[Atom]:
    """Turn "run B after installing A" into "install A", "run B"."""
    text = text_of(atom.words)
    match = _AFTER.match(text)
    if match is None:
        return [atom]
    cut = len(match["second"].split())
    gap = len(text.split()) - len(match["first"].split()) - 1
    verb = _GERUNDS.get(match["verb"], match["verb"])
    first = (Word(verb, verb), *atom.words[gap + 1 :])
    stop = Word(";", ";")
    return [Atom(first, atom.before), Atom(atom.words[:cut], (stop,))]


# --- the best way to cut
def _best_clauses(atoms: Sequence[Atom], message: Message, context: Context) -> tuple[Clause, ...]:
    best: list[_Path | None] = [_Path(context=context), *([None] * len(atoms))]
    for stop in range(1, len(atoms) + 1):
        for start in range(max(0, stop - _MAX_JOINED), stop):
            before = best[start]
            if before is None:
                continue
            path = _extended(before, atoms[start:stop], message)
            current = best[stop]
            if current is None or path.cost < current.cost:
                best[stop] = path
    final = best[-1]
    return final.clauses if final is not None else ()


def _extended(before: _Path, atoms: Sequence[Atom], message: Message) -> _Path:
    words = joined(atoms)
    opens = atoms[0].opens_sentence
    if any(word.text == ";" for word in words):
        return _Path(
            before.cost + 99 * len(atoms),
            (*before.clauses, Clause(words, (), is_read=False)),
            before.context,
        )
    led = (*(word for word in atoms[0].before if word.text not in CLOSERS), *words)
    intents, cost = _read_clause(words, led, before.context, message)
    if intents and any(isinstance(intent, AskBack) for intent in intents):
        cost += _ASKING
    if intents and (marks_in(words) or any(isinstance(intent, Refuse) for intent in intents)):
        # Code, or a refusal, swallows no neighbour that can be read by itself.
        cost += _SWALLOWED * (len(atoms) - 1)
    if intents is None:
        unknown = Clause(words, (), is_read=False, opens_sentence=opens)
        price = _UNKNOWN + _UNKNOWN_WORD * len(words)
        return _Path(before.cost + price, (*before.clauses, unknown), before.context)
    clause = Clause(words, intents, is_read=True, opens_sentence=opens)
    done = Done(text_of(without_courtesy(words)), intents)
    return _Path(before.cost + cost, (*before.clauses, clause), before.context.with_clause(done))


def _read_clause(  # noqa: C901, PLR0911  # one grammar after the other
    words: Sequence[Word], led: Sequence[Word], context: Context, message: Message
) -> tuple[tuple[Intent, ...] | None, float]:
    text = text_of(words).strip(" ?!.,;:")
    if context.pending and (reply := read_follow_up(words, context)):
        return reply, _READ
    if (talk := read_talk(text)) is not None:
        return (talk,), _TALK if isinstance(talk, SmallTalk) else _READ
    bare = without_courtesy(words)
    if not bare:
        return read_follow_up(led, context), _TALK
    if _NEGATED.match(text):
        return (Refuse("All right, I won't."),), _READ
    if marks_in(words):
        return _read_marked(bare, message)
    found = read_package_question(words) or _read_request(bare, message) or read_time(words)
    if found:
        return _there_again(found, bare, context), _READ
    if (talk := read_talk(text_of(bare))) is not None:
        return (talk,), _TALK
    if is_deictic(text_of(bare)) and message.codes:
        return (), _READ
    if follow := (read_follow_up(led, context) or read_follow_up(bare, context)):
        return follow, _FRAGMENT
    is_all = len(words) == sum(word.text not in CLOSERS for word in message.words)
    if is_all and (places := read_bare_places(words)):
        return places, _READ
    return _read_about_code(bare)


def _there_again(
    found: tuple[Intent, ...], words: Sequence[Word], context: Context
) -> tuple[Intent, ...]:
    """Read "and the date there?" after a question for the time in a place."""
    says_there = any(word.text == "there" for word in words)
    last = context.last.intents[-1] if context.last is not None else None
    if not says_there or not isinstance(last, TellTime) or last.zone is None:
        return found
    return tuple(
        replace(item, zone=last.zone, place=last.place)
        if isinstance(item, TellTime) and item.zone is None
        else item
        for item in found
    )


def _read_about_code(
    bare: Sequence[Word],
) -> tuple[tuple[Intent, ...] | None, float]:
    text = text_of(bare).strip(" ?!.,;:")
    if (printing := _read_printing(bare)) is not None:
        return (printing,), _READ
    if _VAGUE_INSTALL.match(text):
        return (AskBack("Which package shall I install? For instance: install numpy."),), _READ
    if _VAGUE_CODE.match(text) or (is_deictic(text) and IMPERATIVE_CODE.search(text)):
        return (AskBack("Which code shall I run? Paste it here, best between ``` fences."),), _READ
    return None, 0


def _read_printing(bare: Sequence[Word]) -> Intent | None:
    """Read `print "hello"`; without quotes it is a guess, and asked."""
    raw = raw_of(bare).strip()
    match = re.fullmatch(
        r"(?:print|echo|output)\s+(?P<quote>[\"']?)\s*(?P<text>[^\"'\n]{1,200}?)\s*(?P=quote)?",
        raw,
        re.IGNORECASE,
    )
    if match is None or re.match(r"(?:it|this|that|the|my|out|me|all|a)\b", match["text"]):
        return None
    run = RunCode(f'print("{match["text"]}")')
    if match["quote"]:
        return run
    return AskBack(f"Shall I run the code `{run.code}`?", (run,))


def _read_marked(bare: Sequence[Word], message: Message) -> tuple[tuple[Intent, ...] | None, float]:
    named = _read_named_packages(bare, message)
    if named:
        return named, _READ
    found = read_code_clause(bare, message.codes)
    if found:
        return found, _READ
    return None, 0


def _read_named_packages(bare: Sequence[Word], message: Message) -> tuple[Intent, ...]:
    """Read "install `numpy`": the code is a name."""
    plain = tuple(
        Word(
            message.codes[marks_in([word])[0]].text, message.codes[marks_in([word])[0]].text.lower()
        )
        if marks_in([word])
        and re.fullmatch(r"[\w.\[\]=-]+", message.codes[marks_in([word])[0]].text)
        else word
        for word in bare
    )
    found = read_packages(plain)
    return found if all(isinstance(intent, Install | ListPackages) for intent in found) else ()


def _read_request(bare: Sequence[Word], message: Message) -> tuple[Intent, ...]:  # noqa: PLR0911  # one grammar after the other
    there = _read_there(bare, message)
    if there:
        return there
    for part in asked_parts(bare):
        text = text_of(part).strip(" ?!.,;:")
        if mentions_plot(text) and (plot := read_plot(text)) is not None:
            return (plot,)
    found = read_conversion(bare, message.today) or read_time(bare) or read_packages(bare)
    if found:
        return found
    for part in asked_parts(bare):
        text = text_of(part)
        if isinstance(status := read_talk(text), ShowStatus):
            return (status,)
        question = read_date_question(text) or read_sum(text)
        if question is not None:
            return (question,)
        later = read_packages(part) or read_conversion(part, message.today)
        if later and all(is_action(intent) for intent in later):
            return later
    return ()


def _read_there(bare: Sequence[Word], message: Message) -> tuple[Intent, ...]:
    text = text_of(bare).strip(" ?!.,;:")
    if not _THERE.search(text):
        return ()
    places = {item.place for item in places_in(message.words) if isinstance(item.place, Place)}
    if len(places) != 1:
        return ()
    place = places.pop()
    return (TellTime(place.zone, place.name),)
