"""A real runner as an ordinary user, also where root runs the tests."""

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from sandbox_runner.launch import RunnerProcess

AS_USER = Path(__file__).with_name("as_user.py")
# Root gives the runner a user that nobody else has; anybody else is that user already.
FRESH_UID = 64321


@contextmanager
def user_runner(
    folder: Path,
    *,
    may_have_namespaces: bool,
    uid: int = FRESH_UID,
    settings: Mapping[str, str],
    environment: Mapping[str, str] | None = None,
) -> Iterator[RunnerProcess]:
    """Start a runner in an existing folder; with root's help as a fresh user with a home there."""
    if os.geteuid() == 0:
        os.chown(folder, uid, uid)
    namespaces = "with" if may_have_namespaces else "no"
    prefix = (sys.executable, "-I", "-B", str(AS_USER), str(uid), str(folder), namespaces, "--")
    with RunnerProcess(
        folder, settings=settings, environment=environment, prefix_command=prefix
    ) as runner:
        yield runner
