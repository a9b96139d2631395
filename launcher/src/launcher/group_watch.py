"""End the stack's process groups when the supervisor is gone.

Run by path as `python -I -S group_watch.py RUN_DIR`. The supervisor holds the other end of the
standard input and writes `+PGID` and `-PGID` lines; the end of the stream means that it died,
however it did. Linux has the death signal besides (exec_shim); this is what other systems have, and
what reaches children that a service started, and the private socket folder.
"""

import contextlib
import os
import shutil
import signal
import sys


def main(argv: list[str]) -> int:
    """Follow the stream to its end, then kill the groups still in it."""
    # Ctrl-C goes to the whole foreground group; the supervisor decides, not this process.
    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(each, signal.SIG_IGN)
    groups: set[int] = set()
    for line in sys.stdin:
        sign, number = line[:1], line[1:].strip()
        if sign == "+":
            groups.add(int(number))
        elif sign == "-":
            groups.discard(int(number))
    for group in groups:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(group, signal.SIGKILL)
    shutil.rmtree(argv[1], ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
