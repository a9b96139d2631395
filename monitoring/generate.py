#!/usr/bin/env python3
"""Write grafana/dashboards/ from the code in dashboards/; with --check only say what is stale.

Usage: python monitoring/generate.py [--check]
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from dashboards import chat, overview, sandbox, services, tools

FOLDER = Path(__file__).resolve().parent / "grafana" / "dashboards"
BOARDS = (overview.BOARD, chat.BOARD, tools.BOARD, sandbox.BOARD, services.BOARD)


def files() -> dict[Path, str]:
    """Return every dashboard's file with its text."""
    return {
        FOLDER / f"{board.uid}.json": json.dumps(board.model(BOARDS), indent=2, ensure_ascii=False)
        + "\n"
        for board in BOARDS
    }


def stale(wanted: dict[Path, str]) -> list[Path]:
    """Return the files whose text differs from the code, or that no code stands behind."""
    differing = [
        path
        for path, text in wanted.items()
        if not path.is_file() or path.read_text(encoding="utf-8") != text
    ]
    return sorted(differing + [path for path in FOLDER.glob("*") if path not in wanted])


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--check", action="store_true", help="write nothing; fail if one is stale")
    arguments = parser.parse_args(argv)
    wanted = files()
    changed = stale(wanted)
    for path in changed:
        if not arguments.check and path in wanted:
            path.write_text(wanted[path], encoding="utf-8")
        elif not arguments.check:
            path.unlink()
        sys.stdout.write(f"{path.name} {'is stale' if arguments.check else 'written'}\n")
    if arguments.check and changed:
        sys.stdout.write("Run: python monitoring/generate.py\n")
    return int(arguments.check and bool(changed))


if __name__ == "__main__":
    sys.exit(main())
