"""The stack in containers for the tests of this folder.

Those that need an engine run only where STACK_CONTAINERS=1 asks for them; there nothing is
skipped. STACK_COMPOSE=v2 takes the newer generation of Compose, else it is docker-compose 1.29. The
images stand on those of `make images-offline`; PYTHON_IMAGE, PROMETHEUS_IMAGE and
ALERTMANAGER_IMAGE name others.
"""

import os
import secrets
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from stack_support.containers import (
    OURS,
    ROOT,
    Containers,
    Person,
    containers,
    run,
    uses_compose_v2,
)

WANTED = os.environ.get("STACK_CONTAINERS") == "1"
# What looks at files alone runs everywhere.
_WITHOUT_ENGINE = {
    "test_backup_script.py",
    "test_check_settings.py",
    "test_compose_file.py",
    "test_dockerfiles.py",
    "test_env_file.py",
    "test_key_files.py",
    "test_model_choice.py",
    "test_ollama_pull.py",
    "test_readiness.py",
    "test_restore_volumes.py",
    "test_stack_script.py",
}
_HERE = Path(__file__).parent
# The package index that the sandbox's own tests use.
sys.path.insert(0, str(ROOT / "sandbox" / "tests" / "support"))
collect_ignore = (
    []
    if WANTED
    else [path.name for path in _HERE.glob("test_*.py") if path.name not in _WITHOUT_ENGINE]
)


def pytest_report_header() -> str:
    if WANTED:
        generation = "v2" if uses_compose_v2() else "1.29"
        return f"containers: images are built and started, with Compose {generation}"
    return "containers: only the files are checked (STACK_CONTAINERS=1 builds and starts them)"


@pytest.fixture(scope="session")
def room() -> Iterator[Path]:
    """A folder that ordinary users reach; pytest's own are closed to them."""
    folder = Path(tempfile.mkdtemp(prefix="stack-containers-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def ordinary(room: Path) -> Person:
    """A user who is not root, may reach the engine, and has a home of its own."""
    return Person.ordinary(room / "home")


@pytest.fixture(scope="session")
def grafana_image() -> Iterator[str]:
    """An image that stands in for Grafana's, which can't be had here."""
    name = f"stack-test-grafana:{secrets.token_hex(4)}"
    base = ("--build-arg", f"BASE_IMAGE={os.environ.get('PYTHON_IMAGE', 'offline/python:3.13')}")
    folder = ROOT / "tests" / "support" / "grafana"
    run("docker", "build", "--quiet", *base, "--tag", name, str(folder), seconds=120)
    yield name
    run("docker", "image", "rm", "--force", name)


@pytest.fixture(scope="session")
def stack(room: Path, ordinary: Person) -> Iterator[Containers]:
    """The stack with the embedded model, started from a fresh clone as an ordinary user types it.

    It takes the place of the fixture for local processes. Tests share it: whoever breaks it heals
    it.
    """
    with containers(room / "shared" / "mcp-stack", person=ordinary) as started:
        started.compose("build", seconds=900)
        started.compose("up", "-d", seconds=400)
        started.wait_healthy(*OURS, "prometheus")
        yield started
