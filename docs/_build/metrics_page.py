"""reference/metrics.md: every metric that a service exports."""

from dataclasses import dataclass

from prometheus_client.metrics import MetricWrapperBase

from _build.markdown import code, page, table
from _build.services import PACKAGES, modules

_INTRO = """
Every service answers `GET /metrics` in Prometheus' text form. A label never carries what a caller
invented: an unknown path counts as `unmatched`, an unknown tool under no name at all; session and
request ids are never labels. Histograms have the usual `_bucket`, `_sum` and `_count` series.

Beside these, each service exports the Python client's own `process_*` and `python_*` series.
"""


def render() -> str:
    """Return the page."""
    owners = {"servicekit": "Every service"} | {v: k for k, v in PACKAGES.items()}
    sections = []
    for package, title in owners.items():
        rows = [
            (code(each.name), each.kind, ", ".join(map(code, each.labels)), each.meaning)
            for each in _exported(package)
        ]
        if rows:
            header = ("metric", "kind", "labels", "meaning")
            sections.append(f"## {title}\n\n" + table(header, rows))
    return page("Metrics", _INTRO.strip(), *sections)


@dataclass(frozen=True, order=True)
class _Exported:
    name: str
    kind: str
    labels: tuple[str, ...]
    meaning: str


def _exported(package: str) -> list[_Exported]:
    found = {
        _describe(metric)
        for module in modules(package)
        for metric in vars(module).values()
        if isinstance(metric, MetricWrapperBase)
    }
    # A metric that a module imported belongs to the package that it came from.
    shared = set() if package == "servicekit" else set(_exported("servicekit"))
    return sorted(found - shared)


def _describe(metric: MetricWrapperBase) -> _Exported:
    described = next(iter(metric.describe()))
    # The client keeps a counter's name without the suffix that it exports.
    suffix = "_total" if described.type == "counter" else ""
    labels = metric._labelnames  # noqa: SLF001  # the client tells them nowhere else
    return _Exported(
        described.name + suffix, described.type, tuple(labels), described.documentation
    )
