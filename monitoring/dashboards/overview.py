"""Overview: whether the stack is healthy, and what its users feel."""

from dashboards.board import Board
from dashboards.panel import Panel, Query, Threshold, or_none

GOOD_IS_HIGH = (Threshold(None, "red"), Threshold(0.95, "orange"), Threshold(0.99, "green"))
ANY_IS_BAD = (Threshold(None, "green"), Threshold(1, "red"))
UP_OR_DOWN = {"0": ("down", "red"), "1": ("up", "green")}

# No sample that a Prometheus before this one left.
_FRESH = 'up{job="mcp-stack"} and timestamp(up{job="mcp-stack"}) > time() - 30'
# Those that were asked since this Prometheus started; a stopped container may have left no target.
_ASKED = (
    'last_over_time(service:up:asked_timestamp_seconds{job="mcp-stack"}[1d])'
    ' > on () group_left () max(process_start_time_seconds{job="prometheus"}) + 5'
)

BOARD = Board(
    uid="mcp-overview",
    title="Overview",
    description="Is the stack healthy, and what do its users feel?",
    panels=(
        Panel(
            title="Services down",
            description="Services that gave no metrics at the last scrape. Anything but 0 "
            "needs a look at the states below.",
            unit="short",
            queries=(
                Query(
                    f'count(({_ASKED}) unless up{{job="mcp-stack"}} == 1) or vector(0)',
                    "down",
                ),
            ),
            no_value="Prometheus does not answer",
            kind="stat",
            width=4,
            height=5,
            decimals=0,
            thresholds=ANY_IS_BAD,
        ),
        Panel(
            title="Alerts firing",
            description="Alerts that fire now; the table below names them.",
            unit="short",
            queries=(Query('count(ALERTS{alertstate="firing"}) or vector(0)', "firing"),),
            no_value="Prometheus does not answer",
            kind="stat",
            width=4,
            height=5,
            decimals=0,
            thresholds=ANY_IS_BAD,
        ),
        Panel(
            title="Chats answered",
            description="Share of chats of the last five minutes that ended in an answer. "
            "What callers did wrong is no failure here. The promise is 99 %.",
            unit="percentunit",
            queries=(
                Query('1 - slo:errors_per_request:ratio_rate5m{slo="chat"} <= 1', "answered"),
            ),
            no_value="no chat in five minutes",
            kind="stat",
            width=4,
            height=5,
            maximum=1,
            decimals=1,
            thresholds=GOOD_IS_HIGH,
        ),
        Panel(
            title="Error budget left",
            description="Of the failures that the promise of 99 % allows, the share that the "
            "last three days left over. Below 0 the promise is broken.",
            unit="percentunit",
            queries=(Query("1 - slo:errors_per_request:ratio_rate3d / 0.01 <= 1", "{{slo}}"),),
            no_value="no request in three days",
            kind="stat",
            width=4,
            height=5,
            decimals=0,
            thresholds=(Threshold(None, "red"), Threshold(0, "orange"), Threshold(0.5, "green")),
        ),
        Panel(
            title="Time to an answer",
            description="95 of 100 chats of the last five minutes ended within this time.",
            unit="s",
            queries=(
                Query(
                    "histogram_quantile(0.95, sum by (le) "
                    "(rate(chat_turn_seconds_bucket[5m]))) >= 0",
                    "p95",
                ),
            ),
            no_value="no chat in five minutes",
            kind="stat",
            width=4,
            height=5,
            thresholds=(Threshold(None, "green"), Threshold(15, "orange"), Threshold(45, "red")),
        ),
        Panel(
            title="Sandbox in use",
            description="Share of the sandbox's places that are taken. At 100 % runs wait in "
            "a queue.",
            unit="percentunit",
            queries=(Query("sandbox_slots_in_use / sandbox_slots", "in use"),),
            no_value="the sandbox gives no metrics",
            kind="stat",
            width=4,
            height=5,
            maximum=1,
            decimals=0,
            thresholds=(Threshold(None, "green"), Threshold(0.7, "orange"), Threshold(0.9, "red")),
        ),
        Panel(
            title="Services",
            description="Whether each service answers, and Grafana and the Alertmanager where they "
            "are started. A short gap is a restart.",
            unit="short",
            queries=(
                Query(
                    f"max by (service) ({_FRESH} or 0 * ({_ASKED}))",
                    "{{service}}",
                ),
            ),
            no_value="Prometheus has no targets",
            kind="state-timeline",
            width=12,
            mappings=UP_OR_DOWN,
        ),
        Panel(
            title="Dependencies",
            description="Whether each service can use what it needs, by its own checks. The "
            "caller comes first. /health of the caller says why one is down.",
            unit="short",
            queries=(
                Query(
                    "min by (service, dependency) (dependency_up)", "{{service}} → {{dependency}}"
                ),
            ),
            no_value="no service gave its checks",
            kind="state-timeline",
            width=12,
            mappings=UP_OR_DOWN,
        ),
        Panel(
            title="Chats",
            description="Chats that ended, per minute, by whether they got an answer.",
            unit="short",
            queries=(
                Query(
                    'sum(rate(chat_turns_total{outcome=~"stop|length|tool_calls|max_steps'
                    '|repeated_failure|content_filter"}[$__rate_interval])) * 60',
                    "answered",
                ),
                Query(
                    'sum(rate(chat_turns_total{outcome!~"stop|length|tool_calls|max_steps'
                    '|repeated_failure|content_filter"}[$__rate_interval])) * 60 or vector(0)',
                    "failed, refused or given up",
                ),
            ),
            no_value="no chat yet",
            is_stacked=True,
        ),
        Panel(
            title="Failed requests",
            description="Share of each service's requests that it answered with a 5xx in the "
            "last five minutes; probes do not count.",
            unit="percentunit",
            queries=(Query("service:http_errors_per_request:ratio_rate5m", "{{service}}"),),
            no_value="no request in five minutes",
            maximum=1,
        ),
        Panel(
            title="Restarts",
            description="How often each service started again within the last hour. It may be "
            "killed for memory: see its log. Ollama gives no metrics: when it was away shows under "
            "Dependencies, how often it started again says `docker inspect`.",
            unit="short",
            queries=(
                Query(
                    "sum by (service) (changes(process_start_time_seconds[1h]))",
                    "{{service}}",
                ),
                Query("sum(changes(sandbox_runner_start_time_seconds[1h]))", "sandbox-runner"),
            ),
            no_value="no service gave its start",
            decimals=0,
        ),
        Panel(
            title="What fires",
            description="The alerts that fire now; monitoring/README.md says what to do about "
            "each.",
            unit="string",
            queries=(
                Query(
                    or_none(
                        "sum by (alertname, severity, service, dependency, upstream, slo) "
                        '(ALERTS{alertstate="firing"})',
                        "alertname",
                    ),
                    "{{alertname}} {{service}}",
                ),
            ),
            # It stands in every cell without a word, too.
            no_value="-",
            kind="table",
            width=24,
            height=7,
        ),
    ),
)
