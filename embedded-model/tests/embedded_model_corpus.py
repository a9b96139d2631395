"""The corpus: loading, splitting, matching; used by the tests and the report."""

import atexit
import datetime as dt
import hashlib
import json
import operator
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from embedded_model.conversation import NewCall, Reply, reply_to
from embedded_model.planning import OfferedTool, Toolset
from embedded_model.transcript import Message, ToolCall

CORPUS = Path(__file__).parent.parent / "corpus"
TOOLS = Toolset(
    tuple(
        OfferedTool(name, frozenset(properties.split()))
        for name, properties in {
            "execute_code": "code timeout_seconds session_id",
            "execute_python": "code timeout_seconds session_id",
            "install_package": "package version",
            "list_packages": "",
            "get_current_time": "timezone",
            "get_timezone_time": "timezone",
            "format_time": "time format timezone from_timezone",
            "get_system_status": "",
            "get_service_metrics": "",
        }.items()
    )
)
RUN_SECONDS = 20


@dataclass(frozen=True)
class Case:
    id: str
    kind: str
    messages: tuple[Mapping[str, Any], ...]
    expect: Mapping[str, Any]
    source: str
    tools: Toolset = TOOLS

    @property
    def split(self) -> str:
        if self.source != "requests":
            return self.source
        text = json.dumps(self.messages, sort_keys=True, ensure_ascii=False)
        is_held_out = int(hashlib.sha256(text.encode()).hexdigest()[:8], 16) % 3 == 0
        return "held-out" if is_held_out else "training"


@dataclass(frozen=True)
class Verdict:
    case: Case
    reason: str | None
    is_wrong_call: bool


def load_cases() -> Iterator[Case]:
    for path in sorted(CORPUS.glob("*.jsonl")):
        for line in path.read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            yield Case(
                row["id"],
                row["kind"],
                tuple(row["messages"]),
                row["expect"],
                path.stem,
                _offered(row["tools"]) if "tools" in row else TOOLS,
            )


def _offered(tools: Sequence[Mapping[str, Any]]) -> Toolset:
    return Toolset(
        tuple(OfferedTool(tool["name"], frozenset(tool["properties"])) for tool in tools)
    )


def answer(case: Case) -> Reply:
    return reply_to([_message(item) for item in case.messages], case.tools, dt.date.today())


def _message(item: Mapping[str, Any]) -> Message:
    calls = tuple(
        ToolCall(call["id"], call["function"]["name"], call["function"]["arguments"])
        for call in item.get("tool_calls") or ()
    )
    return Message(item["role"], item.get("content") or "", calls, item.get("tool_call_id"))


def verdict(case: Case) -> Verdict:
    reply = answer(case)
    reason = _why_not(reply, case.expect)
    return Verdict(case, reason, reason is not None and bool(reply.calls))


def check(case: Case) -> str | None:
    return verdict(case).reason


def _why_not(reply: Reply, expect: Mapping[str, Any]) -> str | None:
    reasons = [_why_not_calls(reply, wanted) for wanted in _alternatives(expect)]
    if None not in reasons:
        return reasons[0]
    said = reply.text.lower()
    for part in expect.get("says", ()):
        if not any(either.lower() in said for either in part.split("|")):
            return f"{part!r} is not in {reply.text!r}"
    if any(part.lower() in said for part in expect.get("unsaid", ())):
        return f"{reply.text!r} says what it must not"
    return _why_not_text(reply, expect)


def _alternatives(expect: Mapping[str, Any]) -> Sequence[Sequence[Mapping[str, Any]]]:
    either = expect.get("either", ())
    return [expect["calls"], *either] if expect["calls"] or not either else either


def _why_not_calls(reply: Reply, wanted: Sequence[Mapping[str, Any]]) -> str | None:
    if len(reply.calls) != len(wanted):
        return f"{len(reply.calls)} calls, not {len(wanted)}: {reply.calls} {reply.text!r}"
    for call, matcher in zip(reply.calls, wanted, strict=True):
        if not _matches(call, matcher):
            return f"{call} is not {matcher}"
    return None


def _why_not_text(reply: Reply, expect: Mapping[str, Any]) -> str | None:
    if "json_keys" in expect and list(json.loads(reply.text)) != expect["json_keys"]:
        return f"{reply.text!r} has other keys than {expect['json_keys']}"
    if not reply.calls and not reply.text.strip():
        return "an empty text"
    return None


def _matches(call: NewCall, matcher: Mapping[str, Any]) -> bool:
    if call.name not in matcher["name"].split("|"):
        return False
    arguments = dict(call.arguments)
    if "time_matches" in matcher:
        time = str(arguments.pop("time", ""))
        return bool(re.fullmatch(matcher["time_matches"], time)) and _are_same(
            arguments, matcher["arguments"]
        )
    if "any_arguments" in matcher:
        return any(_are_same(arguments, wanted) for wanted in matcher["any_arguments"])
    if "arguments" in matcher:
        return _are_same(arguments, matcher["arguments"])
    if len(matcher) == 1:
        return True
    return _is_code(str(arguments.get("code")), matcher)


