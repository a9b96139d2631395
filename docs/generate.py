#!/usr/bin/env python3
"""Write docs/reference/ from the code; with --check only say which pages are stale.

Usage: python docs/generate.py [--check]
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from _build import api_page, configuration_page, errors_page, metrics_page, tools_page
from _build.services import SERVICES, forget_own_variables

REFERENCE = Path(__file__).resolve().parent / "reference"


def pages() -> dict[Path, str]:
    """Return every generated file with its text."""
    documents = {service: service.app.openapi() for service in SERVICES}
    written = {
        REFERENCE / "configuration.md": configuration_page.render(),
        REFERENCE / "errors.md": errors_page.render(),
        REFERENCE / "metrics.md": metrics_page.render(),
        REFERENCE / "tools.md": tools_page.render(documents),
    }
    for service, document in documents.items():
        base = REFERENCE / "api" / service.name
        written[base.with_suffix(".md")] = api_page.render(service, document)
        written[base.with_suffix(".openapi.json")] = api_page.render_document(document)
    return written


def stale(wanted: dict[Path, str]) -> list[Path]:
    """Return the files whose text differs from the code, or that no code stands behind."""
    differing = [
        path
        for path, text in wanted.items()
        if not path.is_file() or path.read_text(encoding="utf-8") != text
    ]
    orphans = [path for path in (REFERENCE / "api").glob("*") if path not in wanted]
    return sorted(differing + orphans)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument(
        "--check", action="store_true", help="write nothing; fail if a page is stale"
    )
    arguments = parser.parse_args(argv)
    forget_own_variables()
    wanted = pages()
    changed = stale(wanted)
    for path in changed:
        if not arguments.check and path in wanted:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(wanted[path], encoding="utf-8")
        elif not arguments.check:
            path.unlink()
        verb = "is stale" if arguments.check else "written"
        sys.stdout.write(f"{path.relative_to(REFERENCE.parent.parent)} {verb}\n")
    if changed and arguments.check:
        sys.stdout.write("Run: .venv/bin/python docs/generate.py\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
