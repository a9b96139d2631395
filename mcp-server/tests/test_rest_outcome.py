"""Between REST and MCP: which body is which arguments, which result is which answer."""

from typing import Any

import pytest
from mcp_server.rest_outcome import arguments_of, outcome_of
from servicekit.errors import ArgumentsInvalid, StackError

PLAIN = {"type": "object", "properties": {"zone": {}}}
TAKES_PARAMS = {"type": "object", "properties": {"params": {}}}


@pytest.mark.parametrize(
    ("body", "schema", "arguments"),
    [
        ({}, PLAIN, {}),
        ({"zone": "UTC"}, PLAIN, {"zone": "UTC"}),
        ({"params": {"zone": "UTC"}}, PLAIN, {"zone": "UTC"}),
        ({"params": {}}, PLAIN, {}),
        ({"params": None}, PLAIN, {}),
        ({"params": {"zone": "UTC"}}, {}, {"zone": "UTC"}),
        ({"params": [1]}, PLAIN, {"params": [1]}),
        ({"params": {"a": 1}, "zone": "UTC"}, PLAIN, {"params": {"a": 1}, "zone": "UTC"}),
        ({"params": {"a": 1}}, TAKES_PARAMS, {"params": {"a": 1}}),
    ],
)
def test_params_is_a_wrapper_unless_the_tool_takes_it(
    body: dict[str, Any], schema: dict[str, Any], arguments: dict[str, Any]
) -> None:
    assert arguments_of(body, schema) == arguments


@pytest.mark.parametrize(
    "value", [float("nan"), float("inf"), "\ud800", {"\udfff": 1}, [-float("inf")]]
)
def test_arguments_that_no_json_can_carry_are_refused(value: Any) -> None:
    with pytest.raises(ArgumentsInvalid):
        arguments_of({"zone": value}, PLAIN)


def failed(status: int, kind: str) -> dict[str, Any]:
    problem = {"type": f"urn:problem:mcp-stack:{kind}", "status": status, "detail": "why"}
    return {
        "content": [{"type": "text", "text": "why"}],
        "isError": True,
        "_meta": {"mcp-stack/problem": problem},
    }


@pytest.mark.parametrize(("status", "kind"), [(404, "zone-unknown"), (422, "timezone-unknown")])
def test_failure_that_other_arguments_mend_is_an_outcome(status: int, kind: str) -> None:
    outcome = outcome_of(failed(status, kind))
    assert (outcome.success, outcome.output, outcome.error) == (False, "why", "why")


@pytest.mark.parametrize(
    ("status", "kind", "answered"),
    [
        (403, "forbidden-caller", 403),
        (422, "arguments-invalid", 422),
        (429, "too-busy", 429),
        (500, "internal-error", 502),
        (502, "upstream-unavailable", 502),
        (503, "service-unavailable", 503),
        (504, "deadline-exceeded", 504),
    ],
)
def test_failure_that_arguments_cannot_mend_is_an_error(
    status: int, kind: str, answered: int
) -> None:
    with pytest.raises(StackError) as caught:
        outcome_of(failed(status, kind))
    assert caught.value.http_status == answered


def test_blocks_that_are_no_text_are_named() -> None:
    blocks = [
        {"type": "text", "text": "see"},
        {"type": "image", "data": "AAAA", "mimeType": "image/png"},
        {"type": "resource", "resource": {"uri": "a://b", "text": "inside"}},
        {"type": "resource_link", "uri": "a://c"},
    ]
    outcome = outcome_of({"content": blocks})
    assert outcome.output == "see\n[image image/png]\ninside\n[resource_link a://c]"


def test_failure_without_a_word_still_says_something() -> None:
    assert outcome_of({"content": [], "isError": True}).error


def test_result_without_content_is_an_unavailable_upstream() -> None:
    with pytest.raises(StackError) as caught:
        outcome_of({"structuredContent": {}})
    assert caught.value.http_status == 502
