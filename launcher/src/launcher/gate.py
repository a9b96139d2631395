"""Import a service while what it needs is still starting; run it when that is ready.

Run as `python -m launcher.gate PACKAGE`. Half of a start is spent on imports, which need nobody:
done ahead, the whole stack starts in the time of its imports and not in the sum of a chain.
Its settings are read ahead as well: a misspelt variable ends the start in its first second, and
not when all that the service needs is up.
The supervisor holds the other end of standard input: a line opens the gate, its end means that
nobody is left to run for.
"""

import importlib
import os
import runpy
import sys

from servicekit.settings import ServiceSettings, load_settings


def main(argv: list[str]) -> None:
    """Check the settings, import the app, wait at the gate, become `python -m PACKAGE`."""
    package = argv[1]
    _check_settings(package)
    importlib.import_module(f"{package}.app")
    if not sys.stdin.buffer.readline():
        sys.exit(0)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, sys.stdin.fileno())
    os.close(null)
    sys.argv = [package]
    runpy.run_module(package, run_name="__main__", alter_sys=True)


def _check_settings(package: str) -> None:
    """End the process with a sentence when the environment holds wrong settings."""
    module = importlib.import_module(f"{package}.settings")
    for value in vars(module).values():
        is_class = isinstance(value, type) and issubclass(value, ServiceSettings)
        if is_class and value.__module__ == module.__name__:
            load_settings(value)


if __name__ == "__main__":
    main(sys.argv)
