"""No panel is empty against a Prometheus that scraped the stack under a rough load."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from sandbox_support.package_index import package_index
from stack_support.debian_programs import Programs
from stack_support.model_standin import MODEL, Says, model_standin
from stack_support.prometheus import ROOT, RunningPrometheus, running_prometheus
from stack_support.rough_load import rough_load
from stack_support.running_stack import free_ports, running_stack

pytestmark = [pytest.mark.stack, pytest.mark.timeout(300)]

BOARDS = sorted((ROOT / "monitoring" / "grafana" / "dashboards").glob("*.json"))
LOAD_SECONDS = 75.0
# What is right at zero, or is over before the last minute begins.
MAY_BE_ZERO = {"Awaiting approval", "Services down", "Lost calls", "Queue", "Garbage collections"}
MAY_BE_ZERO |= {"Sessions", "Error budget left", "Chats answered", "Sandbox in use"}
# What the load brings about: an upstream that never was there, a model that fails, a full sandbox.
EXPECTED = {"UpstreamDown", "ModelFailing", "ErrorBudgetBurnsFast", "SandboxRefusesRuns"}


@dataclass(frozen=True)
class Asked:
    """One panel's query with its variables filled in."""

    title: str
    expression: str
    is_instant: bool


def queries() -> Iterator[Any]:
    for path in BOARDS:
        board = json.loads(path.read_text(encoding="utf-8"))
        values = {"__rate_interval": "1m", "__range": "15m", "__interval": "5s"}
        values |= {each["name"]: ".*" for each in board["templating"]["list"]}
        for panel in board["panels"]:
            for target in panel["targets"]:
                filled = target["expr"]
                for name, value in values.items():
                    filled = re.sub(rf"\${name}\b", value, filled)
                name = f"{board['title']}: {panel['title']} {target['legendFormat']}"
                yield pytest.param(Asked(panel["title"], filled, target["instant"]), id=name)


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
                seconds=LOAD_SECONDS,
                is_enough=lambda: {name for name, _ in prometheus.firing()} >= EXPECTED,
            )
            yield prometheus


@pytest.mark.parametrize("asked", list(queries()))
def test_panel_is_not_empty(after_load: RunningPrometheus, asked: Asked) -> None:
    ask = after_load.now if asked.is_instant else after_load.last_minute

    values = ask(asked.expression)
    assert values, asked.expression
    # A line at the bottom says no more than no line: the load brings all of these about.
    assert any(values) or asked.title in MAY_BE_ZERO, asked.expression


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
