"""Sandbox: places, waiting, how code ends, how fast it is killed, what it uses."""

from dashboards.board import Board
from dashboards.panel import Panel, Query, or_none, that_happened


def _quantile(share: float, metric: str) -> str:
    """Return the expression for a quantile of a histogram over the panel's own interval."""
    return f"histogram_quantile({share}, sum by (le) (rate({metric}_bucket[$__rate_interval])))"


def _hits(metric: str) -> str:
    """Return the expression for the share of hits of a pool; 0 where there were misses alone."""
    asked = f"sum(rate({metric}[$__rate_interval]))"
    return f'(sum(rate({metric}{{outcome="hit"}}[$__rate_interval])) or {asked} * 0) / {asked}'


BOARD = Board(
    uid="mcp-sandbox",
    title="Sandbox",
    description="Places, waiting, how code ends, how fast it is killed, what it uses.",
    panels=(
        Panel(
            title="Places",
            description="Runs that go on, of those that may. SANDBOX_SLOTS sets how many.",
            unit="short",
            queries=(
                Query("sum(sandbox_slots_in_use)", "in use"),
                Query("sum(sandbox_slots)", "places"),
            ),
            no_value="the sandbox gives no metrics",
            decimals=0,
        ),
        Panel(
            title="Queue",
            description="Runs that wait for a place, and calls that wait for their session, "
            "which runs another cell. SANDBOX_QUEUE_LIMIT bounds both; one more is sent away.",
            unit="short",
            queries=(
                Query("sum(sandbox_queue_length)", "for a place"),
                Query("sum(sandbox_session_queue_length)", "for a session"),
            ),
            no_value="the sandbox gives no metrics",
            decimals=0,
        ),
        Panel(
            title="Wait for a place",
            description="Time from the request to the start of the run.",
            unit="s",
            queries=(
                Query(_quantile(0.5, "sandbox_wait_seconds"), "p50"),
                Query(_quantile(0.95, "sandbox_wait_seconds"), "p95"),
            ),
            no_value="no code ran",
        ),
        Panel(
            title="Runs by outcome",
            description="Runs that ended, per minute. `error` is the code's own exception; "
            "`timeout`, `memory`, `output` and `killed` are limits that it met.",
            unit="short",
            queries=(
                Query(
                    that_happened(
                        "sum by (status) (rate(sandbox_executions_total[$__rate_interval])) * 60",
                        "sandbox_executions_total",
                        "status",
                    ),
                    "{{status}}",
                ),
            ),
            no_value="no code ran",
            is_stacked=True,
        ),
        Panel(
            title="Refused runs",
            description="Runs per minute that were not started: 429 is a full queue, 502 a "
            "runner that is away, 503 a sandbox that is off, 504 a wait that took "
            "too long.",
            unit="short",
            queries=(
                Query(
                    or_none(
                        "sum by (status) (rate(http_request_duration_seconds_count"
                        '{service="sandbox",route="/execute",status=~"429|502|503|504"}'
                        "[$__rate_interval])) * 60",
                        "status",
                    ),
                    "{{status}}",
                ),
            ),
            no_value="No run was refused.",
            is_stacked=True,
        ),
        Panel(
            title="Duration of runs",
            description="How long code ran, waiting not included.",
            unit="s",
            queries=(
                Query(_quantile(0.5, "sandbox_execution_seconds"), "p50"),
                Query(_quantile(0.95, "sandbox_execution_seconds"), "p95"),
            ),
            no_value="no code ran",
        ),
        Panel(
            title="Time to kill",
            description="From the moment a limit was met to the death of the last process of "
            "the run.",
            unit="s",
            queries=(
                Query(_quantile(0.5, "sandbox_kill_seconds"), "p50"),
                Query(_quantile(0.95, "sandbox_kill_seconds"), "p95"),
            ),
            no_value="nothing had to be killed",
        ),
        Panel(
            title="Memory of runs",
            description="Most memory that a run held at once.",
            unit="bytes",
            queries=(
                Query(_quantile(0.5, "sandbox_cell_peak_memory_bytes"), "p50"),
                Query(_quantile(0.95, "sandbox_cell_peak_memory_bytes"), "p95"),
            ),
            no_value="no code ran",
        ),
        Panel(
            title="Sessions",
            description="Sessions that callers hold open; their variables live on between runs.",
            unit="short",
            queries=(Query("sum(sandbox_sessions_live)", "live"),),
            no_value="the sandbox gives no metrics",
            decimals=0,
        ),
        Panel(
            title="Ends of sessions",
            description="Sessions that ended, per minute, by reason. Many that were evicted "
            "mean that SANDBOX_MAX_SESSIONS is too small.",
            unit="short",
            queries=(
                Query(
                    that_happened(
                        "sum by (reason) "
                        "(rate(sandbox_sessions_ended_total[$__rate_interval])) * 60",
                        "sandbox_sessions_ended_total",
                        "reason",
                    ),
                    "{{reason}}",
                ),
            ),
            no_value="no session ended",
            is_stacked=True,
        ),
        Panel(
            title="Opening a session",
            description="Time until the runner gave a session. One that it keeps ready takes a "
            "few milliseconds; one that it has to make first takes longer.",
            unit="s",
            queries=(
                Query(_quantile(0.5, "sandbox_session_open_seconds"), "p50"),
                Query(_quantile(0.95, "sandbox_session_open_seconds"), "p95"),
            ),
            no_value="no session was opened",
        ),
        Panel(
            title="Sessions that were ready",
            description="Share of new sessions that were opened ahead (a low one asks for more "
            "SANDBOX_SPARE_SESSIONS), and of those that the runner opened, how many were forked "
            "ahead (a low one asks for a larger SANDBOX_RUNNER_POOL).",
            unit="percentunit",
            queries=(
                Query(_hits("sandbox_spare_sessions_total"), "opened ahead"),
                Query(_hits("sandbox_pool_claims_total"), "forked ahead"),
            ),
            no_value="no session was opened",
            maximum=1,
        ),
        Panel(
            title="Protections",
            description="What this kernel gives against hostile code. Without `landlock` or "
            "`seccomp` nothing is run; /health says why one is degraded.",
            unit="short",
            queries=(Query("min by (protection) (sandbox_protection)", "{{protection}}"),),
            no_value="the sandbox gives no metrics",
            kind="state-timeline",
            width=24,
            height=9,
            mappings={
                "0": ("unavailable", "red"),
                "1": ("disabled", "purple"),
                "2": ("degraded", "orange"),
                "3": ("active", "green"),
            },
        ),
        Panel(
            title="Packages",
            description="Requests for packages, per minute, by outcome. `package-refused` is "
            "a rule that held; `package-index-down` is an index that does not "
            "answer.",
            unit="short",
            queries=(
                Query(
                    that_happened(
                        "sum by (outcome) "
                        "(rate(sandbox_package_installs_total[$__rate_interval])) * 60",
                        "sandbox_package_installs_total",
                        "outcome",
                    ),
                    "{{outcome}}",
                ),
            ),
            no_value="nobody asked for a package",
            is_stacked=True,
        ),
        Panel(
            title="Packages refused, by rule",
            description="Requests for packages that a rule did not let in, per minute. "
            "docs/explanation/sandbox.md says what an operator can do.",
            unit="short",
            queries=(
                Query(
                    that_happened(
                        "sum by (rule) "
                        "(rate(sandbox_package_refusals_total[$__rate_interval])) * 60",
                        "sandbox_package_refusals_total",
                        "rule",
                    ),
                    "{{rule}}",
                ),
            ),
            no_value="No package was refused.",
            is_stacked=True,
        ),
        Panel(
            title="Time of an installation",
            description="From the request to a package that can be imported, p95. `yes`: all its "
            "files were in the cache; `no`: some had to be fetched.",
            unit="s",
            queries=(
                Query(
                    "histogram_quantile(0.95, sum by (le, cached) "
                    "(rate(sandbox_package_install_seconds_bucket[$__rate_interval])))",
                    "cached: {{cached}}",
                ),
            ),
            no_value="no package was installed",
        ),
        Panel(
            title="Fetched from the index",
            description="Bytes of packages that were downloaded, per second.",
            unit="Bps",
            queries=(
                Query(
                    "sum(rate(sandbox_package_downloaded_bytes_total[$__rate_interval]))", "fetched"
                ),
            ),
            no_value="nothing was fetched",
        ),
        Panel(
            title="Awaiting approval",
            description="Names of packages that wait for an operator's word, where the rules ask "
            "for one.",
            unit="short",
            queries=(Query("sum(sandbox_packages_awaiting_approval)", "waiting"),),
            no_value="the sandbox gives no metrics",
            decimals=0,
        ),
        Panel(
            title="Disk for packages",
            description="Space where package sets are kept: what they take, what is free, and the "
            "whole disk.",
            unit="bytes",
            queries=(
                Query("sum(sandbox_package_store_bytes)", "packages"),
                Query("min(sandbox_disk_free_bytes)", "free"),
                Query("max(sandbox_disk_size_bytes)", "whole disk"),
            ),
            no_value="the sandbox gives no metrics",
        ),
    ),
)
