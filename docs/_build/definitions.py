"""Makes an OpenAPI document whole whose schemas carry definitions of their own.

A route that reads its body itself describes it with a model's JSON Schema, and that points
to `#/$defs/…`, which in an OpenAPI document is nowhere.
"""

from typing import Any

_LOCAL = "#/$defs/"
_SHARED = "#/components/schemas/"


def hoisted(document: dict[str, Any]) -> dict[str, Any]:
    """Return the document with every `$defs` moved to its components.

    Raises
    ------
    ValueError
        Two different definitions have one name.
    """
    found: dict[str, Any] = {}
    whole: dict[str, Any] = _without_definitions(document, found)
    schemas = whole.setdefault("components", {}).setdefault("schemas", {})
    for name, schema in found.items():
        if schemas.setdefault(name, schema) != schema:
            raise ValueError(f"two schemas of one document are called {name}")
    return whole


def _without_definitions(value: Any, found: dict[str, Any]) -> Any:
    if isinstance(value, list):
        return [_without_definitions(item, found) for item in value]
    if not isinstance(value, dict):
        return value
    for name, schema in value.get("$defs", {}).items():
        found[name] = _without_definitions(schema, found)
    return {
        key: item.replace(_LOCAL, _SHARED)
        if key == "$ref" and isinstance(item, str)
        else _without_definitions(item, found)
        for key, item in value.items()
        if key != "$defs"
    }
