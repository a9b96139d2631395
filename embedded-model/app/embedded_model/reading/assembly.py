"""From the clauses of a message to what it asks for: in order, without halves, once each."""

import re
from collections.abc import Sequence

from embedded_model.formula import has_part
from embedded_model.intents import (
    Calculate,
    Intent,
    OutOfScope,
    Refuse,
    RunCode,
    SmallTalk,
    TellTime,
    is_action,
)
from embedded_model.places import Place
from embedded_model.reading.clauses import without_courtesy
from embedded_model.reading.code_requests import (
    is_deictic,
    is_introduction,
    marks_in,
    run_all,
    shall_i_run,
    wants_other,
)
from embedded_model.reading.message import Clause, Message
from embedded_model.reading.place_names import places_in
from embedded_model.reading.sums import read_sum
from embedded_model.wording import text_of

HALF_READ = (
    "I understood only a part of that sum, so I leave it. Write it as one formula, for instance "
    "(2 + 3) * 4."
)


# What comes after these with "and" belongs to them: "write a program that … and lists packages".
_GOVERNS = re.compile(
    r"\b(?:write|compose|create a|generate a|explain|describe|translate"
    r"|summari[sz]e|how do|how can|how to|how would|why|remind|essay|story"
    r"|tutorial|guide|what does the|if)\b"
)


_WHERE = re.compile(
    r"^(?:is it (?:already |still )?\w+(?= in)|i'm|i am|we're|we are|i live|we live"
    r"|he is|she is|they are|i'm currently|my \w+ (?:is|lives|works))\b.*\b(?:in|at|from)\b"
)


IMPERATIVE_CODE = re.compile(r"\b(?:run|execute|test|try|eval|evaluate|interpret)\b")


def assembled(clauses: Sequence[Clause], message: Message) -> tuple[Intent, ...]:
    """Return what the clauses of a message ask for together."""
    found: list[Intent] = []
    is_governed = False
    for clause in clauses:
        text = text_of(clause.words)
        is_governed = is_governed and not clause.opens_sentence
        if not clause.is_read:
            is_governed = bool(_GOVERNS.search(text))
            found.extend(_left_over(clause, message))
        elif not (is_governed and not _stands_alone(text)):
            if _goes_on(found, clause):
                found.pop()
            found.extend(clause.intents)
    found = _with_whereabouts(_with_codes(found, clauses, message), clauses)
    return _tidied(_without_halves(found, clauses))


_HALF_A_SUM = re.compile(
    r"\d|\b(?:add|plus|minus|times|subtract|multiply|divide|divided|multiplied|sum|squared|half)\b"
)


def _without_halves(found: list[Intent], clauses: Sequence[Clause]) -> list[Intent]:
    """Leave out a sum of which half was not understood: "add 2 and 3 less than 10".

    Notes
    -----
    The other half would be an answer to something that nobody asked.
    """
    dropped: list[Intent] = []
    for index, clause in enumerate(clauses):
        near = [other for other in clauses[max(0, index - 1) : index + 2] if other is not clause]
        for other in near:
            later = other if clauses.index(other) > index else clause
            text = text_of(clause.words)
            if clause.is_read or later.opens_sentence or not _HALF_A_SUM.search(text):
                continue
            dropped.extend(item for item in other.intents if isinstance(item, Calculate))
    if not dropped:
        return found
    kept = [item for item in found if item not in dropped and item != OutOfScope()]
    return [*kept, Refuse(HALF_READ)]


def _goes_on(found: Sequence[Intent], clause: Clause) -> bool:
    """Say whether a sum takes the one before into itself: "multiply 11 by 12 and add 3"."""
    last = found[-1] if found else None
    return (
        isinstance(last, Calculate)
        and last.formula is not None
        and any(
            isinstance(intent, Calculate)
            and intent.formula is not None
            and has_part(intent.formula, last.formula)
            for intent in clause.intents
        )
        and not clause.opens_sentence
        and read_sum(text_of(without_courtesy(clause.words))) is None
    )


def _with_whereabouts(found: list[Intent], clauses: Sequence[Clause]) -> list[Intent]:
    """Read "I'm in Berlin, what time is it?": the statement says where.

    So does a question: "is it night in Sydney? what time is it?"
    """
    if any(isinstance(item, TellTime) and item.wants == "phase" and item.zone for item in found):
        return [item for item in found if item != TellTime()]
    said = [
        clause.words
        for clause in clauses
        if not clause.is_read and _WHERE.search(text_of(clause.words))
    ]
    places = [
        item.place for words in said for item in places_in(words) if isinstance(item.place, Place)
    ]
    if len(said) != 1 or len(places) != 1 or TellTime() not in found:
        return found
    there = TellTime(places[0].zone, places[0].name)
    return [there if item == TellTime() else item for item in found if item != OutOfScope()]


