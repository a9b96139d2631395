"""From tool results to one or two plain sentences; nothing is said that no result says."""

import datetime as dt
import re
from collections.abc import Mapping, Sequence
from typing import assert_never

from embedded_model.intents import (
    Action,
    Calculate,
    ConvertTime,
    Draw,
    Install,
    ListPackages,
    RunCode,
    ShowStatus,
    TellTime,
)
from embedded_model.reading.plots import PICTURE
from embedded_model.tool_answer import (
    EXCEPTION,
    TRACEBACK,
    ToolAnswer,
    ending_of,
    has_traceback,
    read_answer,
)

_RESULT = re.compile(r"^Result: (?P<value>.*)\Z", re.DOTALL | re.MULTILINE)
_MOMENT = re.compile(r"(?P<date>\d{4}-\d\d-\d\d)[ T](?P<clock>\d\d:\d\d)")
_PACKAGE_LINE = re.compile(
    r"^[-*•\s]*(?P<name>[A-Za-z0-9][\w.-]*?)\s*(?:==|\s|@|:|\()\s*v?(?P<version>\d[\w.+!]*)\)?",
    re.MULTILINE,
)
_PICTURE = re.compile(r"!\[[^\]]*\]\([^)]+\)|data:image/\w+;base64,")
# Notes that stand for pictures, from code-executor and from the middleware: nothing printed them.
_PICTURE_NOTES = re.compile(
    r"(?:^|\n)\[(?P<count>\d+) pictures? attached\](?:\n\[image: [^\]\n]+\])*\s*\Z"
)
_MAX_INLINE = 200
_NO_OUTPUT = "The code ran and printed nothing."  # code-executor's words


def sentence_for(action: Action | None, name: str, content: str) -> str:  # noqa: C901, PLR0911  # one return a case
    """Return what to say about one call's result.

    Parameters
    ----------
    action
        What the call was for; None when the transcript's call is none of ours.
    name
        The tool's name.
    content
        The text of the tool's message.
    """
    is_code = isinstance(action, RunCode | Calculate | Draw)
    answer = read_answer(content, is_code=is_code)
    if answer.is_error:
        return _failure(action, name, answer)
    match action:
        case TellTime():
            return _time(action, answer)
        case ConvertTime():
            return _converted(action, answer)
        case Calculate():
            return _calculated(action, answer)
        case RunCode():
            return _ran(answer)
        case Draw(label=label):
            return _drawn(label, answer)
        case Install():
            return _installed(action, answer)
        case ListPackages():
            return _listed(action, answer)
        case ShowStatus() | None:
            return _shown("", answer.text) if answer.text.strip() else f"{name} gave no output."
        case never:
            assert_never(never)


def block(text: str) -> str:
    """Put text into a code block whose fence the text does not contain."""
    fence = "```"
    while fence in text:
        fence += "`"
    return f"{fence}\n{text}\n{fence}"


def _inline(text: str) -> str:
    return f"`` {text} ``" if "`" in text else f"`{text}`"


def _shown(lead: str, text: str) -> str:
    """Show output: in the sentence when it is one short line, else in a block."""
    text = text.rstrip()
    if "\n" in text or len(text) > _MAX_INLINE:
        return f"{lead.rstrip(' :')}:\n{block(text)}" if lead else block(text)
    return f"{lead} {_inline(text)}." if lead else text


# --- failures
_DOING: Mapping[type, str] = {
    TellTime: "I could not get the time",
    ConvertTime: "I could not convert the time",
    RunCode: "The code failed",
    Calculate: "The calculation failed",
    Draw: "The plot failed",
    Install: "The installation failed",
    ListPackages: "I could not list the packages",
    ShowStatus: "I could not get the system's status",
}


# An answer that never came says nothing about how the work itself ended.
_UNANSWERED = re.compile(r"\b(?:(?:did|does) not answer|not reachable|unreachable|is down)\b")
_UNKNOWN: Mapping[type, str] = {
    RunCode: "I have no result of the code",
    Calculate: "I have no result of the calculation",
    Draw: "I have no result of the plot",
}


def _undone(action: Action, text: str) -> str:
    is_unknown = _UNANSWERED.search(text) is not None
    if isinstance(action, Install):
        name = action.package
        return (
            f"I don't know whether {name} is installed now"
            if is_unknown
            else (f"{name} could not be installed")
        )
    return (_UNKNOWN if is_unknown else _DOING).get(type(action), _DOING[type(action)])


