"""The gateway's decision over scripted upstreams: who serves, who is asked, what is counted."""

from collections.abc import Mapping
from typing import Any, cast

import pytest
from mcp_server.gateway import Gateway, ListKind
from mcp_server.settings import UpstreamAddress
from mcp_server.silent_caller import SilentCaller
from mcp_server.upstream import Caller, Inventory
from mcp_server.upstream_link import UpstreamLink
from prometheus_client import REGISTRY
from servicekit.errors import DeadlineExceeded, InvalidRequest, StackError, UpstreamUnavailable
from servicekit.mcp_bridge import ToolUnknown
from servicekit.rpc import RpcError

DONE = {"resultType": "complete", "content": []}


class ScriptedLink:
    """Answers requests from a list, and notes them."""

    def __init__(self, name: str, inventory: Inventory, *answers: Any, is_own: bool = True) -> None:
        self.name = name
        self.address = UpstreamAddress(name, f"http://{name}/mcp", is_own=is_own)
        self.inventory = inventory
        self.answers = list(answers)
        self.requests: list[tuple[str, dict[str, Any], dict[str, str]]] = []
        self.watched: frozenset[str] = frozenset()

    async def request(
        self,
        method: str,
        params: Mapping[str, Any],
        _: Caller,
        headers: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        self.requests.append((method, dict(params), dict(headers or {})))
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return cast("dict[str, Any]", answer)

    def watch(self, uris: frozenset[str]) -> None:
        self.watched = uris


class NoOwnTools:
    inventory = Inventory()

    async def call(self, name: str, *_: object) -> dict[str, Any]:
        raise AssertionError(f"{name} is no tool of the gateway")


class Audience:
    def __init__(self) -> None:
        self.changes: list[frozenset[ListKind]] = []
        self.updates: list[str] = []

    async def lists_changed(self, kinds: frozenset[ListKind]) -> None:
        self.changes.append(kinds)

    async def resource_updated(self, uri: str) -> None:
        self.updates.append(uri)


class AskedCaller(SilentCaller):
    """A client of an older era, who answers while his request waits."""

    is_asked_directly = True

    def __init__(self) -> None:
        super().__init__({}, None)
        self.questions: list[Mapping[str, Any]] = []

    async def ask(self, request: Mapping[str, Any]) -> dict[str, Any]:
        self.questions.append(request)
        return {"action": "accept", "content": {"n": len(self.questions)}}


CALLER = SilentCaller({}, None)


async def gateway_over(*links: ScriptedLink) -> tuple[Gateway, Audience]:
    gateway, audience = Gateway(NoOwnTools()), Audience()
    gateway.connect(cast("list[UpstreamLink]", links), audience)
    await gateway.refresh()
    return gateway, audience


def tools(*names: str) -> Inventory:
    return Inventory(tools=tuple({"name": name, "inputSchema": {}} for name in names))


async def test_call_goes_to_its_owner_under_its_original_name() -> None:
    own = ScriptedLink("own", tools("now"))
    foreign = ScriptedLink("wiki", tools("now"), DONE, is_own=False)
    gateway, _ = await gateway_over(own, foreign)
    await gateway.call_tool({"name": "wiki__now", "arguments": {"a": 1}}, CALLER)
    assert own.requests == []
    assert foreign.requests == [("tools/call", {"name": "now", "arguments": {"a": 1}}, {})]


async def test_unknown_tool_is_refused_and_not_counted() -> None:
    gateway, _ = await gateway_over(ScriptedLink("own", tools("get_current_time")))
    with pytest.raises(ToolUnknown, match="get_current_time"):
        await gateway.call_tool({"name": "get_curent_time"}, CALLER)
    assert count("get_curent_time", "invalid") == 0


ASKS = {"resultType": "input_required", "inputRequests": {"q": {"method": "elicitation/create"}}}


async def test_older_client_is_asked_while_his_call_waits() -> None:
    link = ScriptedLink("own", tools("buy"), ASKS | {"requestState": "s1"}, ASKS, DONE)
    gateway, _ = await gateway_over(link)
    caller = AskedCaller()
    result = await gateway.call_tool({"name": "buy", "arguments": {}}, caller)
    assert result == DONE
    first, second, third = (params for _, params, _ in link.requests)
    assert "inputResponses" not in first
    assert second["requestState"] == "s1"
    assert second["inputResponses"] == {"q": {"action": "accept", "content": {"n": 1}}}
    assert third["inputResponses"] == {"q": {"action": "accept", "content": {"n": 2}}}
    assert "requestState" not in third


async def test_newest_client_gets_the_question_as_the_result() -> None:
    gateway, _ = await gateway_over(ScriptedLink("own", tools("buy"), ASKS))
    assert await gateway.call_tool({"name": "buy"}, CALLER) == ASKS


async def test_server_that_asks_for_ever_is_cut_off() -> None:
    gateway, _ = await gateway_over(ScriptedLink("own", tools("buy"), *[ASKS] * 50))
    with pytest.raises(InvalidRequest, match="did not finish"):
        await gateway.call_tool({"name": "buy"}, AskedCaller())


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (DONE, "ok"),
        (DONE | {"isError": True}, "error"),
        (UpstreamUnavailable("gone"), "unavailable"),
        (DeadlineExceeded("late"), "timeout"),
        (RpcError(-32602, "bad"), "invalid"),
        (RpcError(-32603, "broken"), "unavailable"),
        (InvalidRequest("bad"), "invalid"),
    ],
)
async def test_call_is_counted_by_how_it_ended(answer: Any, status: str) -> None:
    name = "counted"
    gateway, _ = await gateway_over(ScriptedLink("own", tools(name), answer))
    before = count(name, status)
    try:
        await gateway.call_tool({"name": name}, CALLER)
    except (StackError, RpcError) as error:
        assert error is answer  # noqa: PT017  # some of the cases raise, and all are counted
    assert count(name, status) == before + 1


