"""What a run printed, as a language model reads it best: short, complete at both ends, honest."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import assert_never

from servicekit.wire.execution import (
    ExecuteResult,
    PackageInstalled,
    PackageList,
)
from servicekit.wire.files import FileChanges, SessionFile

# What was asked for stands at the end of most outputs as often as at the start of them.
_HEAD_SHARE = 2 / 3
_MAX_LISTED_PACKAGES = 400
_MAX_HINTED_MODULES = 3
_NAMED_FILES = 5
_NAME_CHARACTERS = 80
# What MCP clients show as images; SVG is a document, and may hold scripts.
_PICTURES = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp"})


@dataclass(frozen=True)
class Caps:
    """How many characters of each part a model sees."""

    stdout: int = 8000
    stderr: int = 2000
    result: int = 4000
    traceback: int = 3000


def head_and_tail(text: str, limit: int) -> str:
    """Keep the ends of a text, cut at lines where one is near; say how much was left out."""
    if len(text) <= limit:
        return text
    head = _up_to_line(text[: int(limit * _HEAD_SHARE)])
    tail = _from_line(text[len(text) - (limit - int(limit * _HEAD_SHARE)) :])
    left_out = len(text) - len(head) - len(tail)
    head, tail = head.rstrip("\n"), tail.lstrip("\n")
    return f"{head}\n[… {left_out} characters left out …]\n{tail}"


def _up_to_line(head: str) -> str:
    # A line that is very long is cut inside: half of the head is too much to lose.
    end = head.rfind("\n")
    return head[: end + 1] if end >= len(head) // 2 else head


def _from_line(tail: str) -> str:
    start = tail.find("\n")
    return tail[start + 1 :] if 0 <= start < len(tail) // 2 else tail


def end_of(text: str, limit: int) -> str:
    """Keep the end of a traceback: the last lines name the error."""
    if len(text) <= limit:
        return text
    tail = _from_line(text[len(text) - limit :])
    return f"[… {len(text) - len(tail)} characters left out …]\n{tail}"


def shape_execution(result: ExecuteResult, *, caps: Caps) -> str:
    """Write one text from a run's parts."""
    parts = []
    if result.stdout.strip():
        parts.append(_printed(result.stdout, result.stdout_truncated_bytes, caps.stdout))
    if result.stderr.strip():
        printed = _printed(result.stderr, result.stderr_truncated_bytes, caps.stderr)
        parts.append(f"stderr:\n{printed}")
    if result.result is not None:
        parts.append(f"Result: {head_and_tail(result.result, caps.result)}")
    if count := len(pictures_of(result)):
        parts.append(f"[{count} picture{'s' if count > 1 else ''} attached]")
    if not result.session_ended and (changes := _changes(result.files)):
        parts.append(f"[Files of the session: {changes}]")
    ending = _ending(result, caps)
    if ending:
        parts.append(ending)
    if result.session_ended and result.session_id is not None:
        parts.append("The session has ended: its variables are gone.")
    return "\n".join(parts) or "The code ran and printed nothing."


def _changes(files: FileChanges) -> str:
    """Say in one short line what a run did to its session's files."""
    lists = (("added", files.added), ("changed", files.changed), ("deleted", files.deleted))
    said = [f"{verb} {_names(entries)}" for verb, entries in lists if entries]
    return "; ".join([*said, "and perhaps more"] if files.truncated else said)


def _names(entries: Sequence[SessionFile]) -> str:
    # A name is the code's own choice: no line of it may pass for a line of ours.
    shown = [
        "".join(c if c.isprintable() else "?" for c in entry.path[:_NAME_CHARACTERS])
        for entry in entries[:_NAMED_FILES]
    ]
    more = len(entries) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")


def pictures_of(result: ExecuteResult) -> tuple[tuple[str, str], ...]:
    """Return media type and base64 of what can be shown as a picture: one for each output."""
    found = []
    for output in result.outputs:
        for media_type, data in output.data.items():
            if media_type in _PICTURES and isinstance(data, str):
                found.append((media_type, data))
                break
    return tuple(found)


def _printed(text: str, dropped_bytes: int, limit: int) -> str:
    shown = head_and_tail(text.rstrip("\n"), limit)
    if dropped_bytes:
        shown += f"\n[… {dropped_bytes} more bytes were printed and not kept …]"
    return shown


def _ending(result: ExecuteResult, caps: Caps) -> str:
    match result.status:
        case "ok":
            ending = ""
        case "error":
            ending = _error(result, caps)
        case "timeout":
            ending = (
                f"Timed out: the code was still running after {result.duration_ms / 1000:.3g} s "
                "and was stopped. Make it do less, or call again with a larger timeout_seconds."
            )
        case "memory":
            used = result.peak_memory_bytes / 2**20
            ending = (
                f"Out of memory: the code used {used:.0f} MiB and was stopped. "
                "Work on less data at a time."
            )
        case "output":
            ending = "Too much output: the code was stopped. Print less, for example a summary."
        case "killed":
            ending = f"The code was stopped{_cause(result)}."
        case "crashed":
            ending = f"The code crashed the interpreter{_cause(result)}."
        case "cancelled":
            ending = "Cancelled: the code was stopped before its end."
        case never:
            assert_never(never)
    return ending


def _cause(result: ExecuteResult) -> str:
    by = f" ({result.signal})" if result.signal else ""
    why = f": {result.error.message}" if result.error and result.error.message else ""
    return by + why.rstrip(".")


def _error(result: ExecuteResult, caps: Caps) -> str:
    error = result.error
    if error is None:
        return "Error: the code failed without saying why."
    summary = f"{error.type}: {error.message}" if error.message else error.type
    traceback = error.traceback.rstrip()
    if not traceback:
        return f"Error: {end_of(summary, caps.traceback)}"
    return end_of(traceback, caps.traceback)


def shape_installed(installed: PackageInstalled) -> str:
    """Say what an install did."""
    name = f"{installed.package} {installed.version}"
    if installed.already_present:
        return f"{name} is already installed."
    others = [
        f"{each.name} {each.version}"
        for each in installed.installed
        if each.name.lower() != installed.package.lower()
    ]
    with_it = f", and with it {', '.join(others)}." if others else "."
    return f"Installed {name}{with_it}{_import_hint(installed)}"


def _import_hint(installed: PackageInstalled) -> str:
    """Say what to import where the package's name does not tell: scikit-learn is sklearn."""
    own = next((each for each in installed.installed if each.name == installed.package), None)
    modules = () if own is None else own.modules
    if not modules or installed.package.replace("-", "_") in {each.lower() for each in modules}:
        return ""
    return f" In code: import {', '.join(modules[:_MAX_HINTED_MODULES])}"


def shape_packages(packages: PackageList) -> str:
    """List packages, one a line."""
    count = len(packages.packages)
    if not count:
        return "No packages are installed beyond Python's standard library."
    listed = sorted(packages.packages, key=lambda each: each.name.lower())
    lines = [f"{each.name} {each.version}" for each in listed[:_MAX_LISTED_PACKAGES]]
    if count > len(lines):
        lines.append(f"[… {count - len(lines)} more …]")
    noun = "package is" if count == 1 else "packages are"
    return "\n".join([f"{count} {noun} installed:", *lines])
