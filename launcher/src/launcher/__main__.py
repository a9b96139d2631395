"""`python -m launcher up | ask`."""

import argparse
import ctypes
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from launcher.ask import ask, main_streams
from launcher.console import stdout_console
from launcher.settings import LauncherSettings, SettingsError, load_launcher_settings
from launcher.supervisor import EX_CONFIG
from launcher.up import up

_PR_SET_PDEATHSIG = 1


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; give the exit status."""
    arguments = _parser().parse_args(argv)
    out, err = main_streams()
    if arguments.end_with_parent:
        _end_with_parent()
    try:
        settings = _settings()
    except SettingsError as error:
        err.write(f"{error}\n")
        return EX_CONFIG
    if arguments.command == "up":
        return up(settings, stdout_console(os.environ))
    # The Makefile passes the question in the environment, where no shell can change it.
    question = " ".join(arguments.question) or os.environ.get("ASK_QUESTION", "")
    try:
        return ask(settings, question, out=out, err=err)
    except KeyboardInterrupt:
        return 128 + signal.SIGINT


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="launcher", description="Runs the stack on this machine.")
    parser.add_argument(
        "--end-with-parent", action="store_true", help="end when the parent process is gone"
    )
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("up", help="start the stack and keep it running")
    asking = commands.add_parser(
        "ask", help="ask one question, of the running stack if there is one"
    )
    asking.add_argument("question", nargs="*")
    return parser


def _settings() -> LauncherSettings:
    root = os.environ.get("LAUNCHER_ROOT") or Path(__file__).resolve().parents[3]
    # ASK_QUESTION is for this process; the services need not see it.
    environ = {name: value for name, value in os.environ.items() if name != "ASK_QUESTION"}
    return load_launcher_settings(Path(root), environ)


def _end_with_parent() -> None:
    """Have the kernel tell us (SIGTERM) when `make` is gone, however it went."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0)


if __name__ == "__main__":
    sys.exit(main())
