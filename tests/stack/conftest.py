"""Every test of this folder starts real processes."""

from pathlib import Path

import pytest

_HERE = Path(__file__).resolve().parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(_HERE):
            item.add_marker(pytest.mark.stack)
            # The first test of a session also waits for the start of the stack.
            item.add_marker(pytest.mark.timeout(240))
