"""Import a service while what it needs is still starting; run it when that is ready.

Run as `python -m launcher.gate PACKAGE`. Half of a start is spent on imports, which need nobody:
done ahead, the whole stack starts in the time of its imports and not in the sum of a chain.
The supervisor holds the other end of standard input: a line opens the gate, its end means that
nobody is left to run for.
"""

import importlib
import os
import runpy
import sys


def main(argv: list[str]) -> None:
    """Import the package's app, wait at the gate, become `python -m PACKAGE`."""
    package = argv[1]
    importlib.import_module(f"{package}.app")
    if not sys.stdin.buffer.readline():
        sys.exit(0)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, sys.stdin.fileno())
    os.close(null)
    sys.argv = [package]
    runpy.run_module(package, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main(sys.argv)
