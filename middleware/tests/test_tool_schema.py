"""Schemas of foreign servers become what every model server accepts."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from middleware.conversation import Tool
from middleware.offer import Offer
from middleware.tool_schema import normalised

TYPES = {"string", "number", "integer", "boolean", "object", "array", "null"}


def assert_plain(node: dict[str, Any]) -> None:
    """Check what Ollama answers 400 to, or never shows the model, at every depth."""
    assert node["type"] in TYPES
    assert isinstance(node.get("description", ""), str)
    assert not {"$ref", "anyOf", "oneOf", "allOf", "additionalProperties", "default"} & set(node)
    for child in node.get("properties", {}).values():
        assert_plain(child)
    if "items" in node:
        assert_plain(node["items"])
    assert isinstance(node.get("required", []), list)


def prop(schema: Any, **defs: Any) -> dict[str, Any]:
    whole = normalised({"type": "object", "properties": {"p": schema}, "$defs": defs})
    assert_plain(whole)
    result: dict[str, Any] = whole["properties"]["p"]
    return result


def test_reference_is_written_out():
    node = prop({"$ref": "#/$defs/Zone", "description": "Where"}, Zone={"enum": ["UTC", "CET"]})
    assert node == {"type": "string", "description": "Where", "enum": ["UTC", "CET"]}


def test_reference_to_itself_ends():
    prop({"$ref": "#/$defs/A"}, A={"$ref": "#/$defs/A"})
    tree = {"type": "object", "properties": {"child": {"$ref": "#/$defs/Tree"}}}
    prop({"$ref": "#/$defs/Tree"}, Tree=tree)


def test_list_of_types_becomes_its_first_that_is_not_null():
    assert prop({"type": ["null", "integer", "string"]})["type"] == "integer"


def test_optional_becomes_its_type():
    node = prop({"anyOf": [{"type": "number"}, {"type": "null"}], "default": None, "title": "P"})
    assert node == {"type": "number"}


def test_true_becomes_a_type():
    assert prop(True)["type"] == "string"


def test_bounds_and_defaults_are_said_in_words():
    node = prop(
        {"type": "number", "description": "Seconds", "minimum": 0, "maximum": 9, "default": 5}
    )
    assert node["description"] == "Seconds (at least 0, at most 9, default 5)"


def test_alternatives_are_said_in_words():
    assert (
        "integer or string"
        in prop({"anyOf": [{"type": "integer"}, {"type": "string"}]})["description"]
    )


def test_all_of_is_merged():
    node = prop({"allOf": [{"$ref": "#/$defs/Base"}]}, Base={"type": "integer"})
    assert node["type"] == "integer"


@pytest.mark.parametrize("required", ["p", True, None, ["p", "gone"]])
def test_required_is_a_list_of_what_there_is(required):
    schema = normalised({"type": "object", "properties": {"p": {}}, "required": required})
    assert schema["required"] in ([], ["p"])


@pytest.mark.parametrize(
    "schema", [{}, {"type": ["object"]}, {"type": "object"}, {"properties": 5}]
)
def test_root_is_always_an_object(schema):
    assert normalised(schema) == {"type": "object", "properties": {}, "required": []}


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["type", "properties", "items", "anyOf", "allOf", "$ref", "enum", "required", "p"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=15,
)


@given(st.dictionaries(st.sampled_from(["type", "properties", "required", "$defs"]), json_values))
def test_no_schema_breaks_it(schema):
    assert_plain(normalised(schema))


def test_names_that_no_api_takes_are_made_safe_and_stay_apart():
    own = [Tool(name, "", {}) for name in ("a.b", "a/b", "x" * 100, "x" * 99, "")]
    offer = Offer.of(own)
    assert len(set(offer.names)) == 5
    assert all(len(name) <= 64 and "." not in name and "/" not in name for name in offer.names)
    assert offer.own["a_b"].name == "a.b"
