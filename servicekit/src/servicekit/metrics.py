"""Prometheus metrics that every service has: rate, errors and duration by route."""

from functools import lru_cache

from prometheus_client import CONTENT_TYPE_LATEST, Gauge, Histogram, generate_latest
from starlette.responses import Response

# From a live cell (under a millisecond) to the longest chat (five minutes), roughly doubling.
DURATION_BUCKETS_SECONDS = (
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300,
)  # fmt: skip

HTTP_REQUEST_DURATION = Histogram(
    "http_request_duration_seconds",
    "Time from a request's head to the end of its answer",
    ("method", "route", "status"),
    buckets=DURATION_BUCKETS_SECONDS,
)
DEPENDENCY_UP = Gauge(
    "dependency_up", "1 when the last check of a dependency passed", ("dependency",)
)

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


def observe_request(*, method: str, route: str | None, status: int, seconds: float) -> None:
    """Count one finished request; what callers invent never becomes a label."""
    known = method if method in _METHODS else "OTHER"
    _duration(known, route or "unmatched", status).observe(seconds)


@lru_cache(maxsize=1024)  # to find a series by its labels takes longer than to count in it
def _duration(method: str, route: str, status: int) -> Histogram:
    return HTTP_REQUEST_DURATION.labels(method, route, str(status))


def metrics_response() -> Response:
    """Return all metrics of this process in Prometheus' text form."""
    return Response(generate_latest(), headers={"content-type": CONTENT_TYPE_LATEST})
