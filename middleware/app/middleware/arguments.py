"""A model's arguments, from text to a validated object, or to a sentence for the model.

The ladder: parse, repair what is only badly written, insist on an object, validate
against the tool's JSON Schema. Nothing is ever called with arguments that were
guessed: what can't be read goes back to the model.
"""

import ast
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from jsonschema.exceptions import SchemaError
from servicekit.schema_check import compiled, describe_violation

# A model that gets ten complaints at once corrects none of them.
_MAX_COMPLAINTS = 3
_MAX_REPAIR_CHARACTERS = 200_000
# No two parts of it fit the same text: models write white space without end.
_FENCE = re.compile(r"\A```[a-zA-Z]*[ \t]*\n(?P<body>.*)```\Z", re.DOTALL)
_TRAILING_COMMA = re.compile(r",\s*(?=[}\]])")


@dataclass(frozen=True, slots=True)
class Valid:
    """Arguments that the tool's schema accepts."""

    arguments: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Refused:
    """Arguments that can't be used; `reason` tells the model what to change."""

    reason: str
    arguments: dict[str, Any] | str


def read_arguments(text: str, schema: Mapping[str, Any]) -> Valid | Refused:
    """Read what the model wrote for a tool with this input schema."""
    try:
        value = parse(text)
    except ValueError as error:
        return Refused(f"the arguments are not valid JSON ({error}); send one JSON object", text)
    if not isinstance(value, dict):
        kind = type(value).__name__
        return Refused(f"the arguments must be one JSON object, not a {kind}", text)
    return validate(value, schema)


def sound_arguments(text: str) -> str:
    """Return arguments as a transcript may hold them: one JSON object, in any case.

    Ollama answers 400 to a history whose arguments are none.
    """
    try:
        value = parse(text)
        if isinstance(value, dict):
            return json.dumps(value, allow_nan=False)
    except (ValueError, RecursionError):
        pass
    return json.dumps({"unreadable": text[:500]})


def validate(arguments: dict[str, Any], schema: Mapping[str, Any]) -> Valid | Refused:
    """Validate an object; a value of the wrong JSON type but the right meaning is converted."""
    complaints = complaints_about(arguments, schema)
    if not complaints:
        return Valid(arguments)
    converted = _converted(arguments, schema)
    if converted != arguments and not complaints_about(converted, schema):
        return Valid(converted)
    return Refused("; ".join(complaints), arguments)


def complaints_about(arguments: Mapping[str, Any], schema: Mapping[str, Any]) -> list[str]:
    """Return what is wrong with the arguments, one sentence each, at most three."""
    if not _can_be_sent(arguments):
        return ["the arguments hold a number or a character that JSON can't carry"]
    try:
        validator = _validator(json.dumps(schema, sort_keys=True))
        found = sorted(
            validator.iter_errors(dict(arguments)), key=lambda error: list(error.path) != []
        )
    except (SchemaError, ValueError, LookupError):
        # A foreign server's broken schema is not the model's fault: its owner validates.
        return []
    except Exception as error:
        if type(error).__module__.partition(".")[0] not in {"referencing", "jsonschema"}:
            raise
        return []
    return [describe_violation(error) for error in found[:_MAX_COMPLAINTS]]


def _can_be_sent(arguments: Mapping[str, Any]) -> bool:
    """Whether they are JSON in UTF-8: no NaN, no half of a character."""
    try:
        json.dumps(arguments, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, TypeError, RecursionError):
        return False
    return True


@lru_cache(maxsize=512)
def _validator(schema_text: str) -> Any:
    # Compiling costs more than a whole call (MCP.md, trap 7): once per schema.
    schema = json.loads(schema_text)
    validator = compiled(schema)
    validator.check_schema(schema)
    return validator


