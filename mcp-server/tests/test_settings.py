"""The gateway's settings, as the environment gives them."""

import pytest
from mcp_server.settings import McpServerSettings
from pydantic import ValidationError


def test_only_foreign_upstreams_have_a_prefix(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MCP_SERVER_OWN_UPSTREAMS", "code-executor=http://code:8002/mcp")
    monkeypatch.setenv(
        "MCP_SERVER_UPSTREAMS", " wiki = https://wiki.example/mcp , git=http://g/mcp"
    )
    addresses = McpServerSettings().addresses
    assert [(a.name, a.url, a.prefix) for a in addresses] == [
        ("code-executor", "http://code:8002/mcp", ""),
        ("wiki", "https://wiki.example/mcp", "wiki__"),
        ("git", "http://g/mcp", "git__"),
    ]


@pytest.mark.parametrize(
    "entry",
    ["wiki", "wiki=", "=http://wiki/mcp", "wiki=ftp://wiki", "wiki=http://", "Wi ki=http://w/mcp",
     "a__b=http://w/mcp"],
)  # fmt: skip
def test_malformed_upstream_is_refused(entry: str) -> None:
    with pytest.raises(ValidationError):
        McpServerSettings(upstreams=(entry,))


def test_name_that_stands_twice_is_refused() -> None:
    with pytest.raises(ValidationError, match="twice"):
        McpServerSettings(own_upstreams=("a=http://a/mcp",), upstreams=("a=http://b/mcp",))
