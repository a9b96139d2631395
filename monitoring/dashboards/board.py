"""One dashboard: its panels laid out in rows, its variables, its links to the others."""

from collections.abc import Sequence
from dataclasses import dataclass

from dashboards.panel import SOURCE, Json, Panel

_COLUMNS = 24
# The newest classic model that Grafana 11.0 reads without a migration of its own.
_SCHEMA_VERSION = 39
_TAG = "mcp-stack"


@dataclass(frozen=True)
class Variable:
    """A choice at the dashboard's head: all values of a label, or some."""

    name: str
    label: str
    metric: str
    of: str

    def model(self) -> Json:
        """Return the variable in Grafana's classic JSON model."""
        query = f"label_values({self.metric}, {self.of})"
        return {
            "name": self.name,
            "label": self.label,
            "type": "query",
            "datasource": SOURCE,
            "definition": query,
            "query": {"qryType": 1, "query": query, "refId": f"variable-{self.name}"},
            "multi": True,
            "includeAll": True,
            "allValue": ".*",
            "current": {"selected": True, "text": ["All"], "value": ["$__all"]},
            # 2: when the time range changes. A service that came later is then among them.
            "refresh": 2,
            "sort": 1,
            "hide": 0,
            "options": [],
            "regex": "",
            "skipUrlSync": False,
        }


@dataclass(frozen=True)
class Board:
    """A dashboard.

    Parameters
    ----------
    uid
        Its address in Grafana; the name of its file.
    title, description
        What it answers.
    panels
        From left to right, from the top down.
    variables
        Choices that the panels' queries use as `$name`.
    """

    uid: str
    title: str
    description: str
    panels: tuple[Panel, ...]
    variables: tuple[Variable, ...] = ()

    def model(self, boards: Sequence["Board"]) -> Json:
        """Return the dashboard in Grafana's classic JSON model, with links to the others."""
        return {
            "uid": self.uid,
            "title": self.title,
            "description": self.description,
            "tags": [_TAG],
            "schemaVersion": _SCHEMA_VERSION,
            "version": 1,
            "editable": False,
            "graphTooltip": 1,
            "timezone": "browser",
            "refresh": "10s",
            "time": {"from": "now-30m", "to": "now"},
            "timepicker": {},
            "fiscalYearStartMonth": 0,
            "weekStart": "",
            "annotations": {"list": [_ALERTS]},
            "links": [_link(board) for board in boards if board is not self],
            "templating": {"list": [variable.model() for variable in self.variables]},
            "panels": self._laid_out(),
        }

    def _laid_out(self) -> list[Json]:
        models = []
        x = y = row_height = 0
        for number, panel in enumerate(self.panels, 1):
            if x + panel.width > _COLUMNS:
                x, y, row_height = 0, y + row_height, 0
            models.append(panel.model(number, x, y))
            x += panel.width
            row_height = max(row_height, panel.height)
        return models


def _link(board: Board) -> Json:
    return {
        "type": "link",
        "title": board.title,
        "url": f"/d/{board.uid}",
        "tooltip": board.description,
        "icon": "dashboard",
        "keepTime": True,
        "includeVars": False,
        "targetBlank": False,
        "asDropdown": False,
        "tags": [],
    }


_ALERTS: Json = {
    "name": "Alerts",
    "datasource": SOURCE,
    "enable": True,
    "hide": False,
    "iconColor": "red",
    "expr": 'ALERTS{alertstate="firing",severity="critical"}',
    "titleFormat": "{{alertname}}",
    "textFormat": "{{service}}",
    "step": "30s",
}
