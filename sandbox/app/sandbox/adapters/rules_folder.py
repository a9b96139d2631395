"""An operator's own rule files, read again when they change, and the names that wait.

DIR/rules/allowed.txt …    see packages/rule_files.py; no file has to be there
DIR/rules/waiting.json     names that wait for approval, written by the service

Approval is a line in `allowed.txt`; `python -m sandbox.adapters.approvals` writes it too. There is
no way over HTTP: the API has no authentication, so what asks could also approve.
"""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from servicekit.logs import get_logger

from sandbox.adapters.json_file import read_json, write_json
from sandbox.metrics import PACKAGES_WAITING
from sandbox.packages.names import NamePolicy, NameRules
from sandbox.packages.objection import Objection
from sandbox.packages.rule_files import (
    RULE_FILES,
    RuleData,
    RuleFileError,
    name_rules,
    parse_rule_files,
)

log = get_logger()

# Whoever asks for names can fill this list, so it is short; the oldest make room.
_MAX_WAITING: Final = 200
_MAX_FILE_BYTES: Final = 16 << 20


@dataclass(frozen=True, slots=True)
class Waiting:
    """A name that waits for approval.

    Attributes
    ----------
    wish
        The package that was asked for; the name itself, or what needs it.
    since
        When it was first asked for, in seconds since 1970.
    """

    name: str
    rule: str
    meant: str | None
    wish: str
    since: float
    times: int = 1


class RulesFolder:
    """The rules in force.

    Parameters
    ----------
    folder
        The operator's rule files; it need not exist.
    allow, block, policy
        What the settings say; see `name_rules`.

    Raises
    ------
    RuleFileError
        A rule file can't be read at the start.
    """

    def __init__(
        self,
        folder: Path,
        *,
        allow: Iterable[str] = (),
        block: Iterable[str] = (),
        policy: NamePolicy = "open",
    ) -> None:
        self._folder = folder
        self._allow, self._block, self._policy = tuple(allow), tuple(block), policy
        self._seen = self._look()
        self._rules = self._join(self._read())
        # Counted when it is asked for: an operator and earlier processes have their part in it.
        PACKAGES_WAITING.set_function(self._count_waiting)

    def rules(self) -> NameRules:
        """Return the rules; a file that was changed is read again.

        A file that can't be read changes nothing: the rules stay as they were, and the log says so.
        """
        if (seen := self._look()) != self._seen:
            self._seen = seen
            try:
                self._rules = self._join(self._read())
                log.info("packages.rules_read", allowed=len(self._rules.allowed))
            except (RuleFileError, OSError, ValueError) as error:
                log.warning("packages.rules_kept", reason=str(error))
        return self._rules

    def ask(self, objections: Sequence[Objection], *, wish: str) -> None:
        """Note names that wait for an operator."""
        known = {each.name: each for each in self.waiting()}
        for each in objections:
            before = known.pop(each.name, None)
            known[each.name] = Waiting(
                each.name,
                each.rule,
                each.meant,
                wish,
                before.since if before else time.time(),
                before.times + 1 if before else 1,
            )
        kept = list(known.values())[-_MAX_WAITING:]
        entries = [{name: getattr(each, name) for name in Waiting.__slots__} for each in kept]
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_json(self._folder / "waiting.json", entries)
        except OSError as error:  # who asked is told the names, and can pass them on
            log.warning("packages.waiting_not_noted", reason=error.strerror)
        log.info("packages.approval_asked", packages=[each.name for each in objections], wish=wish)

    def waiting(self) -> tuple[Waiting, ...]:
        """Return the names that still wait, the longest first."""
        entries = read_json(self._folder / "waiting.json")
        found = []
        for entry in entries if isinstance(entries, list) else ():
            try:
                found.append(Waiting(**entry))
            except TypeError:
                continue  # written by another version
        settled = self._rules.allowed | self._rules.blocked.keys()
        return tuple(each for each in found if each.name not in settled)

    def _count_waiting(self) -> int:
        self.rules()
        return len(self.waiting())

    def _join(self, own: RuleData) -> NameRules:
        return name_rules(own, allow=self._allow, block=self._block, policy=self._policy)

    def _look(self) -> tuple[tuple[int, int, int] | None, ...]:
        seen: list[tuple[int, int, int] | None] = []
        for name in RULE_FILES:
            try:
                facts = (self._folder / name).stat()
            except OSError:
                seen.append(None)
            else:
                seen.append((facts.st_mtime_ns, facts.st_size, facts.st_ino))
        return tuple(seen)

    def _read(self) -> RuleData:
        texts = {}
        for name in RULE_FILES:
            try:
                with (self._folder / name).open(encoding="utf-8") as file:
                    texts[name] = file.read(_MAX_FILE_BYTES + 1)
            except FileNotFoundError:
                continue
            except (OSError, ValueError) as error:
                raise RuleFileError(f"{name} can't be read: {error}") from None
            if len(texts[name]) > _MAX_FILE_BYTES:
                raise RuleFileError(f"{name} is larger than {_MAX_FILE_BYTES} bytes")
        return parse_rule_files(texts)
