"""From intents to calls of the tools that the request offers."""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, assert_never

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

# The names of a tool, the usual one first; a gateway may put a prefix before it ("code__").
_NAMES: Mapping[str, tuple[str, ...]] = {
    "code": (
        "execute_code",
        "execute_python",
        "run_code",
        "run_python",
        "sandbox_execute",
        "execute_python_code",
        "run_python_code",
        "python_interpreter",
        "code_interpreter",
        "python_repl",
        "python",
    ),
    "install": ("install_package", "sandbox_install_package", "install_packages"),
    "list": ("list_packages", "sandbox_list_packages"),
    "now": ("get_current_time", "current_time"),
    "zone": ("get_timezone_time", "get_time_in_timezone"),
    "format": ("format_time", "convert_time"),
    "status": ("get_system_status", "system_status"),
    "metrics": ("get_service_metrics", "service_metrics"),
}
_ARGUMENTS: Mapping[str, tuple[str, ...]] = {
    "code": ("code", "source", "script", "python_code"),
    "package": ("package", "package_name", "name"),
    "version": ("version", "package_version"),
    "timezone": ("timezone", "tz", "time_zone", "zone", "to_timezone", "target_timezone"),
    "time": ("time", "timestamp", "datetime", "time_string"),
    "format": ("format", "format_string", "fmt"),
    "from_timezone": ("from_timezone", "source_timezone", "from_tz"),
}


@dataclass(frozen=True, slots=True)
class OfferedTool:
    """A tool of the request: its name and the properties of its arguments."""

    name: str
    properties: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class PlannedCall:
    """A call to make, with the action that it serves."""

    name: str
    arguments: Mapping[str, Any]
    action: Action


@dataclass(frozen=True, slots=True)
class Impossible:
    """An action for which no tool is offered; `ability` says what is missing."""

    action: Action
    ability: str


@dataclass(frozen=True, slots=True)
class Toolset:
    """The tools that a request offers."""

    tools: Sequence[OfferedTool] = field(default_factory=tuple)

    def find(self, purpose: str, needed: Collection[str] = ()) -> OfferedTool | None:
        """Return the tool for a purpose that takes the arguments needed, by its name.

        A gateway or a client may have put something around the name: `stack__execute_code`,
        `mcp-server_execute_code`, `execute_code_mcp_stack`, `tool_execute_code_post`.
        """
        able = [tool for tool in self.tools if _takes(tool, needed)]
        for pattern in (r"{}", r".*(?:__|[./-]){}", r".*_{}", r"{}_mcp_.+", r"tool_{}_post"):
            for name in _NAMES[purpose]:
                for tool in able:
                    if re.fullmatch(pattern.format(re.escape(name)), tool.name):
                        return tool
        return None


def _takes(tool: OfferedTool, needed: Collection[str]) -> bool:
    if not tool.properties:
        return not needed or tool.properties is None
    return all(_offered_name(name, tool.properties) in tool.properties for name in needed)


def plan(action: Action, tools: Toolset) -> PlannedCall | Impossible:  # noqa: PLR0911  # one return a case
    """Choose the tool and the arguments for an action."""
    match action:
        case TellTime(zone=None):
            return _call(action, tools, ("now",), {}, "tell the time")
        case TellTime(zone=zone):
            return _call(action, tools, ("zone", "now"), {"timezone": zone}, "tell the time")
        case ConvertTime(time, zone, from_zone, form, _):
            arguments = {"time": time, "format": form, "timezone": zone, "from_timezone": from_zone}
            return _call(action, tools, ("format",), arguments, "convert times")
        case RunCode(code) | Calculate(code) | Draw(code):
            return _call(action, tools, ("code",), {"code": code}, "run code")
        case Install(package, version):
            arguments = {"package": package, "version": version}
            return _call(action, tools, ("install",), arguments, "install packages")
        case ListPackages():
            return _call(action, tools, ("list",), {}, "list packages")
        case ShowStatus(of=of):
            return _call(action, tools, (of,), {}, f"look at the system's {of}")
        case never:
            assert_never(never)


def _call(
    action: Action,
    tools: Toolset,
    purposes: Sequence[str],
    arguments: Mapping[str, Any],
    ability: str,
) -> PlannedCall | Impossible:
    given = {name: value for name, value in arguments.items() if value is not None}
    found = (tools.find(purpose, given) for purpose in purposes)
    tool = next((tool for tool in found if tool is not None), None)
    if tool is None:
        return Impossible(action, ability)
    return PlannedCall(tool.name, _named_as_offered(given, tool), action)


def _named_as_offered(arguments: Mapping[str, Any], tool: OfferedTool) -> dict[str, Any]:
    if not tool.properties:
        return dict(arguments)
    return {_offered_name(name, tool.properties): value for name, value in arguments.items()}


def _offered_name(name: str, offered: frozenset[str]) -> str:
    return next((other for other in _ARGUMENTS.get(name, (name,)) if other in offered), name)
