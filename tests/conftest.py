"""The running stack for every test below this folder."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

# One place for what the stack, example and conformance tests share; it is no installed package.
sys.path.insert(0, str(Path(__file__).resolve().parent / "support"))

from stack_support.running_stack import RunningStack, running_stack


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    """A stack that all tests of the session share; no test may break it for the next one."""
    with running_stack(tmp_path_factory.mktemp("stack")) as running:
        yield running
