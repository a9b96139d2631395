"""What the gateway can be told by its environment (`MCP_SERVER_…`)."""

import re
from dataclasses import dataclass
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import Field, model_validator
from servicekit.settings import CommaSeparated, Port, ServiceSettings, service_config

# A name becomes a metric's label, a health entry and a tool's prefix.
_NAME = re.compile(r"^[a-z0-9](?:[a-z0-9_-]{0,30}[a-z0-9])?$")


@dataclass(frozen=True, slots=True)
class UpstreamAddress:
    """One MCP server behind the gateway.

    Parameters
    ----------
    name
        As it stands in the settings.
    url
        Its MCP endpoint.
    is_own
        Whether it belongs to the stack: its tools get no prefix, and the gateway is not
        ready before it was seen once.
    """

    name: str
    url: str
    is_own: bool

    @property
    def prefix(self) -> str:
        """What stands before the names of its tools and prompts."""
        return "" if self.is_own else f"{self.name}__"


def parse_upstream(entry: str, *, is_own: bool) -> UpstreamAddress:
    """Read `name=url`; raise `ValueError` with what is wrong."""
    name, _, url = (part.strip() for part in entry.partition("="))
    parts = urlsplit(url)
    if not _NAME.match(name) or "__" in name:
        raise ValueError(f"{entry!r} is not name=url with a name like code-executor")
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError(f"{name}: {url!r} is not an http address")
    return UpstreamAddress(name=name, url=url, is_own=is_own)


class McpServerSettings(ServiceSettings):
    """The gateway's settings.

    Each upstream is `name=url`, the URL being that of its MCP endpoint. The stack's own
    services stand in `own_upstreams` and keep their tools' names; all others stand in
    `upstreams`, and their tools and prompts are shown as `name__tool`.
    """

    model_config = service_config("MCP_SERVER_")

    port: Port = Field(8000, description="port to listen on")
    own_upstreams: CommaSeparated = Field(
        ("code-executor=http://127.0.0.1:8004/mcp", "time-client=http://127.0.0.1:8003/mcp"),
        description="the stack's tool services, name=url, comma separated; no prefix",
    )
    upstreams: CommaSeparated = Field(
        (), description="foreign MCP servers, name=url, comma separated; tools become name__tool"
    )
    default_deadline_seconds: Annotated[float, Field(gt=0, le=3600)] = Field(
        120.0, description="deadline of a request that brings none, in seconds"
    )
    max_sessions: Annotated[int, Field(ge=1, le=100_000)] = Field(
        500, description="sessions of the 2025-11-25 protocol and older that are kept at most"
    )
    session_idle_seconds: Annotated[float, Field(gt=0, le=86_400)] = Field(
        600.0, description="idle seconds after which such a session ends"
    )
    reconnect_max_seconds: Annotated[float, Field(gt=0, le=60)] = Field(
        1.0, description="longest pause in seconds between two attempts to reach an upstream"
    )

    @model_validator(mode="after")
    def _check_upstreams(self) -> "McpServerSettings":
        names = [address.name for address in self.addresses]
        if twice := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"upstream named twice: {', '.join(sorted(twice))}")
        return self

    @property
    def addresses(self) -> tuple[UpstreamAddress, ...]:
        """All upstreams, own ones first: where names clash, the first one wins."""
        own = (parse_upstream(entry, is_own=True) for entry in self.own_upstreams)
        foreign = (parse_upstream(entry, is_own=False) for entry in self.upstreams)
        return (*own, *foreign)
