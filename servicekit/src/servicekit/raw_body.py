"""Routes that read their body themselves, and still say in the API document what they take."""

from typing import Any

from pydantic import BaseModel

_COMPONENTS = "#/components/schemas/"


def raw_body(model: type[BaseModel]) -> dict[str, Any]:
    """Return the `openapi_extra` of a route that parses a body of this model by hand."""
    schema = model.model_json_schema(ref_template=_COMPONENTS + "{model}")
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


def lift_definitions(document: dict[str, Any]) -> None:
    """Move the `$defs` of such bodies to where their references point: the components.

    A reference in an OpenAPI document begins at the document's root, so that `$defs` inside of a
    schema would be found by nobody.
    """
    components: dict[str, Any] = document.setdefault("components", {}).setdefault("schemas", {})
    for methods in document.get("paths", {}).values():
        for operation in methods.values():
            for media in operation.get("requestBody", {}).get("content", {}).values():
                for name, schema in media.get("schema", {}).pop("$defs", {}).items():
                    if components.setdefault(name, schema) != schema:
                        raise ValueError(f"two different models are called {name}")
