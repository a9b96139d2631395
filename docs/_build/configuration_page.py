"""reference/configuration.md: every variable, from the settings classes themselves."""

import os
import inspect
import re
import tempfile
import types
import typing
from collections.abc import Callable, Iterator
from dataclasses import MISSING, fields
from enum import Enum
from pathlib import Path
from typing import Any, Literal

import annotated_types
from launcher.settings import DEFAULT_PORTS, OWN_NAMES, env_prefix
from pydantic import SecretStr
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined
from sandbox_runner.settings import (
    _READERS,
    PACKAGES_VARIABLE,
    PREFIX,
    WORKSPACE_VARIABLE,
    RunnerSettings,
)
from servicekit.secret_files import is_secret
from servicekit.settings import ServiceSettings, variable_names

from _build import container_settings
from _build.markdown import code, page, table
from _build.services import SERVICES

ROOT = Path(__file__).resolve().parents[2]
_SHARED_NAMES = {"packages_dir": PACKAGES_VARIABLE, "workspace": WORKSPACE_VARIABLE}
_HEADER = ("variable", "type", "default", "bounds", "meaning")

_INTRO = """
Settings come from environment variables, read once at start. `make local` and `make ask` also read
`.env` in the top folder (copy [.env.example](../../.env.example)); a variable of the shell wins over
the file.

A wrong value ends the program at once, with status 78 and a sentence that names the variable. A
misspelt name with one of our prefixes does so too, and the sentence names the nearest right one.
Kubernetes' service links (`SANDBOX_PORT=tcp://…`) are not taken for settings.

A list is written with commas: `MIDDLEWARE_CORS_ORIGINS=https://chat.example,https://old.example`.

What is marked *may be a file* holds a key or a password. `LLM_API_KEY_FILE=/path` names a file with it,
for each of them, in `.env` too; a container has that file, as a [secret of Compose](../../secrets/README.md),
at `/run/secrets/LLM_API_KEY`. A file that is empty sets nothing, and a variable wins over a file.
"""

_EVERY_SERVICE = """
Each service has these under its own prefix; `PORT` stands in the service's table below.
"""

_LAUNCHER = """
Read by `make local` and `make ask`. The launcher also reads each service's `…_HOST` and `…_PORT`,
and hands every service the addresses of its neighbours itself.
"""

_TRACES = """
Off until `OTEL_EXPORTER_OTLP_ENDPOINT` (or `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT`) names a collector. It and
OpenTelemetry's other variables are the same for the five services that a request passes:
[trace requests](../how-to/trace-requests.md).
"""

_LAUNCHER_MEANINGS = {
    "LAUNCHER_ROOT": ("path", "the checkout", "folder of the checkout"),
    "LAUNCHER_RUN_DIR": ("path", ".run", "folder for logs and state, relative to the checkout"),
    "LAUNCHER_START_TIMEOUT_SECONDS": (
        "number",
        "60.0",
        "seconds that the start of the whole stack may take",
    ),
    "LAUNCHER_STOP_TIMEOUT_SECONDS": (
        "number",
        "15.0",
        "seconds that programs may take to end before they are killed",
    ),
    "LAUNCHER_CELL_PYTHON": (
        "path",
        ".cells/bin/python",
        "interpreter for code that runs in the sandbox; it must have none of our packages",
    ),
}


def render() -> str:
    """Return the page."""
    sections = [f"## Every service\n\n{_EVERY_SERVICE.strip()}\n\n{_shared_table()}"]
    sections += [f"## {service.name}\n\n{_own_table(service)}" for service in SERVICES]
    sections.append(f"## sandbox-runner\n\n{_runner_table()}")
    sections.append(f"## launcher\n\n{_LAUNCHER.strip()}\n\n{_launcher_table()}")
    others = "\n".join(sections)
    sections.append(f"## Containers\n\n{container_settings.render(others)}")
    sections.append(f"## Traces\n\n{_TRACES.strip()}")
    return page("Configuration", _INTRO.strip(), *sections)


def _shared_table() -> str:
    rows = [
        _row(f"…_{name.upper()}", info)
        for name, info in ServiceSettings.model_fields.items()
        if name != "port"
    ]
    return table(_HEADER, rows)


def _own_table(service: Any) -> str:
    settings = service.settings_class
    shared = {
        name
        for name, info in ServiceSettings.model_fields.items()
        if _row("", info) == _row("", settings.model_fields[name])
    }
    rows = [
        _row(variable, settings.model_fields[field])
        for variable, field in variable_names(settings).items()
        if field not in shared
    ]
    return table(_HEADER, rows)


def _row(variable: str, info: FieldInfo) -> tuple[str, ...]:
    default = None if info.default is PydanticUndefined else info.default
    return (
        code(variable),
        _type_name(info.annotation),
        code(_default_text(default)),
        ", ".join(_bounds(info)),
        (info.description or "") + ("; *may be a file*" if is_secret(info) else ""),
    )


