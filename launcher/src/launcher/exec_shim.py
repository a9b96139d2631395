"""Start a command that the kernel ends when its supervisor dies.

Run by path as `python -I -S exec_shim.py SUPERVISOR_PID COMMAND...`. It is a program of its own
because code between fork and exec of a threaded process is not safe, and because the death signal
is bound to the thread that forked, which is here the supervisor's main thread.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1
NEVER_STARTED = 125


def main(argv: list[str]) -> int:
    """Ask for the death signal, look whether the supervisor lives, become the command."""
    supervisor, command = int(argv[1]), argv[2:]
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    # A supervisor that died before prctl has already handed us to somebody else.
    if os.getppid() != supervisor:
        return NEVER_STARTED
    try:
        os.execvp(command[0], command)  # noqa: S606  # no shell on purpose
    except OSError as error:
        sys.stderr.write(f"cannot start {command[0]}: {error.strerror}\n")
        return NEVER_STARTED


if __name__ == "__main__":
    sys.exit(main(sys.argv))
