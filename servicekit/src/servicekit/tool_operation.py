"""A tool's HTTP operation: where its arguments go, and what its schema must say."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import quote

from mcp import types

from servicekit.errors import ArgumentsInvalid
from servicekit.schema_check import ArgumentCheck

_SUCCESS_STATUSES: Final = ("200", "201", "202", "203")
_CONTEXT_HEADERS: Final = frozenset({"x-request-id", "traceparent", "x-deadline-ms", "x-client-id"})


@dataclass(frozen=True, slots=True)
class ToolOperation:
    """Where a tool's arguments go."""

    method: str
    path: str
    places: Mapping[str, str]
    has_body: bool
    check: ArgumentCheck = field(compare=False)

    def request(
        self, arguments: Mapping[str, Any]
    ) -> tuple[str, dict[str, Any], dict[str, str], dict[str, Any] | None]:
        """Split arguments into path, query, headers and body."""
        path, body = self.path, dict(arguments)
        query: dict[str, Any] = {}
        headers: dict[str, str] = {}
        for name, place in self.places.items():
            if (value := body.pop(name, None)) is None:
                continue
            if place == "path":
                path = path.replace(f"{{{name}}}", _path_segment(value))
            elif place == "query":
                query[name] = value
            elif place == "header" and name.lower() not in _CONTEXT_HEADERS:
                headers[name] = str(value)
        return path, query, headers, body if self.has_body else None


def _path_segment(value: Any) -> str:
    """Quote a value so that it stays one segment: `../admin` must not leave its route.

    A slash is refused, not quoted: an ASGI path arrives decoded, so that `5/delete` for
    `/items/{id}` would reach the route `/items/{id}/delete`.
    """
    text = str(value)
    if not text.strip(".") or "/" in text:
        raise ArgumentsInvalid(
            "A value that becomes part of an address must not be empty, only dots, or hold a slash."
        )
    return quote(text, safe="")


def refine(tool: types.Tool, operation: Mapping[str, Any]) -> None:
    """Repair what the conversion of fastapi-mcp 0.4.0 loses."""
    tool.title = operation.get("summary") or None
    tool.description = operation.get("description") or operation.get("summary") or ""
    schema = tool.input_schema
    for argument in schema["properties"].values():
        if "anyOf" in argument:
            # It sets "type" beside anyOf, which refuses null where null is allowed.
            argument.pop("type", None)
    if required := sorted(set(schema.get("required", []))):
        schema["required"] = required
    body = _json_schema(operation.get("requestBody", {}))
    if not operation.get("requestBody") or body.get("additionalProperties") is False:
        # What the endpoint would drop or refuse is refused here, with its name.
        schema["additionalProperties"] = False
    output = next(
        (
            _json_schema(operation["responses"][status])
            for status in _SUCCESS_STATUSES
            if status in operation.get("responses", {})
        ),
        {},
    )
    if output.get("type") == "object" and "properties" in output:
        tool.output_schema = output
    if annotations := operation.get("x-mcp-annotations"):
        tool.annotations = types.ToolAnnotations.model_validate(annotations)


def _json_schema(part: Mapping[str, Any]) -> dict[str, Any]:
    schema: dict[str, Any] = part.get("content", {}).get("application/json", {}).get("schema", {})
    return schema
