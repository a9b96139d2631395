"""The rules' text: metrics that exist, a unit test and a place in the readme for each alert."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
RULES = ROOT / "monitoring" / "prometheus" / "rules"
TESTS = Path(__file__).resolve().parent / "rules"
ALERTS = re.findall(r"- alert: (\w+)", (RULES / "alerts.yml").read_text(encoding="utf-8"))
# The first words of every name that our code gives a metric.
_OURS = r"(?:chat|gen_ai|mcp|sandbox|http|dependency|embedded_model)_\w+"


def exported() -> set[str]:
    page = (ROOT / "docs" / "reference" / "metrics.md").read_text(encoding="utf-8")
    known = set()
    for name, kind in re.findall(r"^\| `(\w+)` \| (\w+) \|", page, re.MULTILINE):
        suffixes = ("_bucket", "_sum", "_count") if kind == "histogram" else ("",)
        known |= {name + suffix for suffix in suffixes}
    return known


def metrics_in(text: str) -> set[str]:
    bare = re.sub(r"#.*", "", re.sub(r'"[^"]*"', "", text))
    bare = re.sub(r"\bby \([^)]*\)", "", bare)
    return set(re.findall(rf"(?<![\w:]){_OURS}", bare))


@pytest.mark.parametrize("name", ["recording.yml", "alerts.yml"])
def test_rules_ask_for_metrics_that_the_code_exports(name: str) -> None:
    asked = metrics_in((RULES / name).read_text(encoding="utf-8"))

    assert asked
    assert asked <= exported()


def test_alerts_ask_for_records_that_exist() -> None:
    written = set(re.findall(r"- record: (\S+)", (RULES / "recording.yml").read_text("utf-8")))
    asked = set(re.findall(r"\b(?:slo|service):\w+:\w+", (RULES / "alerts.yml").read_text("utf-8")))

    assert asked
    assert asked <= written


@pytest.mark.parametrize("alert", ALERTS)
def test_alert_is_tested_to_fire_and_to_keep_quiet(alert: str) -> None:
    text = "\n".join(path.read_text(encoding="utf-8") for path in TESTS.glob("*.yml"))
    results = re.findall(rf"alertname: {alert}\n\s+exp_alerts:(.*)", text)

    assert "" in results, "no test in which it fires"
    assert " []" in results, "no test in which it keeps quiet"


@pytest.mark.parametrize("alert", ALERTS)
def test_alert_is_explained(alert: str) -> None:
    readme = (ROOT / "monitoring" / "README.md").read_text(encoding="utf-8")

    assert re.search(rf"^\| `{alert}` \| \S.* \| \S.* \|$", readme, re.MULTILINE)
