"""A session's processes as the machine sees them: their own numbers may be those of a namespace."""

import secrets

import psutil
from sandbox_runner.client import RunnerSession
from sandbox_runner.launch import RunnerProcess

_PR_SET_NAME = 15


def worker_of(runner: RunnerProcess, session: RunnerSession) -> psutil.Process:
    """Return the worker of a session, found by a name that it gives itself."""
    name = f"w-{secrets.token_hex(4)}"
    done = session.run(
        f"import ctypes\nctypes.CDLL(None).prctl({_PR_SET_NAME}, {name.encode()!r})"
    ).done
    assert done.error is None
    return next(
        process
        for process in psutil.Process(runner.pid).children(recursive=True)
        if _name_of(process) == name
    )


def _name_of(process: psutil.Process) -> str | None:
    """Return a process's name, or None of one that has just ended."""
    try:
        return process.name()
    except psutil.NoSuchProcess:
        return None


def warden_of(worker: psutil.Process) -> psutil.Process:
    """Return the parent of a worker."""
    warden = worker.parent()
    assert warden is not None
    return warden