def _stands_alone(text: str) -> bool:
    return bool(
        re.match(r"(?:what|what's|then|tell|also|please|how|is|which|time|can|could)\b", text)
    )


def _left_over(clause: Clause, message: Message) -> tuple[Intent, ...]:
    bare = without_courtesy(clause.words)
    text = text_of(bare).strip(" ?!.,;:")
    if message.codes and (is_introduction(re.sub(r"§\d+§", "", text).strip()) or is_deictic(text)):
        return ()
    return (OutOfScope(),)


def _with_codes(found: list[Intent], clauses: Sequence[Clause], message: Message) -> list[Intent]:
    """Add the code that no clause has taken up, where the request to run it stands."""
    fenced = [index for index in range(len(message.codes)) if not _is_used(index, clauses)]
    if not fenced:
        return _at_request(found, clauses, message)
    prose = " ".join(re.sub(r"§\d+§", "", text_of(clause.words)) for clause in clauses)
    codes = [message.codes[index] for index in fenced]
    if any(isinstance(intent, Refuse) for intent in found):
        return found
    if wants_other(prose):
        return [*[intent for intent in found if intent != OutOfScope()], OutOfScope()]
    if any(
        is_deictic(text_of(without_courtesy(clause.words)).strip(" ?!.,;:")) for clause in clauses
    ):
        return [*[intent for intent in found if intent != OutOfScope()], *run_all(codes)]
    return [*[intent for intent in found if intent != OutOfScope()], *shall_i_run(codes)]


def _is_used(index: int, clauses: Sequence[Clause]) -> bool:
    return any(
        clause.is_read and clause.intents and index in marks_in(clause.words) for clause in clauses
    )


def _at_request(found: list[Intent], clauses: Sequence[Clause], message: Message) -> list[Intent]:
    """Put code that stands at the end where it was asked for: "run this and then …"."""
    if not message.codes:
        return found
    prose = " ".join(text_of(clause.words) for clause in clauses)
    is_negated = any(
        isinstance(intent, Refuse) and intent.sentence.startswith("All right") for intent in found
    )
    if is_negated:
        return [intent for intent in found if not isinstance(intent, RunCode)]
    if wants_other(re.sub(r"§\d+§", "", prose)) and not any(
        is_action(intent) and not isinstance(intent, RunCode) for intent in found
    ):
        return [OutOfScope()]
    if _is_unclear(clauses, prose):
        # Prose that nothing explains, and code without a word: running it was not asked for.
        bare = [code for index, code in enumerate(message.codes) if _stands_bare(index, clauses)]
        kept = [item for item in found if item not in run_all(bare) and item != OutOfScope()]
        return [*kept, *shall_i_run(bare)]
    position = _request_position(clauses)
    runs = [intent for clause in clauses if marks_in(clause.words) for intent in clause.intents]
    if position is None or not runs or any(intent not in found for intent in runs):
        return found
    ahead = [
        intent
        for clause in clauses[:position]
        if not marks_in(clause.words)
        for intent in clause.intents
    ]
    rest = [intent for intent in found if intent not in runs and intent not in ahead]
    return [*[intent for intent in found if intent in ahead], *runs, *rest]


def _is_unclear(clauses: Sequence[Clause], prose: str) -> bool:
    is_bare = any(_is_mark_only(clause) for clause in clauses)
    unread = [clause for clause in clauses if not clause.is_read]
    texts = [text_of(without_courtesy(clause.words)).strip(" ?!.,;:") for clause in unread]
    is_strange = any(not is_introduction(text) and not is_deictic(text) for text in texts)
    return is_bare and is_strange and not IMPERATIVE_CODE.search(prose)


def _is_mark_only(clause: Clause) -> bool:
    return bool(marks_in(clause.words)) and len(marks_in(clause.words)) == len(clause.words)


def _stands_bare(index: int, clauses: Sequence[Clause]) -> bool:
    return any(_is_mark_only(clause) and index in marks_in(clause.words) for clause in clauses)


def _request_position(clauses: Sequence[Clause]) -> int | None:
    for index, clause in enumerate(clauses):
        text = text_of(without_courtesy(clause.words)).strip(" ?!.,;:")
        if marks_in(clause.words):
            return None
        if not clause.intents and is_deictic(text):
            return index
    return None


def _tidied(found: Sequence[Intent]) -> tuple[Intent, ...]:
    """Drop courtesy beside requests, and all but one note on what is out of scope."""
    has_request = any(is_action(intent) for intent in found)
    kept: list[Intent] = []
    for intent in found:
        if isinstance(intent, SmallTalk) and (has_request or intent in kept):
            continue
        if isinstance(intent, OutOfScope) and intent in kept:
            continue
        kept.append(intent)
    if any(not isinstance(intent, SmallTalk) for intent in kept):
        kept = [intent for intent in kept if not isinstance(intent, SmallTalk)]
    return tuple(kept)
