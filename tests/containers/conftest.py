"""Those of these tests that need an engine run only where STACK_CONTAINERS=1 asks for them."""

import os

WANTED = os.environ.get("STACK_CONTAINERS") == "1"
collect_ignore = [] if WANTED else ["test_stack_in_containers.py"]


def pytest_report_header() -> str:
    if WANTED:
        return "containers: images are built and started"
    return "containers: only the files are checked (STACK_CONTAINERS=1 builds and starts them)"
