"""A stack in containers as its own network sees it, for a load on services without a port."""

from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import httpx

from stack_support.containers import OURS, Containers
from stack_support.host_process import kill
from stack_support.running_stack import user
from stack_support.waiting import wait_until

_PORTS = {"mcp-server": 8000, "sandbox": 8001, "middleware": 8002}
_SECONDS = 70.0
_HEAL_SECONDS = 30.0


class _ByName(httpx.HTTPTransport):
    """Finds a container by its service's name, which stays in the Host header."""

    def __init__(self, stack: Containers) -> None:
        super().__init__()
        self._addresses = {service: stack.address_of(service) for service in _PORTS}

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        request.url = request.url.copy_with(host=self._addresses[request.url.host])
        return super().handle_request(request)


@dataclass
class InsideNetwork:
    """What `rough_load` needs of a stack; the three services that it talks to are not killed."""

    stack: Containers
    http: httpx.Client = field(init=False)

    def __post_init__(self) -> None:
        self.http = httpx.Client(transport=_ByName(self.stack), timeout=_SECONDS, trust_env=False)

    def url(self, service: str) -> str:
        """Give a service's address in the stack's network."""
        return f"http://{service}:{_PORTS[service]}"

    def post_chat(self, *messages: str) -> httpx.Response:
        """Send one chat."""
        body = {"messages": [user(each) for each in messages]}
        return self.http.post(f"{self.url('middleware')}/chat", json=body)

    def execute(self, name: str, **parameters: Any) -> httpx.Response:
        """Call one tool through the middleware."""
        body = {"name": name, "parameters": parameters}
        return self.http.post(f"{self.url('middleware')}/execute", json=body)

    def kill(self, service: str) -> None:
        """Kill a container's main process in the middle of work; wait until the stack has healed.

        From the host: what `docker kill` ends is not restarted.
        """
        before = self.stack.inspect(service)
        kill(int(before["State"]["Pid"]))
        with suppress(httpx.TransportError):
            self.execute("execute_code", code="print(1)")
        wait_until(
            lambda: self.stack.inspect(service)["RestartCount"] > before["RestartCount"],
            within=_HEAL_SECONDS,
            what=f"{service} is started again",
        )
        self.stack.wait_healthy(*OURS, within=_HEAL_SECONDS)
