"""reference/api/: one page and one OpenAPI document for each service."""

import json
import re
from collections.abc import Iterator
from typing import Any

from _build.markdown import code, first_sentence, page, prose, table
from _build.services import Service

Schema = dict[str, Any]
_FIELDS = ("field", "type", "required", "meaning")
_TYPE_LINK = re.compile(r"\[(\w+)\]\(#\w+\)")
_METHODS = ("get", "post", "put", "patch", "delete")


def render_document(document: Schema) -> str:
    """Return the OpenAPI document as committed: sorted, so that a change reads as one."""
    return json.dumps(_cleaned(document), indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def _cleaned(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            key: prose(item) if key == "description" and isinstance(item, str) else _cleaned(item)
            for key, item in value.items()
            # Versions belong to releases; the page must not change with one.
            if not (key == "version" and "title" in value)
        }
    return [_cleaned(item) for item in value] if isinstance(value, list) else value


def render(service: Service, document: Schema) -> str:
    """Return the page of one service."""
    mcp = "It also speaks MCP at `/mcp` (streamable HTTP). " if service.speaks_mcp else ""
    port = service.settings_class.model_fields["port"].default
    intro = (
        f"{document['info'].get('summary', '')}\n\n"
        f"{mcp}Port {port} by default; a running service shows the same interactively at `/docs`. "
        f"Errors: [errors.md](../errors.md). As a document for tools: "
        f"[{service.name}.openapi.json]({service.name}.openapi.json)."
    )
    routes = list(_routes(document))
    overview = table(
        ("route", "what it does"),
        [(code(f"{method} {path}"), first_sentence(operation.get("description"))) for method, path, operation in routes],
    )
    sections = [_section(document, *route) for route in routes]
    text = page(f"API of {service.name}", intro, overview, *sections)
    types = _types(document, text)
    return "\n".join((text, "## Types\n", *types)) if types else text


def _types(document: Schema, text: str) -> list[str]:
    """Return a section for each object that the page, or one of these sections, links to."""
    written: dict[str, str] = {}
    while waiting := sorted(set(_TYPE_LINK.findall(text)) - set(written)):
        for name in waiting:
            schema = document["components"]["schemas"][name]
            rows = table(_FIELDS, field_rows(document, schema))
            parts = (f"### {name}", prose(schema.get("description")), rows)
            written[name] = "\n\n".join(part for part in parts if part)
            text += written[name]
    return [written[name] for name in sorted(written)]


def _routes(document: Schema) -> Iterator[tuple[str, str, Schema]]:
    for path, item in document["paths"].items():
        for method in _METHODS:
            if method in item:
                yield method.upper(), path, item[method]


def _section(document: Schema, method: str, path: str, operation: Schema) -> str:
    parts = [f"## {method} {path}\n", prose(operation.get("description"))]
    parameters = operation.get("parameters", [])
    if parameters:
        rows = [
            (
                code(each["name"]),
                each["in"],
                type_text(document, each.get("schema", {})),
                "yes" if each.get("required") else "",
                each.get("description", "") or each.get("schema", {}).get("description", ""),
            )
            for each in parameters
        ]
        parts.append(table(("parameter", "in", "type", "required", "meaning"), rows))
    body = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
    if body:
        parts.append(f"Body: {_shape(document, body.get('schema', {}))}")
    for status, answer in operation.get("responses", {}).items():
        schema = answer.get("content", {}).get("application/json", {}).get("schema")
        if schema and status.startswith("2"):
            parts.append(f"Answer {status}: {_shape(document, schema)}")
    return "\n\n".join(part.rstrip() for part in parts if part.strip())


def _shape(document: Schema, schema: Schema) -> str:
    resolved = resolve(document, schema)
    rows = field_rows(document, resolved)
    if not rows:
        return type_text(document, schema)
    meaning = prose(resolved.get("description"))
    return f"{meaning}\n\n" + table(_FIELDS, rows)


def field_rows(document: Schema, schema: Schema) -> list[tuple[str, ...]]:
    """Return a table row for each property of an object schema."""
    required = set(schema.get("required", ()))
    return [
        (
            code(name),
            type_text(document, field),
            "yes" if name in required else "",
            " ".join(filter(None, (prose(field.get("description")), default_text(field)))),
        )
        for name, field in schema.get("properties", {}).items()
    ]


def default_text(field: Schema) -> str:
    """Return the default of a field as a remark, if it says anything."""
    default = field.get("default")
    if default is None or default in ("", [], {}):
        return ""
    return f"(default {code(json.dumps(default, ensure_ascii=False))})"


def resolve(document: Schema, schema: Schema) -> Schema:
    """Follow a `$ref` into the document."""
    reference = schema.get("$ref")
    if reference is None:
        return schema
    found: Any = document
    for part in reference.removeprefix("#/").split("/"):
        found = found[part]
    return dict(found)


def type_text(document: Schema, schema: Schema) -> str:
    """Return a schema's type in a few words."""
    if "$ref" in schema:
        name = str(schema["$ref"]).rsplit("/", 1)[-1]
        target = resolve(document, schema)
        # On a page of its own; the page on tools resolves what it shows.
        link = f"[{name}](#{name.lower()})"
        return type_text(document, target) if "properties" not in target else link
    for choice in ("anyOf", "oneOf"):
        if choice in schema:
            return " or ".join(dict.fromkeys(type_text(document, each) for each in schema[choice]))
    if "enum" in schema:
        return " or ".join(code(json.dumps(each)) for each in schema["enum"])
    if "const" in schema:
        return code(json.dumps(schema["const"]))
    return _plain_type(document, schema)


def _plain_type(document: Schema, schema: Schema) -> str:
    kind = schema.get("type", "any")
    if kind == "array":
        items = schema.get("items", {})
        return f"list of {type_text(document, items)}" if items else "list"
    if isinstance(kind, list):
        return " or ".join(kind)
    bounds = [text for text in (_range(schema, *each) for each in _RANGES) if text]
    return f"{kind} ({', '.join(bounds)})" if bounds else str(kind)


# What a bound is on, and its keys in JSON Schema: least, least but one, most, most but one.
_RANGES = (
    ("", "minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum"),
    ("length ", "minLength", "", "maxLength", ""),
    ("items ", "minItems", "", "maxItems", ""),
)


def _range(schema: Schema, what: str, *keys: str) -> str:
    words = ("from", "above", "to", "below")
    said = [
        f"{word} {schema[key]:g}" if isinstance(schema[key], float) else f"{word} {schema[key]}"
        for word, key in zip(words, keys, strict=True)
        if key in schema
    ]
    return what + " ".join(said) if said else ""
