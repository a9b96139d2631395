"""Problem documents, there and back; the writer may be a stranger."""

import json

import pytest
from servicekit.errors import TooBusy
from servicekit.problems import parse_problem, problem_of, problem_response
from servicekit.rpc import RpcError


def test_problem_comes_back_as_it_was_written() -> None:
    written = problem_of(TooBusy("Full.", retry_after_seconds=2.5, places=3), "r-1")
    read = parse_problem(json.dumps(written))
    assert read is not None
    assert (read.type, read.status, read.detail) == ("too-busy", 429, "Full.")
    assert (read.retry_after_seconds, read.extensions) == (2.5, {"places": 3})


@pytest.mark.parametrize(
    "member",
    [
        {"status": 200},
        {"status": 99},
        {"status": 99999},
        {"status": True},
        {"status": "404"},
        {"retry_after_seconds": "soon"},
        {"retry_after_seconds": float("inf")},
        {"retry_after_seconds": -1},
        {"self": 1},
        {"type_": 1},
        {"problem": 1},
        {"detail": None, "title": 7},
    ],
)
def test_strangers_document_is_passed_on_as_an_error(member: dict[str, object]) -> None:
    error = RpcError(-1, "no", {"type": "odd", **member}).typed("elsewhere")
    response = problem_response(error, "r-1")
    assert response.status_code == 502
    assert "retry-after" not in response.headers
    assert json.loads(bytes(response.body))["type"] == "urn:problem:mcp-stack:odd"
