"""A session that waits has rehearsed: its first run is as cheap as a later one, and none shows."""

from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from sandbox_runner.client import RunnerSession
from sandbox_runner.launch import RunnerProcess
from sandbox_support.session_processes import warden_of, worker_of

# Without a rehearsal it was some three hundred pages in the warden, and eighty in the worker.
_MOST_PAGES = 60


def _copied_pages(process: psutil.Process) -> int:
    """Return how often a process had to get a page of its own (minor faults, see proc(5))."""
    after_the_name = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2]
    return int(after_the_name.split()[7])


def test_first_run_copies_few_pages(runner: RunnerProcess, session: RunnerSession) -> None:
    before = {}
    for process in psutil.Process(runner.pid).children(recursive=True):
        with suppress(FileNotFoundError, ProcessLookupError):  # it has just ended
            before[process.pid] = _copied_pages(process)
    worker = worker_of(runner, session)  # this is the first run, and it loads ctypes as well
    warden = warden_of(worker)
    session.run("6 * 7")
    assert warden.pid in before, "forked before it was asked for"
    assert _copied_pages(warden) - before[warden.pid] < _MOST_PAGES


@pytest.mark.parametrize("is_reset", [False, True])
def test_rehearsal_leaves_no_trace(session: RunnerSession, is_reset: bool) -> None:
    if is_reset:
        session.reset()
    first = session.run("raise ValueError('x')").done
    assert first.error is not None
    assert "<cell 1>" in first.error.traceback
    run = session.run(
        "import linecache\n"
        "(sorted(name for name in globals() if not name.startswith('__')), "
        "sorted(name for name in linecache.cache if name.startswith('<cell')))"
    )
    assert run.done.result == "(['linecache'], ['<cell 1>', '<cell 2>'])"
    assert (run.stdout, run.stderr) == (b"", b"")
    assert run.done.files.added == ()
