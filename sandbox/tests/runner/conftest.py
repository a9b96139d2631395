"""A real runner process, as whoever runs the tests."""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from sandbox_runner import client
from sandbox_runner.client import RunnerSession
from sandbox_runner.launch import RunnerProcess

CANARY = "canary-7731-SECRET"

StartRunner = Callable[..., RunnerProcess]


@pytest.fixture(scope="module")
def start_runner() -> Iterator[StartRunner]:
    """Start runners with settings by name; all end with the module."""
    with ExitStack() as stack:

        def start(*, environment: dict[str, str] | None = None, **settings: str) -> RunnerProcess:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="runner-"))
            runner = stack.enter_context(
                RunnerProcess(
                    Path(folder),
                    settings=settings,
                    environment={"SERVICE_API_KEY": CANARY, **(environment or {})},
                )
            )
            client.hello(runner.socket)
            return runner

        yield start


@pytest.fixture(scope="module")
def runner(start_runner: StartRunner) -> RunnerProcess:
    runner = start_runner(pool="2", slots="8")
    if not client.hello(runner.socket).is_safe:
        pytest.skip("this kernel cannot confine a session")
    return runner


@pytest.fixture
def session(runner: RunnerProcess) -> Iterator[RunnerSession]:
    with RunnerSession(runner.socket) as session:
        yield session
