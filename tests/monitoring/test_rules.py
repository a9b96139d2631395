"""The rules' text: metrics that exist, a unit test and a place in the readme for each alert."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
RULES = ROOT / "monitoring" / "prometheus" / "rules"
TESTS = Path(__file__).resolve().parent / "rules"
CONFIGURATION = (RULES.parent / "prometheus.yml").read_text(encoding="utf-8")
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


def test_each_record_has_a_test() -> None:
    records = set(re.findall(r"- record: (\S+)", (RULES / "recording.yml").read_text("utf-8")))
    asked = (RULES / "alerts.yml").read_text("utf-8") + (TESTS / "records.yml").read_text("utf-8")

    assert {record for record in records if record not in asked} == set()


def test_alerts_ask_for_records_that_exist() -> None:
    written = set(re.findall(r"- record: (\S+)", (RULES / "recording.yml").read_text("utf-8")))
    asked = set(re.findall(r"\b(?:slo|service):\w+:\w+", (RULES / "alerts.yml").read_text("utf-8")))

    assert asked
    assert asked <= written


def jobs_found_by_name() -> dict[str, str]:
    """Give the text of each scrape job whose target is found in Docker's DNS."""
    scraped = CONFIGURATION.split("scrape_configs:\n")[1]
    parts = re.split(r"^  - job_name: (.+)\n", scraped, flags=re.MULTILINE)
    jobs = dict(zip(parts[1::2], parts[2::2], strict=True))
    return {name: text for name, text in jobs.items() if "dns_sd_configs:" in text}


def test_services_that_are_found_by_name_are_those_that_are_missed_for_a_day() -> None:
    alerts = (RULES / "alerts.yml").read_text(encoding="utf-8")
    missed = re.findall(r'\bup\{service=~"(.+?)"\} offset 1d', alerts)

    assert missed == ["|".join(sorted(jobs_found_by_name()))]


@pytest.mark.parametrize("name", jobs_found_by_name())
def test_service_that_is_found_by_name_is_one_target_at_each_start(name: str) -> None:
    job = jobs_found_by_name()[name]
    (port,) = re.findall(r"port: (\d+)", job)
    labels = dict(re.findall(r'\{target_label: (\w+), replacement: "?(.+?)"?\}', job))

    assert re.findall(r"names: \[(.+)\]", job) == [f'"{name}."']
    assert labels == {
        "__address__": f"{name}:{port}",
        "instance": f"{name}:{port}",
        "service": name,
        "job": "mcp-stack",
    }


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
