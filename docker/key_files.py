"""Which files hold keys, and which of them Compose could not use, or nobody does.

A key `NAME` is a secret of `docker-compose.yml`; the variable `NAME_FILE` names its file. Standard
library alone, from Python 3.9 on: it runs on the host.
"""
# ruff: noqa: INP001  # a part of check_settings.py, no package

import re
import stat
from collections.abc import Mapping
from pathlib import Path

NONE = "secrets/none"
_IN_COMPOSE = re.compile(r'^  ([A-Z][A-Z0-9_]*): \{file: "\$\{([A-Z0-9_]+):-', re.MULTILINE)
# docker-compose 1.29 takes any other beginning for a name and not for a path.
_BEGINNINGS = ("./", "../", "/", "~/")


class KeyFiles:
    """The files of the keys.

    Parameters
    ----------
    folder
        The checkout.
    settings
        The variables of `.env`, and over them those of the shell.
    """

    def __init__(self, folder: Path, settings: Mapping[str, str]) -> None:
        self._folder = folder
        self._settings = settings
        text = (folder / "docker-compose.yml").read_text(encoding="utf-8")
        #: The variable that names the file, by the key.
        self.variables = dict(_IN_COMPOSE.findall(text))

    def wrong(self) -> list[str]:
        """Return a sentence for each file that must not be, or can't be, used as it is."""
        named = [self._wrong_name(each) for each in self.variables.values() if self._set(each)]
        found = [self._wrong_none(), *named, *map(self._moved, self._files("secrets/*/*"))]
        return [sentence for sentence in found if sentence]

    def unused(self) -> list[str]:
        """Return a sentence for each key in ./secrets that no variable names, or that one beats."""
        sentences = [
            f"{name} is set, and wins over the file that {variable} names."
            for name, variable in self.variables.items()
            if self._set(name) and self._set(variable)
        ]
        free = [each for each in self.variables.values() if not self._set(each)]
        for path in self._files("secrets/*"):
            shown = path.relative_to(self._folder)
            if str(shown) in {NONE, "secrets/README.md"} or self._is_named(path):
                continue
            own = self.variables.get(path.name, "")
            lines = [own] if own in free else free if not own else []
            said = f" A line in .env gives it to its service: {lines[0]}=./{shown}" if lines else ""
            others = f" (or {', '.join(lines[1:])})" if lines[1:] else ""
            sentences.append(f"{shown} is used by nobody.{said}{others}")
        return sentences

    def _set(self, name: str) -> str:
        return self._settings.get(name, "").strip()

    def _files(self, pattern: str) -> list[Path]:
        """List plain files that have something in them; what can't be looked at is left out."""
        found = []
        for path in sorted(self._folder.glob(pattern)):
            try:
                status = path.stat()
            except OSError:
                continue
            if stat.S_ISREG(status.st_mode) and status.st_size and not path.name.startswith("."):
                found.append(path)
        return found

    def _path(self, text: str) -> Path:
        return self._folder / Path(text).expanduser()

    def _is_named(self, path: Path) -> bool:
        for variable in self.variables.values():
            try:
                if self._set(variable) and self._path(self._set(variable)).samefile(path):
                    return True
            except OSError:
                continue
        return False

    def _wrong_name(self, variable: str) -> str:
        text = self._set(variable)
        said = f"{variable}={text}:"
        if not text.startswith(_BEGINNINGS):
            return f"{said} write ./ before it, else docker-compose takes it for no path."
        path = self._path(text)
        try:
            mode = path.stat().st_mode
        except PermissionError:
            # The engine may look where we may not.
            return ""
        except OSError:
            return f"{said} there is no such file. Write the key into it, or take the line away."
        if not stat.S_ISREG(mode):
            return f"{said} this is a folder or a device. Name a plain file with the key in it."
        if self._is_empty(path):
            return f"{said} the file is empty. Write the key into it, or take the line away."
        return ""

    def _is_empty(self, path: Path) -> bool:
        try:
            return not path.read_bytes().strip()
        except PermissionError:
            return not path.stat().st_size

    def _wrong_none(self) -> str:
        path = self._folder / NONE
        if not path.is_file():
            return f"{NONE} is missing, and stands for the keys that you don't have: touch {NONE}"
        if not path.stat().st_size:
            return ""
        return (
            f"{NONE} is not empty. It has to be, for git publishes it and each service reads it: "
            f"mv {NONE} secrets/LLM_API_KEY; touch {NONE}"
        )

    def _moved(self, path: Path) -> str:
        """Tell where a key goes that lies where keys were, in a folder of its service."""
        variable = self.variables.get(path.name, "")
        if not variable or self._set(variable) or self._set(path.name):
            return ""
        shown = path.relative_to(self._folder)
        return (
            f"{shown}: keys have no folder for each service any more. mv {shown} secrets/ "
            f"and write into .env: {variable}=./secrets/{path.name}"
        )