def _type_name(annotation: Any) -> str:
    if isinstance(annotation, typing.TypeAliasType if hasattr(typing, "TypeAliasType") else ()):
        annotation = annotation.__value__
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return _type_name(arguments[0])
    if origin is Literal:
        return " or ".join(code(str(each)) for each in arguments)
    if origin in {typing.Union, types.UnionType}:
        names = [_type_name(each) for each in arguments if each is not type(None)]
        return ", ".join(dict.fromkeys(names))
    if origin in {tuple, list, frozenset, set}:
        return "list"
    plain = {
        str: "text", int: "whole number", float: "number", bool: "true or false",
        Path: "path", SecretStr: "secret",
    }  # fmt: skip
    if annotation in plain:
        return plain[annotation]
    return str(getattr(annotation, "__name__", annotation))


def _default_text(value: Any) -> str:
    if value is None or value == ():
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Enum):
        return str(value.value)
    if isinstance(value, (tuple, list, set, frozenset)):
        return ",".join(sorted(map(str, value)) if isinstance(value, (set, frozenset)) else value)
    if isinstance(value, Path):
        return _path_text(value)
    return str(value)


def _path_text(path: Path) -> str:
    if path.is_relative_to(ROOT):
        return str(path.relative_to(ROOT))
    temporary = Path(tempfile.gettempdir())
    if not path.is_relative_to(temporary):
        return str(path)
    # Whoever writes the page: each user has folders of a name of their own.
    return f"$TMPDIR/{path.relative_to(temporary)}".replace(f"-{os.getuid()}", "-UID")


_SIGNS: dict[type, tuple[str, str]] = {
    annotated_types.Gt: ("gt", "above"),
    annotated_types.Ge: ("ge", "from"),
    annotated_types.Lt: ("lt", "below"),
    annotated_types.Le: ("le", "to"),
}


def _bounds(info: FieldInfo) -> Iterator[str]:
    for item in _constraints(info):
        if type(item) in _SIGNS:
            attribute, word = _SIGNS[type(item)]
            yield f"{word} {_number(getattr(item, attribute))}"


def _constraints(info: FieldInfo) -> Iterator[Any]:
    yield from info.metadata
    for argument in typing.get_args(info.annotation):
        # `Annotated[int, Field(ge=1)] | None` keeps its bounds one level down.
        for item in getattr(argument, "__metadata__", ()):
            yield from getattr(item, "metadata", (item,))


def _number(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:g}"


def _runner_table() -> str:
    meanings = _attribute_meanings(RunnerSettings.__doc__ or "")
    rows = []
    for field in fields(RunnerSettings):
        name = _SHARED_NAMES.get(field.name, PREFIX + field.name.upper())
        rows.append(
            (
                code(name),
                _type_name(typing.get_type_hints(RunnerSettings)[field.name]),
                code("" if field.default is MISSING else _default_text(field.default)),
                _reader_bounds(_READERS.get(field.name)),
                meanings[field.name],
            )
        )
    return table(_HEADER, rows)


def _attribute_meanings(docstring: str) -> dict[str, str]:
    """Read numpy's Attributes section: names on one line, the text indented below."""
    section = inspect.cleandoc(docstring).split("Attributes\n----------\n")[1]
    found = re.findall(r"^(\w[\w, ]*)\n((?:    .*\n?)+)", section, flags=re.MULTILINE)
    meanings: dict[str, str] = {}
    for names, text in found:
        fields_of_entry = [name.strip() for name in names.split(",")]
        sentence = " ".join(text.split()).replace("``", "`").rstrip(".")
        parts = sentence.split("; ")
        if len(parts) != len(fields_of_entry):
            parts = [sentence] * len(fields_of_entry)
        meanings |= dict(zip(fields_of_entry, parts, strict=True))
    return meanings


def _reader_bounds(reader: Callable[[str], Any] | None) -> str:
    if reader is None:
        return ""
    held = inspect.getclosurevars(reader).nonlocals
    return f"from {_number(held['low'])}, to {_number(held['high'])}" if "low" in held else ""


def _launcher_table() -> str:
    unknown = set(OWN_NAMES) ^ set(_LAUNCHER_MEANINGS)
    if unknown:
        raise LookupError(f"the launcher's variables and this page differ in {sorted(unknown)}")
    rows = [
        (code(name), kind, code(default), "", meaning)
        for name, (kind, default, meaning) in _LAUNCHER_MEANINGS.items()
    ]
    rows.append(
        (code("VERBOSE"), "true or false", code("false"), "", "show every line of every log")
    )
    rows += [
        (code(f"{env_prefix(name)}PORT"), "whole number", code(str(port)), "", f"port of {name}")
        for name, port in DEFAULT_PORTS.items()
    ]
    return table(_HEADER, rows)
