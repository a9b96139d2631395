"""What Prometheus' and the Alertmanager's own programs say of the files."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from stack_support.debian_programs import Programs
from stack_support.prometheus import CONFIGURATION, ROOT

TESTS = sorted((ROOT / "tests" / "monitoring" / "rules").glob("*.yml"))
BOARDS = sorted((ROOT / "monitoring" / "grafana" / "dashboards").glob("*.json"))
# What Grafana fills in before it asks.
VALUES = {"__rate_interval": "1m", "__range": "15m", "__interval": "5s"}


def says_yes(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_configuration_and_rules_are_valid(programs: Programs) -> None:
    says_yes(programs.promtool, "check", "config", "--lint=all", f"{CONFIGURATION}/prometheus.yml")


@pytest.mark.parametrize("path", TESTS, ids=lambda path: path.stem)
def test_alerts_fire_and_keep_quiet(programs: Programs, path: Path) -> None:
    says_yes(programs.promtool, "test", "rules", str(path))


def test_alertmanagers_configuration_is_valid(programs: Programs) -> None:
    says_yes(
        programs.amtool,
        "check-config",
        str(ROOT / "monitoring" / "alertmanager" / "alertmanager.yml"),
    )


def test_alerts_have_a_receiver(programs: Programs) -> None:
    path = str(ROOT / "monitoring" / "alertmanager" / "alertmanager.yml")
    says_yes(
        *(programs.amtool, "config", "routes", "test", "--config.file", path),
        *("--verify.receivers", "page-only", "alertname=TargetDown", "service=sandbox"),
    )


def expressions() -> list[Any]:
    found = []
    for path in BOARDS:
        board = json.loads(path.read_text(encoding="utf-8"))
        values = VALUES | {each["name"]: ".*" for each in board["templating"]["list"]}
        for panel in board["panels"]:
            for target in panel["targets"]:
                text = target["expr"]
                for name, value in values.items():
                    text = re.sub(rf"\${name}\b", value, text)
                name = f"{board['title']}: {panel['title']} {target['refId']}"
                found.append(pytest.param(text, id=name))
    return found


@pytest.mark.parametrize("expression", expressions())
def test_expression_of_a_panel_parses(programs: Programs, expression: str) -> None:
    assert "$" not in expression
    says_yes(programs.promtool, "--experimental", "promql", "format", expression)
