"""Series that are there before anything has happened, so that the first time shows."""

import subprocess
import sys

import pytest

_SHOW = """
from prometheus_client import generate_latest
import sandbox.metrics
print(generate_latest().decode())
"""


@pytest.mark.parametrize(
    "series",
    [
        'sandbox_pool_claims_total{outcome="hit"}',
        'sandbox_pool_claims_total{outcome="miss"}',
        'sandbox_spare_sessions_total{outcome="miss"}',
        'sandbox_package_install_seconds_count{cached="yes"}',
        'sandbox_package_install_seconds_count{cached="no"}',
    ],
)
def test_series_begins_at_zero(series: str) -> None:
    # In a process of its own: in this one others have counted.
    shown = subprocess.run(
        [sys.executable, "-P", "-c", _SHOW], capture_output=True, text=True, check=True
    ).stdout
    assert f"{series} 0.0" in shown.splitlines()
