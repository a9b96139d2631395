"""Collects, inside a worker, what a cell shows beside its text. It stands beside untrusted code.

Every object is asked for its own forms, as notebooks do (``_repr_html_`` and the like). Whatever
such a method does, raise, lie or return nonsense, is left out; if it hangs, the cell's time limit
ends it as it ends any code.
"""

import base64
import binascii
import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from sandbox_runner.rich_messages import (
    BINARY_TYPES,
    MAX_CONTENT_BYTES,
    MAX_JSON_BYTES,
    MAX_OUTPUTS,
    TEXT_TYPES,
    OutputKind,
    is_json_type,
    is_known_type,
    is_picture,
)

# In the order of the protocol that IPython's documentation describes ("rich display").
_METHODS: Final = (
    ("_repr_html_", "text/html"),
    ("_repr_markdown_", "text/markdown"),
    ("_repr_latex_", "text/latex"),
    ("_repr_svg_", "image/svg+xml"),
    ("_repr_png_", "image/png"),
    ("_repr_jpeg_", "image/jpeg"),
    ("_repr_json_", "application/json"),
)
_BUNDLE: Final = "_repr_mimebundle_"
_METHOD_NAMES: Final = (_BUNDLE, *(method for method, _ in _METHODS))


@dataclass(frozen=True, slots=True)
class Shown:
    """One thing shown, with its forms by media type."""

    kind: OutputKind
    forms: Mapping[str, bytes]


class Showcase:
    """What one cell has shown so far, up to the caps."""

    def __init__(self) -> None:
        self._shown: list[Shown] = []
        self._size_bytes = 0
        self._dropped = 0
        self._lock = threading.Lock()

    def clear(self) -> None:
        """Begin a cell."""
        self._lock = threading.Lock()  # a thread that the fork left behind may have held it
        self._shown = []
        self._size_bytes = self._dropped = 0

    def add(self, kind: OutputKind, build: Callable[[], Mapping[str, bytes]]) -> None:
        """Take the forms that are built, while there is a place; the rest is counted and dropped.

        Once all places are taken, or as many things were too large, nothing more is built but the
        result: what nobody will see would cost the time of the cell.
        """
        is_spent = self._dropped >= MAX_OUTPUTS and kind != "result"
        forms = None if self._is_full or is_spent else build()
        # What builds them is the cell's own, and may show something itself; so may its threads.
        with self._lock:
            size_bytes = sum(map(len, (forms or {}).values()))
            if forms is None or self._is_full or self._size_bytes + size_bytes > MAX_CONTENT_BYTES:
                self._dropped += 1
            elif forms:
                self._size_bytes += size_bytes
                self._shown.append(Shown(kind, forms))

    @property
    def _is_full(self) -> bool:
        return len(self._shown) >= MAX_OUTPUTS

    def pack(self) -> tuple[dict[str, Any], bytes]:
        """Return the heads, for a report, and the content behind it."""
        heads = [
            {
                "kind": each.kind,
                "forms": [(name, len(content)) for name, content in each.forms.items()],
            }
            for each in self._shown
        ]
        content = b"".join(content for each in self._shown for content in each.forms.values())
        return {"outputs": heads, "outputs_dropped": self._dropped}, content


def has_forms(value: object) -> bool:
    """Say whether an object has a method that gives a form; a class has them for its instances."""
    kind = type(value)
    if issubclass(kind, type):
        return False
    return any(_method(kind, name) is not None for name in _METHOD_NAMES)


def forms_of(value: object) -> dict[str, bytes]:
    """Return the rich forms that an object gives of its own; none of them is its `repr`."""
    kind = type(value)
    forms: dict[str, bytes] = {}
    for name, said in _bundle(_ask(kind, value, _BUNDLE)):
        _take(forms, name, said)
    for method, name in _METHODS:
        if name not in forms and not (name == "image/jpeg" and "image/png" in forms):
            _take(forms, name, _ask(kind, value, method))
    return forms


def _bundle(said: object) -> list[tuple[str, object]]:
    """Return the forms of a bundle; `repr` is no form of its own."""
    if type(said) is tuple and said:
        said = said[0]  # data, and metadata that nobody here uses
    if type(said) is not dict:
        return []
    return [
        (name, form)
        for name, form in list(said.items())[:MAX_OUTPUTS]
        if type(name) is str and name != "text/plain"
    ]


def _ask(kind: type, value: object, method: str) -> object:
    try:
        found = _method(kind, method)
        return None if found is None else found(value)
    except BaseException:  # noqa: BLE001  # the method is the cell's own
        return None


def _method(kind: type, method: str) -> Any:
    """Return a method of the type, as the interpreter looks up its own.

    Objects that claim to have every attribute are not asked.
    """
    try:
        return getattr(kind, method, None)
    except BaseException:  # noqa: BLE001  # a metaclass of the cell's
        return None


def _take(forms: dict[str, bytes], name: str, said: object) -> None:
    """Add a form, if what was said is one and there is room."""
    if len(forms) >= len(_METHODS):
        return
    try:
        content = _content(name, said)
    except BaseException:  # noqa: BLE001  # what was said is the cell's own object
        return
    if content is not None:
        forms[name] = content


def _content(name: str, said: object) -> bytes | None:
    if said is None or not is_known_type(name):
        return None
    if isinstance(said, tuple) and said:
        said = said[0]  # data, and metadata
    if is_json_type(name):
        return _json(said)
    if name in TEXT_TYPES:
        return str.__str__(said).encode("utf-8", "replace") if isinstance(said, str) else None
    if name in BINARY_TYPES:
        return _picture(name, said)
    return None


def _json(said: object) -> bytes | None:
    text = json.dumps(said, allow_nan=False, separators=(",", ":"))
    return text.encode() if len(text) <= MAX_JSON_BYTES else None


def _picture(name: str, said: object) -> bytes | None:
    if isinstance(said, str):
        try:
            said = base64.b64decode(said, validate=True)
        except binascii.Error:
            return None
    if not isinstance(said, bytes | bytearray):
        return None
    content = bytes(said)
    return content if is_picture(name, content) else None