def parse(text: str) -> Any:
    """Parse JSON; repair what is badly written but not ambiguous.

    Repaired are: a code fence around it, an object sent as a JSON string, raw line
    breaks in strings, trailing commas, Python's spelling of literals and quotes, and
    closing brackets that are missing after a complete value. A string that does not
    end is never repaired: half a program must not run.

    Raises
    ------
    ValueError
        With the place of the first fault.
    """
    stripped = text.strip()
    if not stripped:
        # Servers write an empty text for a call without arguments; the schema decides.
        return {}
    try:
        try:
            value = json.loads(stripped)
        except ValueError as fault:
            value = _repaired(stripped, fault)
        if isinstance(value, str) and value.strip().startswith("{"):
            value = json.loads(value, strict=False)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    return {} if value is None else value


def _repaired(text: str, fault: ValueError) -> Any:
    if len(text) > _MAX_REPAIR_CHARACTERS:
        raise fault
    fenced = _FENCE.match(text)
    candidate = fenced["body"].strip() if fenced else text
    for attempt in (candidate, _outside_strings(candidate)):
        try:
            return json.loads(attempt, strict=False)
        except (ValueError, RecursionError):
            continue
    try:
        value = ast.literal_eval(candidate)
        # What JSON can't say (sets, bytes, tuples as keys) is no argument.
        return json.loads(json.dumps(value, allow_nan=False))
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
        raise fault from None


def _outside_strings(text: str) -> str:
    """Drop trailing commas and add missing closing brackets, leaving strings untouched."""
    pieces: list[str] = []
    closers: list[str] = []
    position = 0
    for match in re.finditer(r'"(?:[^"\\]|\\.)*"', text, re.DOTALL):
        pieces += [_structure(text[position : match.start()], closers), match[0]]
        position = match.end()
    tail = text[position:]
    if '"' in tail:
        return text
    pieces.append(_structure(tail, closers))
    joined = "".join(pieces).rstrip()
    return _drop_trailing_commas(joined.rstrip(",") + "".join(reversed(closers)))


def _structure(gap: str, closers: list[str]) -> str:
    for character in gap:
        if character in "{[":
            closers.append("}" if character == "{" else "]")
        elif character in "}]" and closers and closers[-1] == character:
            closers.pop()
    return gap


def _drop_trailing_commas(text: str) -> str:
    parts = re.split(r'("(?:[^"\\]|\\.)*")', text, flags=re.DOTALL)
    # Odd places are the strings. A comma can also stand before a string's gap's bracket only.
    return "".join(
        part if index % 2 else _TRAILING_COMMA.sub("", part) for index, part in enumerate(parts)
    )


def _converted(arguments: dict[str, Any], schema: Mapping[str, Any]) -> dict[str, Any]:
    """Convert values that are right but for their JSON type, as small models write them."""
    properties = schema.get("properties")
    if not isinstance(properties, Mapping):
        return arguments
    required = schema.get("required")
    needed = required if isinstance(required, list) else []
    result: dict[str, Any] = {}
    for name, value in arguments.items():
        wanted = properties.get(name)
        types = _types(wanted) if isinstance(wanted, Mapping) else frozenset()
        if value is None and types and "null" not in types and name not in needed:
            continue
        result[name] = _convert(value, types)
    return result


def _types(schema: Mapping[str, Any]) -> frozenset[str]:
    declared = schema.get("type")
    listed = declared if isinstance(declared, list) else [declared]
    names = {name for name in listed if isinstance(name, str)}
    for keyword in ("anyOf", "oneOf"):
        options = schema.get(keyword)
        for option in options if isinstance(options, list) else ():
            names |= _types(option) if isinstance(option, Mapping) else set()
    return frozenset(names)


def _convert(value: Any, types: frozenset[str]) -> Any:
    if not isinstance(value, str) or not types or "string" in types:
        return value
    try:
        parsed = json.loads(value.strip().lower() if "boolean" in types else value)
    except ValueError:
        return value
    kinds: dict[str, tuple[type, ...]] = {
        "integer": (int,), "number": (int, float), "boolean": (bool,),
        "object": (dict,), "array": (list,), "null": (type(None),),
    }  # fmt: skip
    fits = any(type(parsed) in kinds.get(name, ()) for name in types)
    return parsed if fits else value
