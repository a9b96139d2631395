"""Arguments against schemas that strangers write."""

from pathlib import Path

import pytest
from referencing.exceptions import Unresolvable
from servicekit.errors import ArgumentsInvalid
from servicekit.schema_check import ArgumentCheck


def _check(reference: str) -> ArgumentCheck:
    return ArgumentCheck({"type": "object", "properties": {"a": {"$ref": reference}}})


@pytest.mark.parametrize("scheme", ["file", "http"])
def test_schema_reaches_neither_disk_nor_network(scheme: str, tmp_path: Path) -> None:
    secret = tmp_path / "schema.json"
    secret.write_text('{"type": "string"}')
    address = secret.as_uri() if scheme == "file" else "http://127.0.0.1:9/schema.json"
    with pytest.raises(Unresolvable):
        _check(address).reject_invalid({"a": 1})


def test_reference_inside_the_schema_is_followed() -> None:
    schema = {"$defs": {"n": {"type": "integer"}}, "properties": {"a": {"$ref": "#/$defs/n"}}}
    with pytest.raises(ArgumentsInvalid, match="a: 'x' is not of type 'integer'"):
        ArgumentCheck(schema).reject_invalid({"a": "x"})
    ArgumentCheck(schema).reject_invalid({"a": 1})


def test_long_value_is_not_written_out() -> None:
    with pytest.raises(ArgumentsInvalid) as caught:
        ArgumentCheck({"properties": {"a": {"type": "integer"}}}).reject_invalid({"a": "x" * 9000})
    assert len(caught.value.detail) < 400


def test_reason_stands_behind_a_long_value() -> None:
    with pytest.raises(ArgumentsInvalid, match="is too long"):
        ArgumentCheck({"properties": {"a": {"maxLength": 9}}}).reject_invalid({"a": "x" * 9000})


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (-1, "a: -1 is less than or equal to the minimum of 0"),
        ("", "a: '' should be non-empty"),
        (True, "a: True is not of type 'number' or 'string' or 'null'"),
    ],
)
def test_reason_is_that_of_the_alternative_which_was_meant(value: object, reason: str) -> None:
    alternatives = [
        {"type": "number", "exclusiveMinimum": 0},
        {"type": "string", "minLength": 1},
        {"type": "null"},
    ]
    with pytest.raises(ArgumentsInvalid, match=reason):
        ArgumentCheck({"properties": {"a": {"anyOf": alternatives}}}).reject_invalid({"a": value})
