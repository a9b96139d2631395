"""How many calls, how long, how they ended: Prometheus metrics, and their reading back."""

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, get_args

from prometheus_client import Counter, Gauge, Histogram
from servicekit.metrics import DURATION_BUCKETS_SECONDS

CallStatus = Literal["ok", "error", "invalid", "unavailable", "timeout", "cancelled"]
# An upstream of somebody else may offer very many tools, or rename its own for ever.
MOST_BEGUN = 256

EXECUTION_SECONDS = Histogram(
    "mcp_tool_execution_seconds",
    "Time of a tool call through the gateway",
    ("tool_name",),
    buckets=DURATION_BUCKETS_SECONDS,
)
EXECUTIONS = Counter("mcp_tool_executions", "Tool calls by how they ended", ("tool_name", "status"))
UPSTREAM_UP = Gauge("mcp_upstream_up", "1 while the upstream is connected", ("upstream",))
# A loss between two scrapes leaves no trace in `mcp_upstream_up`.
UPSTREAM_LOSSES = Counter(
    "mcp_upstream_losses", "Connections to an upstream that were lost", ("upstream",)
)
UPSTREAM_TOOLS = Gauge("mcp_upstream_tools", "Tools that an upstream offers", ("upstream",))


_begun: set[str] = set()


def begin(tool_names: Iterable[str]) -> None:
    """Let the series of tools begin at zero, so that Prometheus sees their first calls.

    A series that is born with the first call shows no growth, and so nothing of it. Of very many
    tools the first `MOST_BEGUN` begin so; the others are born with their first call.
    """
    for name in tool_names:
        if name in _begun or len(_begun) >= MOST_BEGUN:
            continue
        _begun.add(name)
        EXECUTION_SECONDS.labels(name)
        for status in get_args(CallStatus):
            EXECUTIONS.labels(name, status)


class CallOutcome:
    """How a running call will be counted."""

    def __init__(self) -> None:
        # Holds unless the call says otherwise before it ends.
        self.status: CallStatus = "cancelled"


@contextmanager
def counted(tool_name: str) -> Iterator[CallOutcome]:
    """Time one call and count it under the status that the block sets.

    Parameters
    ----------
    tool_name
        The name of a tool that exists: what callers invent must not become a label.
    """
    outcome = CallOutcome()
    started = time.perf_counter()
    try:
        yield outcome
    finally:
        EXECUTION_SECONDS.labels(tool_name).observe(time.perf_counter() - started)
        EXECUTIONS.labels(tool_name, outcome.status).inc()


@dataclass(frozen=True, slots=True)
class ToolStatistics:
    """One tool's calls since the start."""

    name: str
    calls: int
    failures: int
    mean_ms: float
    p95_ms: float | None


def tool_statistics() -> tuple[ToolStatistics, ...]:
    """Read back the metrics of tools that were called, sorted by name.

    `p95_ms` is a bucket's upper bound.
    """
    counts: dict[str, dict[str, int]] = {}
    for metric in EXECUTIONS.collect():
        for sample in metric.samples:
            if sample.name.endswith("_total"):
                by_status = counts.setdefault(sample.labels["tool_name"], {})
                by_status[sample.labels["status"]] = int(sample.value)
    sums: dict[str, float] = {}
    buckets: dict[str, list[tuple[float, float]]] = {}
    for metric in EXECUTION_SECONDS.collect():
        for sample in metric.samples:
            name = sample.labels["tool_name"]
            if sample.name.endswith("_sum"):
                sums[name] = sample.value
            elif sample.name.endswith("_bucket"):
                buckets.setdefault(name, []).append((float(sample.labels["le"]), sample.value))
    return tuple(
        _statistics(name, counts[name], sums.get(name, 0.0), buckets.get(name, []))
        for name in sorted(counts)
        if any(counts[name].values())
    )


def _statistics(
    name: str, counts: dict[str, int], seconds: float, buckets: list[tuple[float, float]]
) -> ToolStatistics:
    calls = sum(counts.values())
    bound = next((le for le, count in sorted(buckets) if count >= 0.95 * calls), None)
    return ToolStatistics(
        name=name,
        calls=calls,
        failures=calls - counts.get("ok", 0),
        mean_ms=round(1000 * seconds / calls, 3) if calls else 0.0,
        p95_ms=None if bound is None or bound == float("inf") else round(1000 * bound, 3),
    )
