"""Services: rate, errors and duration per route; what each process uses."""

from dashboards.board import Board, Variable
from dashboards.panel import Panel, Query, or_none

_MATCH = 'service=~"$service",route!~"/health|/ready|/metrics"'
_COUNT = f"http_request_duration_seconds_count{{{_MATCH}"
_BUCKET = f"http_request_duration_seconds_bucket{{{_MATCH}}}"
_PROCESS = '{job="mcp-stack",service=~"$service"}'

BOARD = Board(
    uid="mcp-services",
    title="Services",
    description="Rate, errors and duration per route; what each process uses.",
    variables=(Variable("service", "Service", 'up{job="mcp-stack"}', "service"),),
    panels=(
        Panel(
            title="Requests by route",
            description="Requests per second; probes and scrapes do not count. `unmatched` "
            "are paths that do not exist.",
            unit="reqps",
            queries=(
                Query(
                    f"sum by (service, route) (rate({_COUNT}}}[$__rate_interval]))",
                    "{{service}} {{route}}",
                ),
            ),
            no_value="no request yet",
            width=12,
            height=9,
        ),
        Panel(
            title="Answers that are no success",
            description="Answers per second of 4xx and 5xx, by service and status.",
            unit="reqps",
            queries=(
                Query(
                    or_none(
                        "sum by (service, status) "
                        f'(rate({_COUNT},status=~"[45].."}}[$__rate_interval]))',
                        "status",
                    ),
                    "{{service}} {{status}}",
                ),
            ),
            no_value="Every request succeeded.",
            width=12,
            height=9,
        ),
        Panel(
            title="Duration by route, p50",
            description="Half of the requests ended within this time.",
            unit="s",
            queries=(
                Query(
                    "histogram_quantile(0.5, sum by (le, service, route) "
                    f"(rate({_BUCKET}[$__rate_interval])))",
                    "{{service}} {{route}}",
                ),
            ),
            no_value="no request yet",
            width=12,
            height=9,
        ),
        Panel(
            title="Duration by route, p95",
            description="95 of 100 requests ended within this time.",
            unit="s",
            queries=(
                Query(
                    "histogram_quantile(0.95, sum by (le, service, route) "
                    f"(rate({_BUCKET}[$__rate_interval])))",
                    "{{service}} {{route}}",
                ),
            ),
            no_value="no request yet",
            width=12,
            height=9,
        ),
        Panel(
            title="CPU",
            description="Processor time of each process; 100 % is one whole core.",
            unit="percentunit",
            queries=(
                Query(
                    "sum by (service) "
                    f"(rate(process_cpu_seconds_total{_PROCESS}[$__rate_interval]))",
                    "{{service}}",
                ),
            ),
            no_value="no process gave its figures",
        ),
        Panel(
            title="Memory",
            description="Resident memory of each process. A steady rise is a leak.",
            unit="bytes",
            queries=(
                Query(f"sum by (service) (process_resident_memory_bytes{_PROCESS})", "{{service}}"),
            ),
            no_value="no process gave its figures",
        ),
        Panel(
            title="File descriptors",
            description="Share of the open files and connections that each process may have.",
            unit="percentunit",
            queries=(
                Query(
                    f"max by (service) (process_open_fds{_PROCESS} / process_max_fds{_PROCESS})",
                    "{{service}}",
                ),
            ),
            no_value="no process gave its figures",
        ),
        Panel(
            title="Running for",
            description="Time since each process started; a fall to zero is a restart.",
            unit="s",
            queries=(
                Query(
                    f"time() - min by (service) (process_start_time_seconds{_PROCESS})",
                    "{{service}}",
                ),
            ),
            no_value="no process gave its figures",
        ),
        Panel(
            title="Garbage collections",
            description="Full collections (the oldest generation) per second; each one stops "
            "the process for a moment.",
            unit="ops",
            queries=(
                Query(
                    "sum by (service) (rate(python_gc_collections_total"
                    '{job="mcp-stack",service=~"$service",generation="2"}[$__rate_interval]))',
                    "{{service}}",
                ),
            ),
            no_value="no process gave its figures",
        ),
        Panel(
            title="Time of a scrape",
            description="How long each service took to give its metrics. A slow one has a "
            "busy event loop.",
            unit="s",
            queries=(
                Query(f"max by (service) (scrape_duration_seconds{_PROCESS})", "{{service}}"),
            ),
            no_value="Prometheus has no targets",
        ),
    ),
)