def _failure(action: Action | None, name: str, answer: ToolAnswer) -> str:
    what = _undone(action, answer.text) if action is not None else f"{name} failed"
    if isinstance(action, TellTime | ConvertTime) and action.place:
        what += f" for {action.place}"
    text = answer.text.strip("\n")
    if has_traceback(text):
        return _raised(what, text, action)
    if isinstance(action, RunCode | Calculate | Draw) and (ending := ending_of(text)) is not None:
        return _ended(what, text[: ending.start()], ending[0])
    text = re.sub(r"^(?:tool )?error:\s*", "", text, flags=re.IGNORECASE)
    if "\n" in text:
        return f"{what}:\n{block(text)}"
    return f"{what}: {text.rstrip('.')}."


def _ended(what: str, printed: str, ending: str) -> str:
    ending = " ".join(ending.split()).removeprefix("Error: ")
    is_own = ending.startswith(("The code", "Timed out", "Out of", "Too much", "Cancelled"))
    sentence = ending if is_own else f"{what}: {ending}"
    return _with_printed(sentence.rstrip(".") + ".", printed)


def _with_printed(sentence: str, printed: str) -> str:
    printed = printed.strip("\n")
    return f"{sentence} Before that it printed:\n{block(printed)}" if printed.strip() else sentence


def _raised(what: str, text: str, action: Action | None) -> str:
    start = min(
        (place for sign in (TRACEBACK, '  File "') if (place := text.find(sign)) >= 0), default=0
    )
    before, trace = text[:start], text[start:]
    lines = [line for line in trace.splitlines() if line.strip()]
    flat = [line for line in lines if not line.startswith((" ", "\t")) and EXCEPTION.match(line)]
    last = flat[-1] if flat else lines[-1].strip()
    # A library's own lines are nothing that the user wrote; nor is "line 1" in an error's words.
    places = re.findall(r'^  File "<cell[^"]*>", line (\d+)', trace, re.MULTILINE)
    where = f" in line {places[-1]}" if places and isinstance(action, RunCode | None) else ""
    sentence = f"{what}{where} with {_inline(last.strip())}."
    missing = re.search(r"ModuleNotFoundError: No module named '([\w.]+)'", last)
    if missing:
        package = missing[1].split(".")[0]
        sentence += f" The package {package} is not installed; say 'install {package}' to add it."
    return _with_printed(sentence, before)


# --- times
def _time(action: TellTime, answer: ToolAnswer) -> str:
    text = _one_line(answer.text)
    moment = _MOMENT.search(text)
    where = f"In {action.place} it" if action.place else "It"
    if action.place and "/" in action.place:
        where = f"In the zone {action.place} it"
    if moment is None:
        return f"{where} is {text}."
    shown = re.sub(r"\s*\([^)]*/[^)]*\)$", "", text) if action.place else text
    if action.wants == "day":
        weekday = dt.date.fromisoformat(moment["date"]).strftime("%A")
        return f"{where} is {weekday}, {shown}."
    return f"{where} is {shown}."


def difference_sentence(answers: Sequence[tuple[TellTime, str]]) -> str | None:
    """Say how far apart two clocks are, from the two times that the tools gave."""
    moments = []
    for action, content in answers:
        answer = read_answer(content)
        found = _MOMENT.search(answer.text)
        if answer.is_error or found is None:
            return None
        moments.append((action, dt.datetime.fromisoformat(f"{found['date']}T{found['clock']}")))
    (first, start), (second, end) = moments
    # The two calls may fall on both sides of a minute; zones differ by quarters of an hour.
    quarters = round((end - start).total_seconds() / 900)
    names = [action.place or "UTC" for action in (first, second)]
    if quarters == 0:
        return f"{names[0]} and {names[1]} have the same time."
    hours, rest = divmod(abs(quarters) * 15, 60)
    span = f"{hours} hour{'' if hours == 1 else 's'}" if hours else ""
    span = " and ".join(part for part in (span, f"{rest} minutes" if rest else "") if part)
    way = "ahead of" if quarters > 0 else "behind"
    return f"{names[1]} is {span} {way} {names[0]}."


def _one_line(text: str) -> str:
    lines = [line.strip() for line in text.strip().splitlines() if line.strip()]
    return lines[0].rstrip(".") if lines else "no time at all"


