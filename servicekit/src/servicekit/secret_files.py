"""Keys and passwords out of files: what an engine mounts, and what no inspection of it shows.

A secret variable `NAME` is looked for in the environment, then in the file that `NAME_FILE` names,
then as a file `NAME` in the folder of secrets, where Compose mounts it.
"""

import sys
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import SecretStr
from pydantic.fields import FieldInfo

# Where Compose and Swarm mount secrets, into each container its own.
SECRETS_DIR = Path("/run/secrets")
# A key has tens of characters; a file of megabytes is a slip.
_MAX_BYTES = 64 * 1024


def is_secret(field: FieldInfo) -> bool:
    """Tell whether a setting may hold a key: a `SecretStr`, or one that its class never shows."""
    return not field.repr or _mentions(field.annotation, SecretStr)


def _mentions(annotation: Any, wanted: type) -> bool:
    if annotation is wanted:
        return True
    if isinstance(annotation, types.UnionType) or typing.get_origin(annotation) is not None:
        return any(_mentions(part, wanted) for part in typing.get_args(annotation))
    return False


def read_secret_files(
    names: Mapping[str, str], environment: Mapping[str, str], *, folder: Path
) -> tuple[dict[str, str], list[str]]:
    """Read the secrets that the environment does not hold itself.

    Parameters
    ----------
    names
        Each secret variable.
    environment
        The variables of the process; a blank one counts as not set.
    folder
        The folder of secrets, which need not exist.

    Returns
    -------
    tuple
        The values by variable (an empty file gives none), and a sentence for each file that is
        there and can't be used.
    """
    values: dict[str, str] = {}
    complaints: list[str] = []
    for name in names:
        named = environment.get(f"{name}_FILE", "").strip()
        if environment.get(name, "").strip():
            if named:
                complaints.append(f"{name} and {name}_FILE are both set; keep one of them.")
            continue
        # As Compose takes it from the same line of .env.
        path = Path(named).expanduser() if named else folder / name
        try:
            value = _read(path)
        except FileNotFoundError:
            # An absent file stops nothing: the setting is optional, or it complains itself.
            if named:
                sys.stderr.write(f"{name}_FILE: {path} is not there; going on without it.\n")
            continue
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error)
            complaints.append(f"{name}: the file {path} can't be used: {reason}.")
            continue
        if value:
            values[name] = value
    return values, complaints


def _read(path: Path) -> str:
    with path.open("rb") as file:
        raw = file.read(_MAX_BYTES + 1)
    if len(raw) > _MAX_BYTES:
        raise ValueError(f"it is larger than {_MAX_BYTES} bytes")
    try:
        return raw.decode("utf-8-sig").strip()
    except UnicodeDecodeError:
        raise ValueError("it is no UTF-8 text") from None
