"""What an operator does about packages that wait for approval.

    python -m sandbox.adapters.approvals                what waits, and why
    python -m sandbox.adapters.approvals allow NAME...  let these in from now on
    python -m sandbox.adapters.approvals block NAME...  refuse these from now on

It writes the rule files in the packages' folder, which the running service reads again by
itself; an editor does as well.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from packaging.utils import canonicalize_name

from sandbox.adapters.json_file import read_json, write_json
from sandbox.adapters.rules_folder import RulesFolder
from sandbox.errors import PackageRefused
from sandbox.packages.requirement import parse_wish
from sandbox.packages.rule_files import RuleFileError, parse_rule_files
from sandbox.settings import SandboxSettings


def main(arguments: Sequence[str] | None = None) -> int:
    """Carry out one command and return the exit status: 0, or 1 when something is wrong."""
    parser = argparse.ArgumentParser(
        prog="python -m sandbox.adapters.approvals", description=__doc__
    )
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("command", nargs="?", choices=("list", "allow", "block"), default="list")
    parser.add_argument("names", nargs="*", metavar="NAME")
    asked = parser.parse_args(arguments)
    settings = SandboxSettings()
    folder = settings.packages_dir / "rules"
    try:
        if asked.command == "list":
            _say(_listing(RulesFolder(folder, policy=settings.packages_policy)))
        else:
            names = [parse_wish(name, None).name for name in asked.names]
            if not names:
                parser.error("name at least one package")
            act = _allow if asked.command == "allow" else _block
            act(folder, names)
    except PackageRefused as error:
        _say(error.detail)
        return 1
    except (RuleFileError, OSError) as error:
        _say(f"{folder}: {error}")
        return 1
    return 0


def _listing(rules: RulesFolder) -> str:
    lines = []
    for each in rules.waiting():
        since = datetime.fromtimestamp(each.since, UTC).strftime("%Y-%m-%d %H:%M UTC")
        meant = f", like {each.meant}" if each.meant else ""
        needed = "" if each.wish == each.name else f", needed by {each.wish}"
        lines.append(
            f"{each.name}  ({each.rule}{meant}{needed}; asked {each.times}x since {since})"
        )
    return "\n".join(lines) or "No package waits for approval."


def _allow(folder: Path, names: Sequence[str]) -> None:
    """Add lines to allowed.txt, and take the names off the list of the blocked."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    blocked = _blocked(folder)
    if kept := {name: why for name, why in blocked.items() if name not in names}:
        write_json(folder / "blocked.json", kept)
    else:
        (folder / "blocked.json").unlink(missing_ok=True)
    file = folder / "allowed.txt"
    text = file.read_text("utf-8") if file.exists() else ""
    known = parse_rule_files({"allowed.txt": text}).allowed
    fresh = [name for name in names if name not in known]
    if fresh:
        gap = "" if not text or text.endswith("\n") else "\n"
        with file.open("a", encoding="utf-8") as lines:
            lines.write(gap + "".join(f"{name}\n" for name in fresh))
    _say(f"Let in from now on: {', '.join(names)}.")


def _block(folder: Path, names: Sequence[str]) -> None:
    """Add to blocked.json, and take the lines of these names out of allowed.txt."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    blocked = _blocked(folder) | dict.fromkeys(names, "an operator of this sandbox blocked it")
    file = folder / "allowed.txt"
    if file.exists():
        lines = file.read_text("utf-8").splitlines()
        kept = [
            line for line in lines if canonicalize_name(line.split("#")[0].strip()) not in names
        ]
        file.write_text("".join(f"{line}\n" for line in kept), "utf-8")
    write_json(folder / "blocked.json", blocked)
    _say(f"Refused from now on: {', '.join(names)}.")


def _blocked(folder: Path) -> dict[str, str]:
    file = folder / "blocked.json"
    if not file.exists():
        return {}
    if read_json(file) is None:
        raise RuleFileError("blocked.json is no JSON; mend it by hand")
    return dict(parse_rule_files({"blocked.json": json.dumps(read_json(file))}).blocked or {})


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")


if __name__ == "__main__":
    sys.exit(main())
