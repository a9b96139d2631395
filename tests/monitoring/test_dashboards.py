"""The committed dashboards: complete, consistent, not stale, and about metrics that exist."""

import json
import re
import subprocess
import sys
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins

with warnings.catch_warnings():
    # The newer model is one that Grafana 11 does not read.
    warnings.filterwarnings("ignore", "Prefer using dashboardv2", DeprecationWarning)
    from grafana_foundation_sdk.models.dashboard import Dashboard

# Without these it reads a panel's own options as they stand, whatever they are.
register_default_plugins()

ROOT = Path(__file__).resolve().parents[2]
MONITORING = ROOT / "monitoring"
FILES = sorted((MONITORING / "grafana" / "dashboards").glob("*.json"))
KINDS = {"timeseries", "stat", "state-timeline", "bargauge", "table", "heatmap"}
BUILT_IN = {"__rate_interval", "__range", "__interval"}

# What stands in a rule or expression where a metric could, and is none.
_NO_METRIC = {
    *("sum", "by", "rate", "increase", "changes", "histogram_quantile", "count", "min", "max"),
    *("or", "and", "unless", "vector", "time", "topk", "predict_linear", "last_over_time"),
    *("group_left", "timestamp", "label_replace"),
}


def load(path: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return document


def panels() -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    for path in FILES:
        board = load(path)
        for panel in board["panels"]:
            yield board, panel


PANELS = [
    pytest.param(board, panel, id=f"{board['uid']}: {panel['title']}") for board, panel in panels()
]


def expressions() -> list[str]:
    return [target["expr"] for _, panel in panels() for target in panel["targets"]]


def rules_text() -> str:
    files = sorted((MONITORING / "prometheus" / "rules").glob("*.yml"))
    return "\n".join(path.read_text(encoding="utf-8") for path in files)


def names_in(expression: str) -> set[str]:
    """Give the metrics that an expression asks for."""
    bare = re.sub(r'"[^"]*"', "", expression)
    bare = re.sub(r"\{[^}]*\}|\[[^\]]*\]", "", bare)
    bare = re.sub(r"\b(?:by|on|ignoring|without)\s*\([^)]*\)", "", bare)
    return set(re.findall(r"[a-zA-Z_][\w:]*", bare)) - _NO_METRIC


def exported() -> set[str]:
    """Give the series that can exist: the reference's, the client's, Prometheus' own, recorded."""
    page = (ROOT / "docs" / "reference" / "metrics.md").read_text(encoding="utf-8")
    known = {"up", "ALERTS", "scrape_duration_seconds", "python_gc_collections_total"}
    known |= {f"process_{each}" for each in ("open_fds", "max_fds", "resident_memory_bytes")}
    known |= {"process_cpu_seconds_total", "process_start_time_seconds"}
    known |= {"prometheus_rule_evaluation_failures_total"}
    known |= set(re.findall(r"- record: (\S+)", rules_text()))
    for name, kind in re.findall(r"^\| `(\w+)` \| (\w+) \|", page, re.MULTILINE):
        suffixes = ("_bucket", "_sum", "_count") if kind == "histogram" else ("",)
        known |= {name + suffix for suffix in suffixes}
    return known


def test_there_are_five_dashboards_with_six_panels_or_more() -> None:
    assert {load(path)["title"] for path in FILES} == {
        *("Overview", "Chat and LLM", "MCP and tools", "Sandbox", "Services"),
    }
    for path in FILES:
        assert len(load(path)["panels"]) >= 6, path.name


def test_dashboards_say_what_the_code_says() -> None:
    done = subprocess.run(
        [sys.executable, MONITORING / "generate.py", "--check"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr


def test_no_query_stands_twice() -> None:
    counted = Counter(re.sub(r"\s", "", each) for each in expressions())

    assert not [each for each, times in counted.items() if times > 1]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_dashboard_loads_in_grafana_11(path: Path) -> None:
    board = load(path)

    assert board["schemaVersion"] <= 39
    assert board["uid"] == path.stem
    assert "id" not in board
    assert len(board["uid"]) <= 40
    assert board["description"]
    numbers = [panel["id"] for panel in board["panels"]]
    assert len(set(numbers)) == len(numbers)
    titles = [panel["title"] for panel in board["panels"]]
    assert len(set(titles)) == len(titles)


def differing(ours: Any, read: Any, place: str = "") -> Iterator[str]:
    """Give the places of `ours` that are not the same in `read`; what `read` adds is its own."""
    if isinstance(ours, dict) and isinstance(read, dict):
        for key, value in ours.items():
            yield from differing(value, read.get(key, "(dropped)"), f"{place}.{key}")
    elif isinstance(ours, list) and isinstance(read, list) and len(ours) == len(read):
        for number, (value, other) in enumerate(zip(ours, read, strict=True)):
            yield from differing(value, other, f"{place}[{number}]")
    elif ours != read:
        yield f"{place}: {ours!r} became {read!r}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_grafanas_own_model_drops_no_key(path: Path) -> None:
    ours = load(path)
    written = json.dumps(Dashboard.from_json(ours), cls=JSONEncoder)

    assert list(differing(ours, json.loads(written))) == []


def test_grafanas_own_model_drops_a_key_that_it_does_not_know() -> None:
    ours = load(FILES[0])
    ours["panels"][0]["fieldConfig"]["defaults"]["nonsense"] = 1
    ours["nonsense"] = [1]
    written = json.dumps(Dashboard.from_json(ours), cls=JSONEncoder)

    found = "\n".join(differing(ours, json.loads(written)))
    assert ".nonsense: [1]" in found
    assert ".panels[0].fieldConfig.defaults.nonsense: 1" in found


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_dashboard_links_to_all_others(path: Path) -> None:
    others = {f"/d/{each.stem}" for each in FILES if each != path}

    assert {link["url"] for link in load(path)["links"]} == others


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_panels_do_not_overlap(path: Path) -> None:
    taken: set[tuple[int, int]] = set()
    for panel in load(path)["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24, panel["title"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        taken |= cells


@pytest.mark.parametrize(("board", "panel"), PANELS)
def test_panel_is_complete(board: dict[str, Any], panel: dict[str, Any]) -> None:
    defaults = panel["fieldConfig"]["defaults"]

    assert panel["type"] in KINDS
    assert defaults["unit"]
    assert defaults["noValue"]
    assert panel["description"].endswith(".")
    assert panel["datasource"] == {"type": "prometheus", "uid": "prometheus"}
    legends = [target["legendFormat"] for target in panel["targets"]]
    assert all(legends)
    assert len(set(legends)) == len(legends), "two queries give series of the same name"
    assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])
    # A number that is the last of a range tells of a service that was lost as if it were there.
    shows_one_value = panel["type"] in {"stat", "bargauge", "table", "gauge"}
    assert all(target["instant"] is shows_one_value for target in panel["targets"])
    assert all(target["range"] is not shows_one_value for target in panel["targets"])


def test_state_timelines_show_words() -> None:
    found = [panel for _, panel in panels() if panel["type"] == "state-timeline"]

    assert len(found) == 4
    for panel in found:
        defaults = panel["fieldConfig"]["defaults"]
        assert defaults["mappings"], panel["title"]
        # With thresholds Grafana shows `< 1` and `1+` in their place (grafana/grafana#71804).
        assert defaults["color"]["mode"] != "thresholds", panel["title"]


def test_empty_cells_of_tables_say_nothing() -> None:
    found = [panel for _, panel in panels() if panel["type"] == "table"]

    assert found
    # Grafana writes it into every cell of a label that a series has not.
    assert {panel["fieldConfig"]["defaults"]["noValue"] for panel in found} == {"-"}


@pytest.mark.parametrize(("board", "panel"), PANELS)
def test_panel_asks_for_what_exists(board: dict[str, Any], panel: dict[str, Any]) -> None:
    variables = {each["name"] for each in board["templating"]["list"]} | BUILT_IN
    for target in panel["targets"]:
        expression = target["expr"]
        assert set(re.findall(r"\$(\w+)", expression)) <= variables
        assert names_in(expression)
        assert names_in(expression) <= exported()
        # A label that the sum drops can't name a series.
        labels = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
        kept = re.findall(r"\bby \(([^)]*)\)", expression)
        if kept:
            assert labels <= set(re.findall(r"\w+", kept[0]))


def test_every_variable_is_used() -> None:
    for path in FILES:
        board = load(path)
        text = " ".join(t["expr"] for panel in board["panels"] for t in panel["targets"])
        for variable in board["templating"]["list"]:
            assert f"${variable['name']}" in text


def test_provisioning_names_the_source_and_the_folder_of_the_dashboards() -> None:
    provisioning = MONITORING / "grafana" / "provisioning"
    source = (provisioning / "datasources" / "prometheus.yml").read_text(encoding="utf-8")
    boards = (provisioning / "dashboards" / "mcp-stack.yml").read_text(encoding="utf-8")

    assert re.search(r"^\s+uid: prometheus$", source, re.MULTILINE)
    assert re.search(r"^\s+url: http://prometheus:9090$", source, re.MULTILINE)
    assert re.search(r"^\s+path: /etc/grafana/dashboards$", boards, re.MULTILINE)
