"""Tool calls that a small model wrote into its text instead of making them.

They are recovered only when the *whole* reply is the call and every name is an
offered one: a reply that shows or explains a call is text and stays text.
"""

import json
import re
from collections.abc import Collection, Iterator
from typing import Any

from middleware.conversation import ToolCall

_MAX_CHARACTERS = 100_000
_THINKING = re.compile(r"\A\s*<think(?:ing)?>.*?</think(?:ing)?>", re.DOTALL)
# No two neighbouring parts fit the same text, or a reply of much white space would be tried in
# every way to split it: bodies are stripped afterwards.
_FENCE = re.compile(r"\A```(?:json|tool_call|tool_code|xml)?(?P<body>.*?)```\Z", re.DOTALL)
_TAGGED = re.compile(
    r"\s*<(?P<tag>tool_call|function_call|tool_calls|tools?)>(?P<body>.*?)</(?P=tag)>\s*",
    re.DOTALL,
)
_BETWEEN = re.compile(r"[\s;]*")
_NAMED_TAG = re.compile(r"\s*<function=(?P<name>[^>\s]+)>(?P<body>.*?)</function>\s*", re.DOTALL)
_PARAMETER = re.compile(
    r"\s*<parameter=(?P<name>[^>\s]+)>\n?(?P<value>.*?)\n?</parameter>\s*", re.DOTALL
)
_PREFIXES = ("<|python_tag|>", "[TOOL_CALLS]", "<|tool_call|>")
_ARGUMENT_KEYS = ("arguments", "parameters", "args", "input")
_OTHER_KEYS = frozenset({"name", "type", "id", "function", "tool", *_ARGUMENT_KEYS})


def spoken_calls(text: str, offered: Collection[str]) -> tuple[ToolCall, ...]:
    """Return the calls that the text consists of; none when it is anything else."""
    if not offered or len(text) > _MAX_CHARACTERS:
        return ()
    body = _THINKING.sub("", text, count=1).strip()
    for prefix in _PREFIXES:
        body = body.removeprefix(prefix).strip()
    try:
        found = list(_calls_in(body))
    except (ValueError, RecursionError):
        return ()
    if not found or any(name not in offered for name, _ in found):
        return ()
    # Without ids: the turn gives each call one of its own.
    return tuple(ToolCall("", name, arguments) for name, arguments in found)


def _calls_in(body: str) -> Iterator[tuple[str, str]]:
    """Yield (name, arguments text); ValueError when the body is not all call."""
    if fenced := _FENCE.match(body):
        body = fenced["body"].strip()
    if body.startswith(("{", "[")):
        yield from _json_calls(body)
    elif body.startswith("<"):
        yield from _tagged_calls(body)
    else:
        raise ValueError


def _json_calls(body: str) -> Iterator[tuple[str, str]]:
    decoder = json.JSONDecoder(strict=False)
    position = 0
    while position < len(body):
        value, end = decoder.raw_decode(body, position)
        for item in value if isinstance(value, list) else [value]:
            yield _call_of(item)
        # Llama separates several calls with a semicolon, others with a line break.
        gap = _BETWEEN.match(body, end)
        position = gap.end() if gap else end


def _call_of(item: Any) -> tuple[str, str]:
    if isinstance(item, dict) and isinstance(item.get("function"), dict):
        item = item["function"]
    if not isinstance(item, dict) or not set(item) <= _OTHER_KEYS:
        raise ValueError
    name = item.get("name", item.get("function", item.get("tool")))
    key = next((key for key in _ARGUMENT_KEYS if key in item), None)
    if not isinstance(name, str) or key is None:
        raise ValueError
    arguments = item[key]
    return name, arguments if isinstance(arguments, str) else json.dumps(arguments)


def _tagged_calls(body: str) -> Iterator[tuple[str, str]]:
    position = 0
    while position < len(body):
        if tagged := _TAGGED.match(body, position):
            yield from _calls_in(tagged["body"].strip())
            position = tagged.end()
        elif named := _NAMED_TAG.match(body, position):
            yield named["name"], _named_arguments(named["body"].strip())
            position = named.end()
        else:
            raise ValueError


def _named_arguments(body: str) -> str:
    if not body.startswith("<parameter="):
        return body
    arguments: dict[str, str] = {}
    position = 0
    while position < len(body):
        parameter = _PARAMETER.match(body, position)
        if parameter is None:
            raise ValueError
        arguments[parameter["name"]] = parameter["value"]
        position = parameter.end()
    return json.dumps(arguments)
