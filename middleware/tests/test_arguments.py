"""From a model's text to arguments that may be used, or to a sentence for the model."""

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from middleware.arguments import (
    Refused,
    Valid,
    complaints_about,
    parse,
    read_arguments,
    sound_arguments,
)

SCHEMA = {
    "type": "object",
    "properties": {
        "code": {"type": "string"},
        "count": {"type": "integer", "minimum": 1},
        "ratio": {"anyOf": [{"type": "number"}, {"type": "null"}]},
        "is_on": {"type": "boolean"},
        "tags": {"type": "array", "items": {"type": "string"}},
        "options": {"type": "object"},
    },
    "additionalProperties": False,
}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"a": 1}', {"a": 1}),
        ('  {"a": 1}\n', {"a": 1}),
        ("", {}),
        ("null", {}),
        ('```json\n{"a": 1}\n```', {"a": 1}),
        ('"{\\"a\\": 1}"', {"a": 1}),
        ('{"a": 1,}', {"a": 1}),
        ('{"a": [1, 2,],}', {"a": [1, 2]}),
        ("{'a': 'b', 'c': True, 'd': None}", {"a": "b", "c": True, "d": None}),
        ('{"code": "line one\nline two"}', {"code": "line one\nline two"}),
        ('{"a": {"b": 1}', {"a": {"b": 1}}),
        ('{"a": [1, 2', {"a": [1, 2]}),
        ('{"a": "x, }"}', {"a": "x, }"}),
        ('{"a": "x, ]",}', {"a": "x, ]"}),
    ],
)
def test_what_is_badly_written_is_repaired(text, value):
    assert parse(text) == value


@pytest.mark.parametrize(
    "text",
    [
        '{"code": "print(1',
        '{"code": "print(1)", "x": "ab',
        "print(1)",
        "{code: 1}",
        '{"a": }',
        "{'a': open('x')}",
        '{"a": 1} {"b": 2}',
        "[" * 100_000,
        "{'a': b'x'}",
    ],
)
def test_what_is_ambiguous_is_not_repaired(text):
    with pytest.raises(ValueError):  # noqa: PT011  # json's own sentences
        parse(text)


@given(st.text(max_size=200))
def test_parsing_never_breaks(text):
    with contextlib.suppress(ValueError):
        parse(text)


@given(st.dictionaries(st.text(max_size=8), st.text(max_size=20), max_size=4), st.data())
def test_a_cut_inside_a_string_is_never_repaired(arguments, data):
    text = json.dumps({**arguments, "code": "x = 'abcdefgh'"})
    cut = text[: text.rindex("abcdefgh") + data.draw(st.integers(0, 8))]
    with pytest.raises(ValueError):  # noqa: PT011  # json's own sentences
        parse(cut)


@given(st.text(max_size=200))
def test_sound_arguments_are_one_object_in_any_case(text):
    assert isinstance(json.loads(sound_arguments(text)), dict)


@pytest.mark.parametrize(
    ("arguments", "used"),
    [
        ({"count": "5"}, {"count": 5}),
        ({"ratio": "0.5"}, {"ratio": 0.5}),
        ({"is_on": "True"}, {"is_on": True}),
        ({"tags": '["a", "b"]'}, {"tags": ["a", "b"]}),
        ({"options": '{"x": 1}'}, {"options": {"x": 1}}),
        ({"code": "1", "count": None}, {"code": "1"}),
        ({"ratio": None}, {"ratio": None}),
        ({"code": "5"}, {"code": "5"}),
    ],
)
def test_right_values_of_the_wrong_type_are_converted(arguments, used):
    assert read_arguments(json.dumps(arguments), SCHEMA) == Valid(used)


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ('{"count": 0}', "count"),
        ('{"count": "many"}', "count"),
        ('{"count": "0"}', "count"),
        ('{"colour": 1}', "colour"),
        ('{"code": 5}', "code"),
        ("[1]", "object"),
        ("7", "object"),
        ('{"ratio": NaN}', "JSON"),
        ('{"code": "\\ud800"}', "JSON"),
        ("not json", "JSON"),
    ],
)
def test_what_can_t_be_used_says_why(text, hint):
    refused = read_arguments(text, SCHEMA)
    assert isinstance(refused, Refused)
    assert hint in refused.reason


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "nonsense"},
        {"$ref": "#/nowhere"},
        {"$ref": "http://example.invalid/schema"},
        {"properties": 5},
        {"properties": {"a": {"type": [[]], "anyOf": 5}}, "required": [[]]},
        {"type": "object", "properties": {"a": True}},
    ],
)
def test_broken_schema_of_a_foreign_server_does_not_stop_a_call(schema):
    assert read_arguments('{"a": 1}', schema) == Valid({"a": 1})


def test_foreign_schema_reaches_no_file(tmp_path) -> None:
    secret = tmp_path / "schema.json"
    secret.write_text('{"type": "string"}')
    schema = {"type": "object", "properties": {"a": {"$ref": secret.as_uri()}}}
    # Read, it would refuse the number; its owner validates instead.
    assert complaints_about({"a": 1}, schema) == []


@pytest.mark.timeout(5)
@pytest.mark.parametrize("text", ["```json" + "\n" * 150_000 + "x", "```" * 60_000 + "x"])
def test_endless_fence_is_refused_at_once(text: str) -> None:
    assert isinstance(read_arguments(text, {"type": "object"}), Refused)
