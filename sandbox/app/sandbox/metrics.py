"""What an operator sees of the sandbox in Prometheus."""

from typing import get_args

from prometheus_client import Counter, Gauge, Histogram
from servicekit.errors import DeadlineExceeded, StackError, TooBusy
from servicekit.wire.execution import ExecutionStatus

from sandbox import errors
from sandbox.end_reason import EndReason
from sandbox.packages.refusal import Rule

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
# From a bare interpreter to far above the default limit, doubling.
_BYTES = tuple(1 << power for power in range(23, 35))

EXECUTIONS = Counter("sandbox_executions_total", "Cells by how they ended", ["status"])
EXECUTION_SECONDS = Histogram(
    "sandbox_execution_seconds", "Time that a cell ran, as the warden reports it", buckets=_SECONDS
)
SLOTS = Gauge("sandbox_slots", "Runs that can go on at once")
SLOTS_IN_USE = Gauge("sandbox_slots_in_use", "Runs that go on at present")
RUNNER_START = Gauge(
    "sandbox_runner_start_time_seconds", "When the runner started, in seconds since 1970"
)
QUEUE_LENGTH = Gauge("sandbox_queue_length", "Runs that wait for a place")
SESSION_QUEUE_LENGTH = Gauge(
    "sandbox_session_queue_length", "Calls that wait for their session, which runs another cell"
)
WAIT_SECONDS = Histogram(
    "sandbox_wait_seconds",
    "Time from request to place, the wait for its session included",
    buckets=_SECONDS,
)
KILL_SECONDS = Histogram(
    "sandbox_kill_seconds", "Time from a limit to the death of the whole tree", buckets=_SECONDS
)
CELL_PEAK_MEMORY = Histogram(
    "sandbox_cell_peak_memory_bytes", "Most memory that a cell held at once", buckets=_BYTES
)
SESSION_OPEN_SECONDS = Histogram(
    "sandbox_session_open_seconds",
    "Time from asking the runner for a session to having it",
    buckets=_SECONDS,
)
POOL_CLAIMS = Counter(
    "sandbox_pool_claims_total",
    "Sessions that the runner opened: one forked ahead was there (hit), or had to be waited for",
    ["outcome"],
)
SPARE_SESSIONS = Counter(
    "sandbox_spare_sessions_total",
    "New sessions with the usual limits: one opened ahead was there (hit), or was opened then",
    ["outcome"],
)
PROTECTION = Gauge(
    "sandbox_protection",
    "How well this kernel gives a protection: 3 active, 2 degraded, 1 disabled, 0 unavailable",
    ["protection"],
)
SESSIONS_LIVE = Gauge("sandbox_sessions_live", "Sessions that callers hold open")
SESSIONS_ENDED = Counter("sandbox_sessions_ended_total", "Sessions by why they ended", ["reason"])
PACKAGE_INSTALLS = Counter(
    "sandbox_package_installs_total", "Package requests by outcome", ["outcome"]
)
PACKAGE_REFUSALS = Counter(
    "sandbox_package_refusals_total", "Package requests that a rule did not let in", ["rule"]
)
PACKAGE_SECONDS = Histogram(
    "sandbox_package_install_seconds",
    "Time from request to importable package; cached: all wheels were unpacked already",
    ["cached"],
    buckets=_SECONDS,
)
PACKAGE_DOWNLOADED = Counter(
    "sandbox_package_downloaded_bytes_total", "Bytes of wheels fetched from the index"
)
PACKAGE_STORE_SIZE = Gauge(
    "sandbox_package_store_bytes", "Space that unpacked wheels and package sets take"
)
PACKAGES_WAITING = Gauge(
    "sandbox_packages_awaiting_approval", "Package names that wait for an operator's word"
)
DISK_FREE = Gauge("sandbox_disk_free_bytes", "Free space where package sets are kept")
DISK_SIZE = Gauge("sandbox_disk_size_bytes", "Whole space where package sets are kept")

# Prometheus sees by a series' growth how often something happened: one that is born with the first
# event shows nothing of it.
for _outcome in ("hit", "miss"):
    POOL_CLAIMS.labels(outcome=_outcome)
    SPARE_SESSIONS.labels(outcome=_outcome)
for _cached in ("yes", "no"):
    PACKAGE_SECONDS.labels(cached=_cached)
for _status in get_args(ExecutionStatus):
    EXECUTIONS.labels(status=_status)
for _reason in EndReason:
    SESSIONS_ENDED.labels(reason=_reason.code)
for _rule in get_args(Rule):
    PACKAGE_REFUSALS.labels(rule=_rule)

_INSTALL_ERRORS: tuple[type[StackError], ...] = (
    errors.PackageRefused,
    errors.PackageAwaitsApproval,
    errors.PackageUnknown,
    errors.IndexUnavailable,
    errors.InstallFailed,
    errors.RunnerDown,
    errors.SessionUnknown,
    errors.SessionEnded,
    TooBusy,
    DeadlineExceeded,
)
for _outcome in ("installed", "present", "failed", *(each.type for each in _INSTALL_ERRORS)):
    PACKAGE_INSTALLS.labels(outcome=_outcome)
