"""What is imported before any session is forked, and what is left to the cells."""

import json
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from sandbox_runner import client
from sandbox_runner.client import RunnerSession
from sandbox_runner.launch import RunnerProcess

_MODULES = {
    "with_thread": "import threading, time\n"
    "threading.Thread(target=time.sleep, args=(600,), daemon=True).start()\n",
    "with_stubborn_thread": "import threading, time\n"
    "threading.Thread(target=time.sleep, args=(600,)).start()\n",
    "with_thread_and_error": "import threading, time\n"
    "threading.Thread(target=time.sleep, args=(600,), daemon=True).start()\n1 / 0\n",
    "with_short_thread": "import threading\n"
    "thread = threading.Thread(target=int)\nthread.start()\nthread.join()\n",
    "with_error": "1 / 0\n",
    "plain": "value = 42\n",
}


@pytest.fixture(scope="module")
def python() -> Iterator[str]:
    """An interpreter that finds modules of ours."""
    with tempfile.TemporaryDirectory(prefix="preload-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        subprocess.run(
            [sys.executable, "-m", "venv", "--without-pip", "--system-site-packages", name],
            check=True,
        )
        paths = {"base": name, "platbase": name}
        libraries = Path(sysconfig.get_path("purelib", "venv", paths))
        for module, source in _MODULES.items():
            (libraries / f"{module}.py").write_text(source)
        yield str(folder / "bin" / "python")


def _events(runner: RunnerProcess, name: str) -> list[dict[str, object]]:
    lines = [json.loads(line) for line in runner.log.read_text().splitlines()]
    return [line for line in lines if line["event"] == name]


def test_module_that_starts_threads_is_left_to_the_cells(python: str) -> None:
    threaded = ("with_thread", "with_stubborn_thread", "with_thread_and_error")
    wanted = ("plain", *threaded, "with_short_thread", "with_error", "decimal")
    with tempfile.TemporaryDirectory(prefix="runner-") as name:
        settings = {"pool": "1", "slots": "2", "preload": ",".join(wanted)}
        with RunnerProcess(Path(name), python=python, settings=settings) as runner:
            said = client.hello(runner.socket)
            assert said.preloaded == ("plain", "with_short_thread", "decimal")
            told = [event["module"] for event in _events(runner, "preload.threads")]
            assert told == list(threaded)
            assert {event["module"] for event in _events(runner, "preload.failed")} >= {
                "with_error"
            }
            # A zygote that makes room for the next one is not one that was lost.
            assert _events(runner, "zygote.lost") == []
            if not said.is_safe:
                pytest.skip("this kernel cannot confine a session")
            with RunnerSession(runner.socket) as session:
                code = "import sys, threading\nloaded = sorted(sys.modules)\n"
                code += "import with_thread, plain\n"
                code += "'with_thread' in loaded, 'plain' in loaded, threading.active_count()"
                assert session.run(code).done.result == "(False, True, 2)"
