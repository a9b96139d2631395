"""One panel: a question, the query that answers it, and how the answer is drawn."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Json = dict[str, Any]
Kind = Literal["timeseries", "stat", "state-timeline", "bargauge", "table", "heatmap"]
# They show one value, and ask for that of now: the last of a range may be half an hour old.
_OF_NOW: frozenset[Kind] = frozenset({"stat", "bargauge", "table"})

SOURCE: Json = {"type": "prometheus", "uid": "prometheus"}


@dataclass(frozen=True)
class Query:
    """An expression and the name of each of its series.

    Parameters
    ----------
    expr
        PromQL; may use the board's variables and `$__rate_interval`.
    legend
        Text with `{{label}}` for what tells the series apart.
    """

    expr: str
    legend: str


def or_none(expression: str, label: str) -> str:
    """Return an expression that shows a zero called `none` where it has nothing to show.

    What has never happened has no series, and a panel without any looks broken.
    """
    return f'({expression}) or on () label_replace(0 * sum(up), "{label}", "none", "", "")'


def that_happened(pace: str, total: str, label: str) -> str:
    """Return the pace of what has happened, else a zero called `none`.

    Counters begin at zero for all that may happen: dozens of lines at the bottom.

    Parameters
    ----------
    pace
        An expression with one series for each value of `label`.
    total
        The counter that it is the pace of.
    """
    return or_none(f"{pace} and on ({label}) sum by ({label}) ({total}) > 0", label)


@dataclass(frozen=True)
class Threshold:
    """From this value on the panel has this colour."""

    value: float | None
    color: str


@dataclass(frozen=True)
class Panel:
    """What one panel shows.

    Parameters
    ----------
    title, description
        What is asked; what the answer means and what to do with it.
    unit
        Grafana's name of the unit, such as `s`, `bytes`, `percentunit`, `short`.
    queries
        What is drawn.
    no_value
        Shown when there is no series: why that may be so.
    kind, width, height
        How it is drawn, in columns of 24 and rows of some 30 pixels.
    maximum
        The axis' end, where the quantity has one.
    decimals
        Digits behind the point; None leaves the choice to Grafana.
    thresholds
        Colours by value; without any, the series have the palette's.
    mappings
        Words and colours in place of values (`0` reads `down`). A state timeline has them and no
        thresholds, else it shows `1+` for `up` (grafana/grafana#71804).
    is_stacked
        The series are parts of one whole.
    """

    title: str
    description: str
    unit: str
    queries: tuple[Query, ...]
    no_value: str
    kind: Kind = "timeseries"
    width: int = 8
    height: int = 8
    maximum: float | None = None
    decimals: int | None = None
    thresholds: tuple[Threshold, ...] = ()
    mappings: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    is_stacked: bool = False

    def model(self, number: int, x: int, y: int) -> Json:
        """Return the panel in Grafana's classic JSON model."""
        return {
            "id": number,
            "type": self.kind,
            "title": self.title,
            "description": self.description,
            "datasource": SOURCE,
            "gridPos": {"x": x, "y": y, "w": self.width, "h": self.height},
            "targets": [self._target(place, query) for place, query in enumerate(self.queries)],
            "fieldConfig": {"defaults": self._defaults(), "overrides": []},
            "options": _OPTIONS[self.kind],
            **({"transformations": _TABLE_COLUMNS} if self.kind == "table" else {}),
        }

    def _target(self, place: int, query: Query) -> Json:
        return {
            "refId": chr(ord("A") + place),
            "datasource": SOURCE,
            "editorMode": "code",
            "expr": query.expr,
            "legendFormat": query.legend,
            "instant": self.kind in _OF_NOW,
            "range": self.kind not in _OF_NOW,
            "format": {"table": "table", "heatmap": "heatmap"}.get(self.kind, "time_series"),
        }

    def _defaults(self) -> Json:
        steps = self.thresholds or (Threshold(None, "green"),)
        defaults: Json = {
            "unit": self.unit,
            "noValue": self.no_value,
            "color": {"mode": "thresholds" if self.thresholds else "palette-classic"},
            "thresholds": {
                "mode": "absolute",
                "steps": [{"value": step.value, "color": step.color} for step in steps],
            },
            "mappings": self._mappings(),
            "custom": self._custom(),
        }
        if self.kind in ("timeseries", "bargauge"):
            # Half a scale makes noise look like a fall; only a disk's or a ratio's end is known.
            defaults["min"] = 0
        if self.maximum is not None:
            defaults["max"] = self.maximum
        if self.decimals is not None:
            defaults["decimals"] = self.decimals
        return defaults

    def _mappings(self) -> list[Json]:
        if not self.mappings:
            return []
        words = {
            value: {"text": text, "color": color, "index": index}
            for index, (value, (text, color)) in enumerate(self.mappings.items())
        }
        return [{"type": "value", "options": words}]

    def _custom(self) -> Json:
        if self.kind != "timeseries":
            return {}
        return {
            "drawStyle": "line",
            "lineInterpolation": "linear",
            "lineWidth": 1,
            "fillOpacity": 30 if self.is_stacked else 8,
            "showPoints": "auto",
            "spanNulls": False,
            "stacking": {"mode": "normal" if self.is_stacked else "none", "group": "A"},
        }


_LEGEND: Json = {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []}
_REDUCE: Json = {"calcs": ["lastNotNull"], "fields": "", "values": False}

_OPTIONS: Mapping[Kind, Json] = {
    "timeseries": {
        "legend": {
            **_LEGEND,
            "displayMode": "table",
            "calcs": ["lastNotNull", "max"],
            # There is room for three lines: the highest come first.
            "sortBy": "Max",
            "sortDesc": True,
        },
        "tooltip": {"mode": "multi", "sort": "desc"},
    },
    "stat": {
        "reduceOptions": _REDUCE,
        "colorMode": "value",
        "graphMode": "none",
        "justifyMode": "auto",
        "orientation": "auto",
        "textMode": "auto",
    },
    "state-timeline": {
        # The words stand in the bands; a gap would be one of its states, called as `noValue`.
        "legend": {**_LEGEND, "showLegend": False},
        "tooltip": {"mode": "single", "sort": "none"},
        "mergeValues": True,
        "showValue": "auto",
        "alignValue": "left",
        "rowHeight": 0.9,
    },
    "bargauge": {
        "reduceOptions": _REDUCE,
        "displayMode": "basic",
        "orientation": "horizontal",
        "showUnfilled": True,
        "valueMode": "color",
    },
    "table": {"showHeader": True, "cellHeight": "sm", "footer": {"show": False}},
    "heatmap": {
        "calculate": False,
        "cellGap": 1,
        "color": {"mode": "scheme", "scheme": "Oranges", "steps": 64, "exponent": 0.5},
        "legend": {"show": True},
        "rowsFrame": {"layout": "auto"},
        "tooltip": {"mode": "single", "showColorScale": False, "yHistogram": False},
        # The buckets' bounds; the number in a cell is a count and has the panel's own unit.
        "yAxis": {"axisPlacement": "left", "unit": "s"},
        "cellValues": {"unit": "short", "decimals": 0},
    },
}

_TABLE_COLUMNS: list[Json] = [
    {"id": "organize", "options": {"excludeByName": {"Time": True, "Value": True}}}
]
