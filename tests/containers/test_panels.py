"""No panel is empty against the stack's own Prometheus, at the pace that it has, after a load."""

from collections.abc import Iterator

import httpx
import pytest
from sandbox_support.package_index import package_index
from stack_support.containers import OURS, Containers
from stack_support.containers_load import InsideNetwork
from stack_support.model_standin import MODEL, Says, model_standin
from stack_support.panels import Asked, assert_not_empty, panel_queries
from stack_support.prometheus import RunningPrometheus
from stack_support.rough_load import rough_load

pytestmark = [pytest.mark.stack, pytest.mark.timeout(400)]

LOAD_SECONDS = 50.0


@pytest.fixture(scope="module")
def after_load(stack: Containers) -> Iterator[RunningPrometheus]:
    """Give the middleware a model that fails, the sandbox few places, the gateway a lost upstream.

    Who answers for the model and the packages listens on the host, at the network's gateway.
    """
    networks = stack.inspect("middleware")["NetworkSettings"]["Networks"]
    host = str(next(iter(networks.values()))["Gateway"])
    with model_standin(host) as model, package_index(host) as index:
        names = [f"zebrafact{number}" for number in range(12)]
        for name in names:
            index.add(name)
        model.will(Says("ready"))
        rough = stack.with_settings(
            LLM_BASE_URL=model.base_url,
            LLM_MODEL_NAME=MODEL,
            LLM_API_KEY="key-of-the-stand-in",
            MIDDLEWARE_CHAT_TIMEOUT_SECONDS="5",
            MCP_SERVER_UPSTREAMS="away=http://away.test:9100/mcp",
            SANDBOX_SLOTS="2",
            SANDBOX_QUEUE_LIMIT="2",
            SANDBOX_PACKAGES_INDEX_URL=index.url,
        )
        try:
            rough.compose("up", "-d", seconds=200)
            rough.wait_healthy(*OURS, "prometheus")
            inside = InsideNetwork(rough)
            with (
                inside.http,
                httpx.Client(base_url=stack.url("PROMETHEUS"), timeout=10, trust_env=False) as http,
            ):
                prometheus = RunningPrometheus(http)
                rough_load(
                    inside,
                    model,
                    packages=names,
                    kill=inside.kill,
                    seconds=LOAD_SECONDS,
                    is_enough=lambda: bool(prometheus.firing()),
                )
                yield prometheus
        finally:
            stack.compose("up", "-d", seconds=200)
            stack.wait_healthy(*OURS, "prometheus")


@pytest.mark.parametrize("asked", panel_queries(), ids=lambda asked: asked.name)
def test_panel_is_not_empty(after_load: RunningPrometheus, asked: Asked) -> None:
    assert_not_empty(after_load, asked)
