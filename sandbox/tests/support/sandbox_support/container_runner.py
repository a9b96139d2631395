"""A real runner in a plain container: an ordinary user, no capability, read-only, no network."""

import os
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import sandbox_runner

ROOT = Path(__file__).resolve().parents[4]
PROFILE = ROOT / "docker" / "seccomp-namespaces.json"
IMAGE = f"mcp-stack/sandbox-runner:{os.environ.get('STACK_TAG') or '0.1.0'}"
_START_SECONDS = 60.0
_CONFINED = (
    *("--init", "--network", "none", "--read-only", "--cap-drop", "ALL"),
    *("--security-opt", "no-new-privileges", "--pids-limit", "1024", "--memory", "2g"),
    *("--tmpfs", "/tmp:size=16m,mode=1777"),
)


@dataclass(frozen=True)
class ContainerRunner:
    """The runner as the host sees it."""

    socket: str
    pid: int
    slots_dir: Path


@contextmanager
def container_runner(
    folder: Path,
    *,
    uid: int,
    profile: Path | None,
    settings: Mapping[str, str],
    environment: Mapping[str, str],
) -> Iterator[ContainerRunner]:
    """Start the image with this checkout's runner in it; its socket appears in `folder`."""
    # The runner takes a folder of its own alone.
    os.chown(folder, uid, uid)
    folder.chmod(0o755)
    code = Path(sandbox_runner.__file__).resolve().parent
    variables = {f"SANDBOX_RUNNER_{name.upper()}": value for name, value in settings.items()}
    command = [
        *("docker", "run", "--detach", *_CONFINED, "--user", f"{uid}:{uid}"),
        *("--tmpfs", f"/slots:size=1g,mode=0700,uid={uid},gid={uid}"),
        *("--tmpfs", f"/var/lib/packages:size=1m,uid={uid},gid={uid}"),
        *(() if profile is None else ("--security-opt", f"seccomp={profile}")),
        *(word for item in (variables | dict(environment)).items() for word in _variable(*item)),
        *("--volume", f"{folder}:/run/sandbox-runner"),
        *("--volume", f"{code}:/opt/app/sandbox_runner:ro", IMAGE),
    ]
    container = _said(command)
    try:
        init = int(_said(["docker", "inspect", "--format", "{{.State.Pid}}", container]))
        pid = _child_of(init)
        yield ContainerRunner(str(folder / "runner.sock"), pid, Path(f"/proc/{pid}/root/slots"))
    finally:
        _said(["docker", "rm", "--force", container])


def _variable(name: str, value: str) -> tuple[str, str]:
    return "--env", f"{name}={value}"


def _child_of(init: int) -> int:
    """Return the one child of the container's init, once it is there."""
    limit = time.monotonic() + _START_SECONDS
    while time.monotonic() < limit:
        children = psutil.Process(init).children()
        if children:
            return int(children[0].pid)
        time.sleep(0.02)
    raise TimeoutError("the container's init started nothing")


def _said(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command[:3])}: {done.stderr.strip()}")
    return done.stdout.strip()
