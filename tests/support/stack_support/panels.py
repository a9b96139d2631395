"""The panels of all dashboards, each asked of a Prometheus after a rough load."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from stack_support.prometheus import ROOT, RunningPrometheus

BOARDS = sorted((ROOT / "monitoring" / "grafana" / "dashboards").glob("*.json"))
# What is right at zero, is over before the last minute begins, or is gone when Prometheus asks.
MAY_BE_ZERO = {"Awaiting approval", "Services down", "Lost calls", "Queue", "Garbage collections"}
MAY_BE_ZERO |= {"Sessions", "Error budget left", "Chats answered", "Sandbox in use"}
MAY_BE_ZERO |= {"Places in use"}


@dataclass(frozen=True)
class Asked:
    """One panel's query with its variables filled in."""

    name: str
    title: str
    expression: str
    is_instant: bool


def panel_queries() -> list[Asked]:
    """Give each query of each panel, as Grafana would send it."""
    return [asked for path in BOARDS for asked in _queries_of(path)]


def _queries_of(path: Path) -> Iterator[Asked]:
    board = json.loads(path.read_text(encoding="utf-8"))
    values = {"__rate_interval": "1m", "__range": "15m", "__interval": "5s"}
    values |= {each["name"]: ".*" for each in board["templating"]["list"]}
    for panel in board["panels"]:
        for target in panel["targets"]:
            filled = target["expr"]
            for name, value in values.items():
                filled = re.sub(rf"\${name}\b", value, filled)
            name = f"{board['title']}: {panel['title']} {target['legendFormat']}"
            yield Asked(name, panel["title"], filled, target["instant"])


def assert_not_empty(prometheus: RunningPrometheus, asked: Asked) -> None:
    """Fail where a panel would be empty, or show nothing but zero that the load is to raise."""
    ask = prometheus.now if asked.is_instant else prometheus.last_minute

    values = ask(asked.expression)
    assert values, asked.expression
    # A line at the bottom says no more than no line: the load brings all of these about.
    assert any(values) or asked.title in MAY_BE_ZERO, asked.expression
