"""Series that are there before anything has happened, so that the first time shows."""

import subprocess
import sys
from functools import cache
from typing import get_args

import pytest
from sandbox.end_reason import EndReason
from sandbox.packages.refusal import Rule
from sandbox.packages.wheel import WHEEL_RULES
from servicekit.wire.execution import ExecutionStatus

_SHOW = """
from prometheus_client import generate_latest
import sandbox.metrics
print(generate_latest().decode())
"""


@cache
def shown() -> list[str]:
    # In a process of its own: in this one others have counted.
    return subprocess.run(
        [sys.executable, "-P", "-c", _SHOW], capture_output=True, text=True, check=True
    ).stdout.splitlines()


@pytest.mark.parametrize(
    "series",
    [
        'sandbox_pool_claims_total{outcome="hit"}',
        'sandbox_pool_claims_total{outcome="miss"}',
        'sandbox_spare_sessions_total{outcome="miss"}',
        'sandbox_package_install_seconds_count{cached="yes"}',
        'sandbox_package_install_seconds_count{cached="no"}',
        'sandbox_package_installs_total{outcome="installed"}',
        'sandbox_package_installs_total{outcome="package-refused"}',
        'sandbox_package_installs_total{outcome="package-index-down"}',
        *(f'sandbox_executions_total{{status="{each}"}}' for each in get_args(ExecutionStatus)),
        *(f'sandbox_sessions_ended_total{{reason="{each.code}"}}' for each in EndReason),
        *(f'sandbox_package_refusals_total{{rule="{each}"}}' for each in get_args(Rule)),
    ],
)
def test_series_begins_at_zero(series: str) -> None:
    assert f"{series} 0.0" in shown()


def test_what_the_unpacker_names_are_rules() -> None:
    assert set(get_args(Rule)) >= WHEEL_RULES
