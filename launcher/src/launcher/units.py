"""The stack as data: which programs, with which environment, after which others."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from launcher.settings import LauncherSettings, env_prefix

RUNNER = "sandbox-runner"
MODEL = "embedded-model"

# What only the middleware may see: a key goes only to its own address.
_SECRETS = frozenset({"LLM_API_KEY", "OPENAI_API_KEY"})
# What most code of cells begins with: imported once, before any session is there. pyplot, and not
# matplotlib alone, because it is pyplot that looks for all fonts, which takes half a second.
_PRELOAD = "numpy,pandas,matplotlib.pyplot"
# What the runner sees of the surroundings: it starts untrusted code.
_PLAIN_NAMES = frozenset({"PATH", "HOME", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR", "USER"})


@dataclass(frozen=True)
class HttpProbe:
    """Ready when `GET /ready` answers 200."""

    url: str


@dataclass(frozen=True)
class RunnerProbe:
    """Ready when the runner answers a hello frame on its Unix socket."""

    socket_path: Path


Probe = HttpProbe | RunnerProbe


@dataclass(frozen=True)
class Unit:
    """One program of the stack."""

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str] = field(repr=False)  # may carry keys
    probe: Probe
    needs: tuple[str, ...] = ()
    address: str = ""
    # It prepares itself at once and begins its work when it is released (launcher.gate).
    has_gate: bool = False
    # The rest of the stack starts, and says so, when this unit cannot.
    is_optional: bool = False


def stack_units(
    settings: LauncherSettings, *, python: str, cell_python: str, socket_dir: Path
) -> tuple[Unit, ...]:
    """Lay out the stack.

    Parameters
    ----------
    python
        The interpreter that has our packages.
    cell_python
        The interpreter in which users' code runs; it has none of our packages.
    socket_dir
        A private folder with a path short enough for a Unix socket.
    """
    layout = _Layout(settings, python, cell_python, socket_dir)
    model = (layout.service(MODEL),) if settings.uses_embedded_model else ()
    gateway_url = settings.url("mcp-server")
    upstreams = ",".join(
        f"{name}={settings.url(name)}/mcp" for name in ("code-executor", "time-client")
    )
    return (
        layout.runner(),
        *model,
        layout.service("time-client"),
        layout.service("sandbox", needs=(RUNNER,), extra=layout.sandbox_variables()),
        layout.service(
            "code-executor",
            needs=("sandbox",),
            extra={"CODE_EXECUTOR_SANDBOX_URL": settings.url("sandbox")},
        ),
        layout.service(
            "mcp-server",
            needs=("code-executor", "time-client"),
            extra={"MCP_SERVER_OWN_UPSTREAMS": upstreams},
        ),
        layout.service(
            "middleware",
            needs=("mcp-server", *(unit.name for unit in model)),
            extra={
                "MCP_SERVER_URL": gateway_url,
                "MIDDLEWARE_EMBEDDED_MODEL_URL": f"{settings.url(MODEL)}/v1",
            },
        ),
    )


@dataclass(frozen=True)
class _Layout:
    settings: LauncherSettings
    python: str
    cell_python: str
    socket_dir: Path

    @property
    def socket_path(self) -> Path:
        return self.socket_dir / "runner.sock"

    def sandbox_variables(self) -> dict[str, str]:
        chosen = self.settings.environment.get("SANDBOX_PACKAGES_DIR", "").strip()
        return {
            "SANDBOX_RUNNER_SOCKET": str(self.socket_path),
            "SANDBOX_PACKAGES_DIR": chosen or str(self._packages_folder()),
        }

    def _packages_folder(self) -> Path:
        # One stack's own: a second one of this clone has another run folder, and packages there.
        root, run_dir = self.settings.root, self.settings.run_dir
        return (root / "data" if run_dir == root / ".run" else run_dir) / "packages"

    def service(
        self, name: str, *, needs: tuple[str, ...] = (), extra: Mapping[str, str] | None = None
    ) -> Unit:
        prefix = env_prefix(name)
        defaults = {
            f"{prefix}LOG_FORMAT": "json",  # the launcher reads the lines and prints them readably
            "PYTHONUNBUFFERED": "1",
        }
        decided = {f"{prefix}PORT": str(self.settings.ports[name]), **(extra or {})}
        url = self.settings.url(name)
        gate = ("launcher.gate",) if needs else ()
        return Unit(
            name=name,
            # -P: the folders of the checkout have the packages' names.
            command=(self.python, "-P", "-m", *gate, name.replace("-", "_")),
            environment={**defaults, **self._inherited(name), **decided},
            probe=HttpProbe(url),
            needs=needs,
            address=url,
            has_gate=bool(needs),
        )

    def runner(self) -> Unit:
        program = self.settings.root / "sandbox" / "app" / "sandbox_runner" / "__main__.py"
        inherited = {
            name: value
            for name, value in self.settings.environment.items()
            if name in _PLAIN_NAMES or name.startswith("SANDBOX_RUNNER_")
        }
        workspace = {"SANDBOX_RUNNER_WORKSPACE_DIR": str(self.settings.root / "workspace")}
        if mode := self.settings.environment.get("SANDBOX_WORKSPACE", "").strip():
            workspace["SANDBOX_WORKSPACE"] = mode
        # Two stacks of one machine must not share the folders in which code runs.
        slots = {"SANDBOX_RUNNER_SLOTS_DIR": str(self.socket_dir / "slots")}
        preload = {"SANDBOX_RUNNER_PRELOAD": _PRELOAD}
        return Unit(
            name=RUNNER,
            command=(self.cell_python, "-I", str(program)),
            environment={**slots, **preload, **workspace, **inherited, **self.sandbox_variables()},
            probe=RunnerProbe(self.socket_path),
            is_optional=True,
        )

    def _inherited(self, name: str) -> dict[str, str]:
        hidden = frozenset() if name == "middleware" else _SECRETS
        return {
            key: value
            for key, value in self.settings.environment.items()
            if key not in hidden
            and key != "VERBOSE"
            and not key.startswith(("LAUNCHER_", "SANDBOX_RUNNER_"))
        }
