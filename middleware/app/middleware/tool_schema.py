"""Tool schemas as every model server accepts them.

Foreign MCP servers write any JSON Schema; Ollama answers some of it with 400 and
keeps the rest from the model (a list as `type`, a property that is `true`, `$ref`,
bounds, defaults). So references are written out, lists of types reduced, and what
the server would drop is said in words. Arguments are validated against the
*original* schema; this form is only for the model's eyes.
"""

from collections.abc import Mapping
from typing import Any

_MAX_DEPTH = 8
_MAX_DESCRIPTION = 1024
_BOUNDS = (
    ("minimum", "at least {}"),
    ("exclusiveMinimum", "more than {}"),
    ("maximum", "at most {}"),
    ("exclusiveMaximum", "less than {}"),
    ("minLength", "at least {} characters"),
    ("maxLength", "at most {} characters"),
    ("minItems", "at least {} items"),
    ("maxItems", "at most {} items"),
    ("pattern", "matching {}"),
    ("format", "format {}"),
    ("default", "default {}"),
)
_JSON_TYPES = frozenset({"string", "number", "integer", "boolean", "object", "array", "null"})


def normalised(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return an object schema that any OpenAI-compatible server accepts."""
    root = schema if isinstance(schema, Mapping) else {}
    result = _node(root, root, 0)
    properties = result.get("properties", {})
    required = root.get("required")
    names = [str(name) for name in required] if isinstance(required, list) else []
    return {
        "type": "object",
        "properties": properties,
        "required": [name for name in names if name in properties],
    }


def _node(schema: Any, root: Mapping[str, Any], depth: int) -> dict[str, Any]:
    if not isinstance(schema, Mapping) or depth > _MAX_DEPTH:
        # `true`, or a recursion without end: any value.
        return {"type": "object"} if depth > _MAX_DEPTH else {"type": "string"}
    node = _one_option(_resolved(schema, root), root)
    kind = _type_of(node)
    result: dict[str, Any] = {"type": kind}
    description = _description(node)
    if description:
        result["description"] = description
    values = node.get("enum", [node["const"]] if "const" in node else None)
    if isinstance(values, list) and values:
        result["enum"] = [value for value in values if value is not None] or values
    return result | _children(node, kind, root, depth)


def _children(
    node: Mapping[str, Any], kind: str, root: Mapping[str, Any], depth: int
) -> dict[str, Any]:
    if kind == "array":
        items = node.get("items")
        return {"items": _node(items, root, depth + 1)} if isinstance(items, Mapping) else {}
    properties = node.get("properties")
    if kind != "object" or not isinstance(properties, Mapping):
        return {}
    children = {str(name): _node(child, root, depth + 1) for name, child in properties.items()}
    required = node.get("required")
    listed = required if isinstance(required, list) else []
    names = [name for name in listed if isinstance(name, str) and name in children]
    return {"properties": children} | ({"required": names} if names and depth else {})


def _resolved(schema: Mapping[str, Any], root: Mapping[str, Any]) -> Mapping[str, Any]:
    seen: set[str] = set()
    node = schema
    while isinstance(reference := node.get("$ref"), str) and reference not in seen:
        seen.add(reference)
        target = _at(reference, root)
        beside = {key: value for key, value in node.items() if key != "$ref"}
        node = {**target, **beside}
    merged = {key: value for key, value in node.items() if key != "$ref"}
    for part in node.get("allOf", ()) if isinstance(node.get("allOf"), list) else ():
        if isinstance(part, Mapping) and part is not schema:
            merged = {**_shallow(part, root), **merged}
    return merged


def _shallow(part: Mapping[str, Any], root: Mapping[str, Any]) -> Mapping[str, Any]:
    reference = part.get("$ref")
    return _at(reference, root) if isinstance(reference, str) else part


def _at(reference: str, root: Mapping[str, Any]) -> Mapping[str, Any]:
    """Follow a JSON pointer inside the document; a foreign address gives an open schema."""
    if not reference.startswith("#"):
        return {}
    node: Any = root
    for part in reference[1:].split("/")[1:]:
        key = part.replace("~1", "/").replace("~0", "~")
        node = node.get(key) if isinstance(node, Mapping) else None
    return node if isinstance(node, Mapping) else {}


def _one_option(node: Mapping[str, Any], root: Mapping[str, Any]) -> Mapping[str, Any]:
    """Reduce alternatives to the first that is not null; the others are said in words."""
    for keyword in ("anyOf", "oneOf"):
        options = node.get(keyword)
        if not isinstance(options, list):
            continue
        read = [_resolved(option, root) for option in options if isinstance(option, Mapping)]
        useful = [option for option in read if option.get("type") != "null"]
        if useful:
            beside = {key: value for key, value in node.items() if key != keyword}
            kinds = " or ".join(dict.fromkeys(_type_of(option) for option in useful))
            words = {"description": _joined(beside.get("description"), f"({kinds})")}
            return {**useful[0], **beside, **(words if len(useful) > 1 else {})}
    return node


def _type_of(node: Mapping[str, Any]) -> str:
    declared = node.get("type")
    if isinstance(declared, list):
        declared = next((name for name in declared if name != "null"), "string")
    if isinstance(declared, str) and declared in _JSON_TYPES:
        return declared
    if isinstance(node.get("properties"), Mapping):
        return "object"
    if "items" in node:
        return "array"
    values = node.get("enum")
    sample = values[0] if isinstance(values, list) and values else node.get("const")
    return _name_of(sample)


def _name_of(sample: Any) -> str:
    names = {bool: "boolean", int: "integer", float: "number", list: "array", dict: "object"}
    return names.get(type(sample), "string")


def _description(node: Mapping[str, Any]) -> str:
    notes = [
        words.format(_shown(node[keyword]))
        for keyword, words in _BOUNDS
        if keyword in node and node[keyword] is not None and not isinstance(node[keyword], Mapping)
    ]
    said = f"({', '.join(notes)})" if notes else ""
    return _joined(node.get("description"), said)[:_MAX_DESCRIPTION]


def _shown(value: Any) -> str:
    return f'"{value}"' if isinstance(value, str) and not value else str(value)


def _joined(*parts: Any) -> str:
    return " ".join(part.strip() for part in parts if isinstance(part, str) and part.strip())
