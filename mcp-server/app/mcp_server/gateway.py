"""The gateway's decision: which upstream serves a request, and how its end is counted."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from servicekit.errors import DeadlineExceeded, InvalidRequest, StackError
from servicekit.logs import get_logger
from servicekit.mcp_bridge import tool_unknown
from servicekit.rpc import RpcError

from mcp_server.call_ledger import CallOutcome, begin, counted
from mcp_server.catalog import Catalog, CatalogTool, Source
from mcp_server.upstream import Caller, Inventory
from mcp_server.upstream_link import LinkStatus, UpstreamLink

log = get_logger()

OWN = "mcp-server"
# A server may ask again after an answer; a person is not asked for ever.
MAX_INPUT_ROUNDS = 8
ListKind = Literal["tools", "prompts", "resources"]
_NO_RESOURCE = -32602


class LocalTools(Protocol):
    """The gateway's own tools."""

    @property
    def inventory(self) -> Inventory:
        """What they are."""
        ...

    async def call(self, name: str, arguments: Mapping[str, Any], caller: Caller) -> dict[str, Any]:
        """Call one; a failure is a result."""
        ...


class Audience(Protocol):
    """The clients that are connected now."""

    async def lists_changed(self, kinds: frozenset[ListKind]) -> None:
        """Tell them that these lists should be read again."""
        ...

    async def resource_updated(self, uri: str) -> None:
        """Tell those who watch a resource that it changed."""
        ...


@dataclass(frozen=True, slots=True)
class _Target:
    source: str
    params: dict[str, Any]
    headers: Mapping[str, str] | None = None


