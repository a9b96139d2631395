"""JSON messages and their fields: read strictly, and complained of by name."""

import json
from collections.abc import Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from typing import Any, Final

from sandbox_runner.frames import Frame, FrameKind, ProtocolError

_SCALARS: Final = frozenset({str, int, float, bool, type(None)})
# Made once: `json.dumps` makes one for each message that is to have no spaces.
_ENCODER: Final = json.JSONEncoder(separators=(",", ":"))

_names_of: Final[dict[type, tuple[str, ...]]] = {}
_defaults_of: Final[dict[type, dict[str, Any]]] = {}


def members(message: Any) -> dict[str, Any]:
    """Return the fields of a dataclass, and of those that it holds, as JSON takes them.

    `asdict` would do; it copies every value and takes four times as long, for each cell.
    """
    kind = type(message)
    names = _names_of.get(kind)
    if names is None:
        names = _names_of[kind] = tuple(field.name for field in fields(message))
    return {name: _plain(getattr(message, name)) for name in names}


def given_members(message: Any) -> dict[str, Any]:
    """Return the `members` of a dataclass that are not what they are by default.

    Of twenty that a run has, most are: what is not sent has not to be written and read either.
    """
    kind = type(message)
    defaults = _defaults_of.get(kind)
    if defaults is None:
        defaults = _defaults_of[kind] = {field.name: _default(field) for field in fields(message)}
    return {
        name: _plain(value)
        for name, default in defaults.items()
        if (value := getattr(message, name)) != default
    }


def _default(field: "Field[Any]") -> Any:
    return field.default if field.default_factory is MISSING else field.default_factory()


def _plain(value: Any) -> Any:
    if type(value) in _SCALARS:
        return value
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return members(value) if is_dataclass(value) else value


def dump(message: Mapping[str, Any]) -> bytes:
    """Return a message as the payload of a JSON frame."""
    return _ENCODER.encode(message).encode("ascii")


def load(frame: Frame) -> dict[str, Any]:
    """Return the message in a JSON frame.

    Raises
    ------
    ProtocolError
        The frame holds no JSON object.
    """
    if frame.kind is not FrameKind.JSON:
        raise ProtocolError("expected a JSON frame")
    try:
        message = json.loads(frame.payload)
    except (ValueError, RecursionError):
        raise ProtocolError("the frame is not JSON") from None
    if not isinstance(message, dict):
        raise ProtocolError("the frame is not a JSON object")
    return message


def only(message: Mapping[str, Any], *allowed: str) -> None:
    """Complain of fields that are not among the `allowed`."""
    unknown = sorted(str(name)[:40] for name in message if name not in allowed)
    if unknown:
        raise ProtocolError(f"unknown fields: {', '.join(unknown)}")


def string(message: Mapping[str, Any], name: str) -> str:
    """Return a field that must be a string."""
    value = message.get(name)
    if not isinstance(value, str):
        raise ProtocolError(f"{name} must be a string")
    return value


def optional_string(message: Mapping[str, Any], name: str) -> str | None:
    """Return a field that may be missing or null, else must be a string."""
    return None if message.get(name) is None else string(message, name)


def positive(message: Mapping[str, Any], name: str) -> int | None:
    """Return a field that must be a positive integer or null."""
    value = message[name]
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or value <= 0:
        raise ProtocolError(f"{name} must be a positive integer")
    return value
