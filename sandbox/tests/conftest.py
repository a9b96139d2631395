"""What the tests of the sandbox service share."""

import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest

# What several test modules share; it is no installed package.
sys.path.insert(0, str(Path(__file__).resolve().parent / "support"))

from sandbox_support.fake_runner import FakeRunner
from sandbox_support.package_index import PackageIndex, package_index
from sandbox_support.serving import service_settings, serving

from sandbox.app import create_app


@pytest.fixture
async def fake_runner(tmp_path: Path) -> AsyncIterator[FakeRunner]:
    async with FakeRunner(tmp_path / "runner.sock") as runner:
        yield runner


@pytest.fixture
def index() -> Iterator[PackageIndex]:
    with package_index() as running:
        yield running


@pytest.fixture
def usual() -> dict[str, object]:
    """Settings of a module's services; a module has its own."""
    return {}


@pytest.fixture
def changes() -> dict[str, object]:
    """Settings of one test's service besides; a test has its own."""
    return {}


@pytest.fixture
async def service(
    tmp_path: Path, fake_runner: FakeRunner, usual: dict[str, object], changes: dict[str, object]
) -> AsyncIterator[httpx.AsyncClient]:
    """The service over the scripted runner."""
    settings = service_settings(tmp_path, fake_runner.socket, **(usual | changes))
    async with serving(create_app(settings)) as client:
        yield client
