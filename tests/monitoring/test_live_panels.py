"""No panel is empty against a Prometheus that scraped the stack under a rough load."""

import re
from collections.abc import Iterator

import pytest
from sandbox_support.package_index import package_index
from stack_support.debian_programs import Programs
from stack_support.model_standin import MODEL, Says, model_standin
from stack_support.panels import Asked, assert_not_empty, panel_queries
from stack_support.prometheus import RunningPrometheus, running_prometheus
from stack_support.rough_load import kill_process, rough_load
from stack_support.running_stack import free_ports, running_stack

pytestmark = [pytest.mark.stack, pytest.mark.timeout(300)]

LOAD_SECONDS = 75.0
# What the load brings about: an upstream that never was there, a model that fails, a full sandbox.
EXPECTED = {"UpstreamDown", "ModelFailing", "ErrorBudgetBurnsFast", "SandboxRefusesRuns"}


@pytest.fixture(scope="module")
def after_load(
    programs: Programs, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningPrometheus]:
    folder = tmp_path_factory.mktemp("panels")
    with model_standin() as model, package_index() as index:
        names = [f"zebrafact{number}" for number in range(12)]
        for name in names:
            index.add(name)
        model.will(Says("ready"))
        (nobody,) = free_ports(1)
        with (
            running_stack(
                folder / "stack",
                LLM_BASE_URL=model.base_url,
                LLM_MODEL_NAME=MODEL,
                LLM_API_KEY="key-of-the-stand-in",
                MIDDLEWARE_CHAT_TIMEOUT_SECONDS="5",
                MCP_SERVER_UPSTREAMS=f"away=http://127.0.0.1:{nobody}/mcp",
                SANDBOX_SLOTS="2",
                SANDBOX_QUEUE_LIMIT="2",
                SANDBOX_PACKAGES_DIR=str(folder / "packages"),
                SANDBOX_PACKAGES_INDEX_URL=index.url,
            ) as stack,
            # Faster than in earnest, so that a short load fills the panels.
            running_prometheus(programs, folder, stack, seconds_between_scrapes=2) as prometheus,
        ):
            rough_load(
                stack,
                model,
                packages=names,
                kill=lambda program: kill_process(stack, program),
                seconds=LOAD_SECONDS,
                is_enough=lambda: {name for name, _ in prometheus.firing()} >= EXPECTED,
            )
            yield prometheus


@pytest.mark.parametrize("asked", panel_queries(), ids=lambda asked: asked.name)
def test_panel_is_not_empty(after_load: RunningPrometheus, asked: Asked) -> None:
    assert_not_empty(after_load, asked)


def test_all_targets_are_scraped(after_load: RunningPrometheus) -> None:
    assert after_load.unhealthy_targets() == []


def test_all_rules_are_evaluated(after_load: RunningPrometheus) -> None:
    assert after_load.unhealthy_rules() == []


def test_alerts_fire_that_the_load_calls_for(after_load: RunningPrometheus) -> None:
    assert {name for name, _ in after_load.firing()} >= EXPECTED


def test_no_label_holds_what_a_caller_invented(after_load: RunningPrometheus) -> None:
    for label in ("tool_name", "gen_ai_tool_name", "route", "outcome", "status", "error_type"):
        values = after_load.ask(f"/api/v1/label/{label}/values")
        assert not [each for each in values if re.search(r"no_such|Nowhere|reqeusts", each)]
