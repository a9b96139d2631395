"""reference/tools.md: the MCP tools that the stack offers, from the routes that serve them."""

from typing import Any

from _build.api_page import field_rows, resolve, type_text
from _build.markdown import code, page, prose, table
from _build.services import Service

TOOL_TAGS = {"tool", "own-tools"}
# The sandbox speaks MCP too; the gateway does not offer its tools, code-executor's stand for them.
OFFERED_BY = ("code-executor", "time-client", "mcp-server")

_INTRO = """
What `tools/list` of the gateway (`http://localhost:8000/mcp`) answers on a stack as `make local`
starts it. The same list with full JSON Schemas: `GET http://localhost:8000/mcp/tools`.
"""


def render(documents: dict[Service, dict[str, Any]]) -> str:
    """Return the page."""
    sections = []
    for service, document in documents.items():
        if service.name not in OFFERED_BY:
            continue
        for operation in _tools(document):
            sections.append(_section(service, document, operation))
    return page("Tools", _INTRO.strip(), *sections)


def _tools(document: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        operation
        for item in document["paths"].values()
        for operation in item.values()
        if TOOL_TAGS & set(operation.get("tags", ()))
    ]


def _section(service: Service, document: dict[str, Any], operation: dict[str, Any]) -> str:
    body = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
    rows = field_rows(document, resolve(document, body.get("schema", {})))
    rows += [
        (
            code(each["name"]),
            type_text(document, each.get("schema", {})),
            "yes" if each.get("required") else "",
            each.get("description", ""),
        )
        for each in operation.get("parameters", ())
    ]
    arguments = table(("argument", "type", "required", "meaning"), rows) if rows else "No arguments."
    return "\n\n".join(
        (
            f"## {operation['operationId']}",
            f"From `{service.name}`. {prose(operation.get('description'))}",
            arguments,
        )
    )
