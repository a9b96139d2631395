"""Those that need a real Prometheus run only where STACK_MONITORING=1 asks for them."""

import os
import sys
from pathlib import Path

import pytest

WANTED = os.environ.get("STACK_MONITORING") == "1"
collect_ignore_glob = [] if WANTED else ["test_live_*.py"]

if WANTED:
    # The package index that the sandbox's own tests use.
    _SUPPORT = Path(__file__).resolve().parents[2] / "sandbox" / "tests" / "support"
    sys.path.insert(0, str(_SUPPORT))

    from stack_support.debian_programs import Programs, monitoring_programs

    @pytest.fixture(scope="session")
    def programs() -> Programs:
        return monitoring_programs()


def pytest_report_header() -> str:
    if WANTED:
        return "monitoring: a real Prometheus is asked"
    return "monitoring: only the files are checked (make monitoring asks a real Prometheus)"
