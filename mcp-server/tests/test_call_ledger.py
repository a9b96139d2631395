"""Series of tools that were never called: there for Prometheus, and no tools that were called."""

import subprocess
import sys

_BEGIN = """
from prometheus_client import generate_latest
from mcp_server.call_ledger import begin, counted, tool_statistics
begin(["get_time", "execute_code"])
begin(f"renamed_{number}" for number in range(5000))
%s
print(generate_latest().decode())
print([(each.name, each.calls, each.failures) for each in tool_statistics()])
"""
_CALL = """
with counted("execute_code") as outcome:
    outcome.status = "timeout"
"""


def shown(then: str = "") -> list[str]:
    # In a process of its own: in this one others have counted.
    return subprocess.run(
        [sys.executable, "-P", "-c", _BEGIN % then], capture_output=True, text=True, check=True
    ).stdout.splitlines()


def test_tools_begin_at_zero_in_each_status() -> None:
    lines = shown()

    for status in ("ok", "error", "invalid", "unavailable", "timeout", "cancelled"):
        series = f'mcp_tool_executions_total{{status="{status}",tool_name="get_time"}}'
        assert f"{series} 0.0" in lines
    assert 'mcp_tool_execution_seconds_count{tool_name="get_time"} 0.0' in lines


def test_tools_that_were_never_called_are_not_reported_as_called() -> None:
    assert shown()[-1] == "[]"
    assert shown(_CALL)[-1] == "[('execute_code', 1, 1)]"


def test_tools_that_are_renamed_for_ever_make_no_series_for_ever() -> None:
    begun = {line for line in shown() if line.startswith("mcp_tool_execution_seconds_count")}

    assert 200 < len(begun) <= 256
