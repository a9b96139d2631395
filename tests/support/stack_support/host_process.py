"""Processes of the host, for tests that kill what runs in a container."""

import os

from stack_support.containers import run


def kill(pid: int) -> None:
    """End a process of the host at once; what is not root asks the engine to do it."""
    try:
        os.kill(pid, 9)
    except PermissionError:
        image = os.environ.get("PYTHON_IMAGE", "offline/python:3.13")
        command = ("docker", "run", "--rm", "--pid", "host", "--network", "none", image)
        run(*command, "python3", "-c", f"import os; os.kill({pid}, 9)")
