"""A real Ollama for these tests; `tests/support/ollama/build.sh` builds it.

Where it was not built they are left out, and the header says so; with STACK_OLLAMA=1 they fail.
Those that start a whole stack or fetch a llama.cpp take a minute: they need STACK_OLLAMA=1.
"""

import os
from collections.abc import Iterator

import pytest
from stack_support.real_ollama import RealOllama, ollama_binary, real_ollama
from stack_support.scripted_models import MODELS

IS_BUILT = ollama_binary().is_file()
IS_WANTED = os.environ.get("STACK_OLLAMA") == "1"
collect_ignore_glob = (
    [] if IS_WANTED else ["test_local.py", "test_llama_cpp.py"] if IS_BUILT else ["test_*.py"]
)


def pytest_report_header() -> str:
    if IS_BUILT or IS_WANTED:
        return "ollama: a real one answers"
    return (
        "ollama: not built here, its tests are left out (tests/support/ollama/build.sh builds it)"
    )


@pytest.fixture(scope="session")
def ollama(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealOllama]:
    """A server with all scripted models; whoever kills a part of it takes one of its own."""
    with real_ollama(tmp_path_factory.mktemp("ollama"), tuple(MODELS)) as server:
        yield server
