"""What the environment and `.env` say about this start: ports, limits, which model."""

import difflib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from launcher.dotenv import DotenvError, parse_dotenv

# The ports of the product's table; each can be set by its service's own variable.
DEFAULT_PORTS: Mapping[str, int] = {
    "mcp-server": 8000,
    "sandbox": 8001,
    "middleware": 8002,
    "time-client": 8003,
    "code-executor": 8004,
    "embedded-model": 8005,
}
FIXED_NAMES = (
    "LLM_BASE_URL",
    "LLM_API_KEY",
    "LLM_MODEL_NAME",
    "MCP_SERVER_URL",
    "OPENAI_API_KEY",
    "OPENAI_BASE_URL",
)
OWN_NAMES = (
    "LAUNCHER_ROOT",
    "LAUNCHER_RUN_DIR",
    "LAUNCHER_START_TIMEOUT_SECONDS",
    "LAUNCHER_STOP_TIMEOUT_SECONDS",
    "LAUNCHER_CELL_PYTHON",
)
_MAX_PORT = 65535
_NEAR_PREFIX = 0.85
ANY_ADDRESS = {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "::1"}  # noqa: S104  # compared, not bound


class SettingsError(Exception):
    """The settings do not make sense; the text says which and what would."""


@dataclass(frozen=True)
class LauncherSettings:
    """One start's settings."""

    root: Path
    run_dir: Path
    environment: Mapping[str, str] = field(repr=False)  # may carry keys
    ports: Mapping[str, int] = field(default_factory=lambda: dict(DEFAULT_PORTS))
    is_verbose: bool = False
    start_timeout_seconds: float = 60.0
    stop_timeout_seconds: float = 15.0

    @property
    def uses_embedded_model(self) -> bool:
        """Whether no endpoint was chosen; a key found alone selects nothing."""
        chosen = ("LLM_BASE_URL", "OPENAI_BASE_URL")
        return not any(self.environment.get(name, "").strip() for name in chosen)

    def host(self, service: str) -> str:
        """Give the address that a service binds."""
        return self.environment.get(f"{env_prefix(service)}HOST", "").strip() or "127.0.0.1"

    def url(self, service: str) -> str:
        """Give the address under which the other services reach a service."""
        host = self.host(service)
        host = ANY_ADDRESS.get(host, host)
        return f"http://{f'[{host}]' if ':' in host else host}:{self.ports[service]}"


def env_prefix(service: str) -> str:
    """Give a service's prefix in the environment: `mcp-server` has `MCP_SERVER_`."""
    return service.upper().replace("-", "_") + "_"


def load_launcher_settings(root: Path, environ: Mapping[str, str]) -> LauncherSettings:
    """Merge the environment over `.env` and check what the launcher itself reads.

    Raises
    ------
    SettingsError
        With one sentence for each thing that is wrong.
    """
    from_file = _read_dotenv(root / ".env")
    environment = {**from_file, **environ}
    problems = [*_misspelt(environment), *_misspelt_prefixes(from_file)]
    ports: dict[str, int] = {}
    for service, default in DEFAULT_PORTS.items():
        name = f"{env_prefix(service)}PORT"
        try:
            ports[service] = _port(name, environment.get(name, ""), default)
        except SettingsError as error:
            problems.append(str(error))
    problems += _same_port_twice(ports)
    if problems:
        raise SettingsError("\n".join(problems))
    run_dir = environment.get("LAUNCHER_RUN_DIR", "").strip()
    return LauncherSettings(
        root=root,
        run_dir=(root / run_dir) if run_dir else root / ".run",
        environment=environment,
        ports=ports,
        is_verbose=environment.get("VERBOSE", "").strip().lower() in {"1", "true", "yes", "on"},
        start_timeout_seconds=_seconds(environment, "LAUNCHER_START_TIMEOUT_SECONDS", 60.0),
        stop_timeout_seconds=_seconds(environment, "LAUNCHER_STOP_TIMEOUT_SECONDS", 15.0),
    )


def _read_dotenv(path: Path) -> dict[str, str]:
    try:
        return parse_dotenv(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (DotenvError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path.name}: {error}") from None
    except OSError as error:
        raise SettingsError(f"{path.name} cannot be read: {error.strerror}") from None


def _port(name: str, text: str, default: int) -> int:
    text = text.strip()
    # Kubernetes' service links have this form; they are not meant for us.
    if not text or text.startswith("tcp://"):
        return default
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= _MAX_PORT):
        raise SettingsError(f"{name} is {text!r}; it must be a port from 1 to 65535.")
    return int(text)


def _seconds(environment: Mapping[str, str], name: str, default: float) -> float:
    text = environment.get(name, "").strip()
    if not text:
        return default
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value <= 600:  # noqa: PLR2004  # ten minutes is beyond any sane start
        raise SettingsError(f"{name} is {text!r}; it must be seconds above 0, at most 600.")
    return value


def _same_port_twice(ports: Mapping[str, int]) -> list[str]:
    owners: dict[int, list[str]] = {}
    for service, port in ports.items():
        owners.setdefault(port, []).append(service)
    return [
        f"Port {port} is given to {' and '.join(services)}; set one of "
        f"{' or '.join(env_prefix(service) + 'PORT' for service in services)} to another."
        for port, services in owners.items()
        if len(services) > 1
    ]


def _misspelt(environment: Mapping[str, str]) -> list[str]:
    """Name the variables that are nearly ours.

    Those with a service's prefix are left to that service, which knows all of its names; others'
    `LLM_` and `OPENAI_` variables are common, so only a near miss counts there.
    """
    problems = []
    for name in sorted(environment):
        if name.startswith("LAUNCHER_") and name not in OWN_NAMES:
            problems.append(_sentence(name, OWN_NAMES, cutoff=0.0))
        elif name.startswith(("LLM_", "OPENAI_", "OPEN_AI_")) and name not in FIXED_NAMES:
            near = difflib.get_close_matches(name, FIXED_NAMES, n=1, cutoff=0.88)
            if near:
                problems.append(_sentence(name, FIXED_NAMES, cutoff=0.88))
    return problems


def _misspelt_prefixes(from_file: Mapping[str, str]) -> list[str]:
    """Name the `.env` entries whose prefix is nearly a service's; the file is ours to check."""
    prefixes = tuple(env_prefix(service) for service in DEFAULT_PORTS)
    problems = []
    for name in sorted(from_file):
        if name in FIXED_NAMES or name.startswith(prefixes):
            continue
        for prefix in prefixes:
            words = name.split("_")
            count = prefix.count("_")
            begin, rest = "_".join(words[:count]) + "_", "_".join(words[count:])
            if rest and difflib.SequenceMatcher(None, begin, prefix).ratio() >= _NEAR_PREFIX:
                problems.append(f".env: {name} is no setting; did you mean {prefix}{rest}?")
                break
    return problems


def _sentence(name: str, known: tuple[str, ...], *, cutoff: float) -> str:
    near = difflib.get_close_matches(name, known, n=1, cutoff=cutoff)
    meant = f"; did you mean {near[0]}?" if near else "."
    return f"{name} is no setting{meant}"
