"""Callers who give no name get one at the first service of ours that they come to."""

from typing import Any

from servicekit.asgi import Telemetry
from servicekit.context import current_context


async def _name(
    *headers: tuple[str, str], peer: str | None = "10.0.0.7", names_callers: bool = True
) -> str | None:
    seen: list[str | None] = []

    async def app(*_: object) -> None:
        seen.append(current_context().client_id)

    async def send(_: Any) -> None:
        pass

    scope = {
        "type": "http",
        "method": "GET",
        "path": "/health",
        "headers": [(name.encode(), value.encode()) for name, value in headers],
        "client": None if peer is None else (peer, 4711),
    }
    layer = Telemetry(app, default_deadline_seconds=1.0, names_callers=names_callers)
    await layer(scope, send, send)
    return seen[0]


async def test_caller_is_known_again_by_its_address_which_nobody_learns() -> None:
    name = await _name()
    assert name is not None
    assert name == await _name()
    assert name != await _name(peer="10.0.0.8")
    assert "10.0.0.7" not in name


async def test_mcp_sessions_of_one_address_are_callers_of_their_own() -> None:
    one, other = ([("mcp-session-id", name)] for name in ("a", "b"))
    assert await _name(*one) == await _name(*one, peer="10.0.0.8")
    assert len({await _name(*one), await _name(*other), await _name()}) == 3


async def test_name_that_a_caller_gives_stays() -> None:
    assert await _name(("x-client-id", "me"), ("mcp-session-id", "a")) == "me"


async def test_without_an_address_or_behind_another_service_there_is_none() -> None:
    assert await _name(peer=None) is None
    assert await _name(names_callers=False) is None