def count(tool_name: str, status: str) -> float:
    labels = {"tool_name": tool_name, "status": status}
    return REGISTRY.get_sample_value("mcp_tool_executions_total", labels) or 0.0


async def test_tools_of_an_upstream_begin_at_zero_when_they_are_known() -> None:
    await gateway_over(ScriptedLink("own", tools("never_called_yet")))
    labels = {"tool_name": "never_called_yet", "status": "ok"}
    assert REGISTRY.get_sample_value("mcp_tool_executions_total", labels) == 0.0


async def test_clients_hear_only_of_lists_that_changed() -> None:
    link = ScriptedLink("own", tools("now"))
    gateway, audience = await gateway_over(link)
    assert audience.changes == [frozenset({"tools"})]
    await gateway.refresh()
    link.inventory = Inventory(tools=link.inventory.tools, prompts=({"name": "greet"},))
    await gateway.refresh()
    assert audience.changes[1:] == [frozenset({"prompts"})]


async def test_resources_are_watched_at_the_upstream_that_serves_them() -> None:
    one = ScriptedLink("one", Inventory(resources=({"uri": "a://1"},)))
    two = ScriptedLink("two", Inventory(templates=({"uriTemplate": "b://{id}"},)))
    gateway, _ = await gateway_over(one, two)
    gateway.watch_resources(frozenset({"a://1", "b://2", "c://3"}))
    assert (one.watched, two.watched) == (frozenset({"a://1"}), frozenset({"b://2"}))


async def test_resource_of_nobody_is_not_found() -> None:
    gateway, _ = await gateway_over(ScriptedLink("own", tools("now")))
    with pytest.raises(RpcError) as caught:
        await gateway.read_resource({"uri": "a://1"}, CALLER)
    assert caught.value.data == {"uri": "a://1"}


async def test_upstream_without_completions_completes_nothing() -> None:
    link = ScriptedLink("own", Inventory(prompts=({"name": "greet"},)))
    gateway, _ = await gateway_over(link)
    params = {"ref": {"type": "ref/prompt", "name": "greet"}, "argument": {}}
    assert (await gateway.complete(params, CALLER))["completion"]["values"] == []
    assert link.requests == []