def _converted(action: ConvertTime, answer: ToolAnswer) -> str:
    text = _one_line(answer.text)
    if action.place:
        return f"In {action.place} that is {text}."
    return f"That is {text}."


# --- code
def _output_and_result(answer: ToolAnswer) -> tuple[str, str | None]:
    text = _PICTURE_NOTES.sub("", answer.text)
    match = _RESULT.search(text)
    if match is None:
        return text, None
    return text[: match.start()].rstrip("\n"), match["value"].strip()


def _pictures(answer: ToolAnswer) -> int:
    notes = _PICTURE_NOTES.search(answer.text)
    return int(notes["count"]) if notes else 0


def _value(answer: ToolAnswer) -> str:
    output, result = _output_and_result(answer)
    return output.strip().replace(_NO_OUTPUT, "") or result or ""


def _calculated(action: Calculate, answer: ToolAnswer) -> str:
    value = _value(answer)
    if not value:
        return "The calculation printed nothing."
    if action.yes and action.no and value in {"True", "False"}:
        return action.yes if value == "True" else action.no
    if "\n" in value:
        return _shown("The result", value)
    if action.formula is not None:
        return f"{action.label} = {value}".replace("**", "^")
    if action.label.endswith(":"):
        return f"{action.label} {value}."
    return f"{action.label} is {value}."


def _ran(answer: ToolAnswer) -> str:
    output, result = _output_and_result(answer)
    if output.strip() == _NO_OUTPUT:
        return _NO_OUTPUT
    parts: list[str] = []
    if output.strip():
        parts.append(_shown("The output is", output.strip("\n")))
    if result is not None:
        parts.append(_shown("The result is", result))
    if count := _pictures(answer):
        parts.append("It drew a picture." if count == 1 else f"It drew {count} pictures.")
    return "\n".join(parts) or _NO_OUTPUT


def _drawn(label: str, answer: ToolAnswer) -> str:
    output, _ = _output_and_result(answer)
    if _PICTURE.search(answer.text):
        return f"I plotted {label}.\n\n{answer.text.strip()}"
    plotted = f"I plotted {label}."
    if not _pictures(answer):
        plotted = f"I plotted {label} as {PICTURE}, but no picture came back."
    is_silent = output.strip(" \n") in {"", _NO_OUTPUT}
    return plotted if is_silent else f"{plotted} {_shown('The code printed', output)}"


# --- packages
def _installed(action: Install, answer: ToolAnswer) -> str:
    text = answer.text.strip()
    version = answer.fields.get("version")
    if text and not text.startswith("{"):
        return _shown(action.package, text) if "\n" in text else text.rstrip(".") + "."
    if isinstance(version, str):
        is_old = answer.fields.get("already_present") is True
        return f"{action.package} {version} {'was already there' if is_old else 'is installed'}."
    return f"{action.package} is installed."


def _packages(answer: ToolAnswer) -> dict[str, str]:
    listed = answer.fields.get("packages")
    if isinstance(listed, list):
        return {
            str(item.get("name", "")): str(item.get("version", ""))
            for item in listed
            if isinstance(item, dict)
        }
    return {match["name"]: match["version"] for match in _PACKAGE_LINE.finditer(answer.text)}


def _listed(action: ListPackages, answer: ToolAnswer) -> str:
    packages = _packages(answer)
    if action.asked:
        return " ".join(_is_there(name, packages, answer.text) for name in action.asked)
    if packages:
        lines = "\n".join(f"{name} {version}" for name, version in sorted(packages.items()))
        plural = "package is" if len(packages) == 1 else "packages are"
        return f"{len(packages)} {plural} installed:\n{block(lines)}"
    text = answer.text.strip()
    if text.startswith("No packages"):  # code-executor's words
        return text
    return _shown("The installed packages are", text) if text else "No packages are installed."


def _is_there(name: str, packages: Mapping[str, str], text: str) -> str:
    wanted = _folded(name)
    for own, version in packages.items():
        if _folded(own) == wanted:
            return f"Yes, {own} {version} is installed."
    if not packages and re.search(rf"\b{re.escape(name)}\b", text, re.IGNORECASE):
        return f"Yes, {name} is installed."
    return f"No, {name} is not installed; say 'install {name}' to add it."


def _folded(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