def _is_code(code: str, matcher: Mapping[str, Any]) -> bool:
    kind = next(name for name in _CODE_MATCHERS if name in matcher)
    return _CODE_MATCHERS[kind](code, matcher[kind])


def _contains(code: str, parts: Sequence[str]) -> bool:
    compile(code, "<plot>", "exec")
    flat = code.replace(" ", "")
    return all(part.replace(" ", "") in flat for part in parts)


def _prints_numbers(code: str, wanted: Sequence[str]) -> bool:
    # What stands before an equals sign repeats the question.
    printed = re.sub(r".*(?<![=!<>])=(?!=)", "", prints(code))
    found = re.findall(r"-?\d+(?:\.\d+)?(?:e[+-]?\d+)?", printed)
    return list(map(float, found)) == list(map(float, wanted))


_TODAY = "from datetime import date, timedelta\nt = date.today()\nprint({})"
_NEAR = 1e-6  # a conversion may round, a sum may not end


def _ends_with(printed: str, wanted: float) -> bool:
    """Say whether the last number printed is this one."""
    found = re.findall(r"-?\d[\d,]*(?:\.\d+)?(?:e[+-]?\d+)?", printed)
    if not found:
        return False
    return abs(float(found[-1].replace(",", "")) - wanted) <= _NEAR * max(1e-9, abs(wanted))


def _names_date(printed: str, day: dt.date) -> bool:
    wanted = day.isoformat()
    return wanted in printed or (
        re.search(rf"\b{day.day}\b", printed) is not None
        and f"{day:%B}" in printed
        and str(day.year) in printed
    )


def _on_today(expression: str) -> str:
    return prints(_TODAY.format(expression))


_CODE_MATCHERS: Mapping[str, Callable[[str, Any], bool]] = {
    "code": operator.eq,
    "same_code": lambda code, wanted: code.strip() == wanted.strip(),
    "contains": _contains,
    "prints": lambda code, wanted: _is_same(prints(code), wanted),
    "prints_like": lambda code, wanted: re.search(wanted, prints(code)) is not None,
    "prints_same_as": lambda code, wanted: prints(code) == prints(wanted),
    "numbers": _prints_numbers,
    "value": lambda code, wanted: _ends_with(prints(code), float(wanted)),
    "value_of": lambda code, wanted: _ends_with(prints(code), float(_on_today(wanted))),
    "date_of": lambda code, wanted: _names_date(
        prints(code), dt.date.fromisoformat(_on_today(wanted))
    ),
    "weekday_of": lambda code, wanted: (
        f"{dt.date.fromisoformat(_on_today(wanted)):%A}" in prints(code)
    ),
}


def _are_same(arguments: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    return arguments.keys() == wanted.keys() and all(
        str(arguments[name]) in str(value).split("|") for name, value in wanted.items()
    )


def _is_same(printed: str, wanted: str) -> bool:
    try:
        return abs(float(printed) - float(wanted)) <= 1e-12 * abs(float(wanted))
    except ValueError:
        return printed == wanted


# One process for all programs: to start one for each takes most of a minute.
_WORKER = f"""
import contextlib, io, json, signal, sys
for line in sys.stdin:
    signal.alarm({RUN_SECONDS})  # a program that does not end takes the worker with it
    shown = io.StringIO()
    try:
        with contextlib.redirect_stdout(shown):
            exec(compile(json.loads(line), "<sum>", "exec"), {{"__name__": "__main__"}})
        text = shown.getvalue().strip()
    except Exception as error:
        text = f"failed: {{type(error).__name__}}: {{error}}"
    signal.alarm(0)
    print(json.dumps(text), flush=True)
"""


@cache
def _worker() -> subprocess.Popen[str]:
    worker = subprocess.Popen(
        [sys.executable, "-I", "-W", "ignore", "-c", _WORKER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    atexit.register(_stop, worker)
    return worker


def _stop(worker: subprocess.Popen[str]) -> None:
    worker.kill()
    worker.communicate()


@cache
def prints(code: str) -> str:
    """Run code that a sum or a date became, in another process, for a bounded time."""
    worker = _worker()
    assert worker.stdin is not None
    assert worker.stdout is not None
    worker.stdin.write(json.dumps(code) + "\n")
    worker.stdin.flush()
    line = worker.stdout.readline()
    assert line, f"the program did not end: {code}"
    return str(json.loads(line))


def figures(verdicts: Sequence[Verdict]) -> str:
    """Return exact match and wrong calls by kind, as a table."""
    kinds = sorted({item.case.kind for item in verdicts})
    lines = [f"{'kind':<18}{'exact':>7}{'of':>5}{'%':>8}{'wrong calls':>13}"]
    for kind in [*kinds, "all"]:
        part = [item for item in verdicts if kind in {item.case.kind, "all"}]
        exact = sum(item.reason is None for item in part)
        wrong = sum(item.is_wrong_call for item in part)
        lines.append(
            f"{kind:<18}{exact:>7}{len(part):>5}{100 * exact / len(part):>8.1f}{wrong:>13}"
        )
    return "\n".join(lines)