class Gateway:
    """All upstreams as one server.

    Parameters
    ----------
    local
        The gateway's own tools; they win where names clash.
    """

    def __init__(self, local: LocalTools) -> None:
        self._local = local
        self._links: dict[str, UpstreamLink] = {}
        self._audience: Audience | None = None
        self.catalog = Catalog.merge([])
        self._rebuild()

    def connect(self, links: Sequence[UpstreamLink], audience: Audience) -> None:
        """Give the gateway its upstreams and its clients; once, by the composition root."""
        self._links = {link.name: link for link in links}
        self._audience = audience

    @property
    def links(self) -> tuple[UpstreamLink, ...]:
        """The upstreams' connections."""
        return tuple(self._links.values())

    def statuses(self) -> tuple[LinkStatus, ...]:
        """How the upstreams stand."""
        return tuple(link.status for link in self._links.values())

    async def refresh(self) -> None:
        """Build the catalog anew, and tell the clients what changed."""
        before = self.catalog
        self._rebuild()
        changed: set[ListKind] = set()
        if _wires(before.tools) != _wires(self.catalog.tools):
            changed.add("tools")
        if _wires(before.prompts) != _wires(self.catalog.prompts):
            changed.add("prompts")
        if (before.resources, before.templates) != (self.catalog.resources, self.catalog.templates):
            changed.add("resources")
        if changed and self._audience is not None:
            await self._audience.lists_changed(frozenset(changed))

    async def resource_updated(self, uri: str) -> None:
        """Pass an upstream's word about a resource on."""
        if self._audience is not None:
            await self._audience.resource_updated(uri)

    def watch_resources(self, uris: frozenset[str]) -> None:
        """Follow these resources at the upstreams that serve them."""
        for link in self._links.values():
            link.watch(
                frozenset(uri for uri in uris if self.catalog.source_of_resource(uri) == link.name)
            )

    def tool(self, name: str) -> CatalogTool:
        """Return a tool; raise `ToolUnknown`, naming the nearest, when there is none."""
        if (tool := self.catalog.tools.get(name)) is None:
            raise tool_unknown(name, self.catalog.tools)
        return tool

    async def call_tool(self, params: Mapping[str, Any], caller: Caller) -> dict[str, Any]:
        """Serve `tools/call`.

        Returns
        -------
        dict
            The result as it stands on the wire; the tool's own failure has `isError`.

        Raises
        ------
        ToolUnknown
            No tool has this name.
        StackError, RpcError
            The upstream did not serve the call.
        """
        tool = self.tool(str(params.get("name", "")))
        arguments = params.get("arguments") or {}
        with counted(tool.name) as outcome:
            try:
                if tool.source == OWN:
                    result = await self._local.call(tool.original_name, arguments, caller)
                else:
                    target = _Target(
                        tool.source,
                        {**params, "name": tool.original_name},
                        tool.headers(arguments),
                    )
                    result = await self._with_input("tools/call", target, caller)
            except (StackError, RpcError) as error:
                _judge(outcome, error)
                raise
            outcome.status = "error" if result.get("isError") is True else "ok"
            return result

    async def get_prompt(self, params: Mapping[str, Any], caller: Caller) -> dict[str, Any]:
        """Serve `prompts/get`."""
        prompt = self.catalog.prompts.get(str(params.get("name", "")))
        if prompt is None:
            raise InvalidRequest(f"There is no prompt {str(params.get('name'))[:100]!r}.")
        target = _Target(prompt.source, {**params, "name": prompt.original_name})
        return await self._with_input("prompts/get", target, caller)

    async def read_resource(self, params: Mapping[str, Any], caller: Caller) -> dict[str, Any]:
        """Serve `resources/read`."""
        uri = str(params.get("uri", ""))
        source = self.catalog.source_of_resource(uri)
        if source is None:
            raise RpcError(_NO_RESOURCE, "Resource not found", {"uri": uri})
        return await self._with_input("resources/read", _Target(source, dict(params)), caller)

    async def complete(self, params: Mapping[str, Any], caller: Caller) -> dict[str, Any]:
        """Serve `completion/complete`: the answer of whoever owns the prompt or template."""
        reference = params.get("ref") or {}
        target: _Target | None = None
        if prompt := self.catalog.prompts.get(str(reference.get("name", ""))):
            target = _Target(
                prompt.source, {**params, "ref": {**reference, "name": prompt.original_name}}
            )
        elif source := self.catalog.source_of_template(str(reference.get("uri", ""))):
            target = _Target(source, dict(params))
        if target is None:
            raise InvalidRequest("There is no prompt or resource template to complete.")
        link = self._links[target.source]
        if not link.inventory.offers_completions:
            return {"completion": {"values": [], "hasMore": False}}
        return await link.request("completion/complete", target.params, caller)

    async def _with_input(self, method: str, target: _Target, caller: Caller) -> dict[str, Any]:
        """Send a request; where the upstream asks something back, have the caller answer it.

        A caller of the 2026-07-28 era gets the questions as the result. One of an older era
        is asked while its request waits.
        """
        link = self._links[target.source]
        params = target.params
        for _ in range(MAX_INPUT_ROUNDS):
            result = await link.request(method, params, caller, target.headers)
            if result.get("resultType") != "input_required" or not caller.is_asked_directly:
                return result
            questions = result.get("inputRequests") or {}
            answers = {key: await caller.ask(question) for key, question in questions.items()}
            params = {**target.params, "inputResponses": answers}
            if "requestState" in result:
                params["requestState"] = result["requestState"]
        raise InvalidRequest(f"{target.source} asked {MAX_INPUT_ROUNDS} times and did not finish.")

    def _rebuild(self) -> None:
        sources = [Source(OWN, "", self._local.inventory)]
        sources += [
            Source(link.name, link.address.prefix, link.inventory) for link in self._links.values()
        ]
        self.catalog = Catalog.merge(sources)
        begin(self.catalog.tools)
        for name in self.catalog.shadowed:
            log.warning("catalog.shadowed", name=name)


def _wires(named: Mapping[str, Any]) -> dict[str, Any]:
    return {name: item.wire for name, item in named.items()}


def _judge(outcome: CallOutcome, error: StackError | RpcError) -> None:
    match error:
        case DeadlineExceeded():
            outcome.status = "timeout"
        case RpcError(code=-32602):
            outcome.status = "invalid"
        case StackError(http_status=status) if 400 <= status < 429:  # noqa: PLR2004  # HTTP's own numbers
            outcome.status = "invalid"
        case StackError() | RpcError():
            outcome.status = "unavailable"
