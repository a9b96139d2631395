"""Programs that tests need and users get from images: Prometheus and the tools."""

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

_UNPACK = Path(__file__).resolve().parents[1] / "debian_programs.sh"
# Where these packages are as new as the images that Compose names.
_SUITE = "forky"
_FETCH_SECONDS = 300


@dataclass(frozen=True)
class Programs:
    """Paths of Prometheus, its tool, and the Alertmanager's.

    Debian's Alertmanager itself reads a template from a fixed place: it does not run unpacked.
    """

    prometheus: str
    promtool: str
    amtool: str


def monitoring_programs() -> Programs:
    """Give the programs, unpacked from Debian's packages where they are not there yet.

    MCP_STACK_TOOLS is the folder that keeps them (`~/.cache/mcp-stack-tools`).
    """
    kept = Path(os.environ.get("MCP_STACK_TOOLS") or Path.home() / ".cache" / "mcp-stack-tools")
    prometheus = _unpacked(kept / "prometheus", "prometheus", "promtool")
    alertmanager = _unpacked(kept / "alertmanager", "prometheus-alertmanager")
    return Programs(
        prometheus=_program(prometheus, "prometheus"),
        promtool=_program(prometheus, "promtool"),
        amtool=_program(alertmanager, "amtool"),
    )


def _unpacked(folder: Path, *packages: str) -> Path:
    done = subprocess.run(
        [str(_UNPACK), _SUITE, str(folder), *packages],
        capture_output=True,
        text=True,
        timeout=_FETCH_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return folder / "usr" / "bin"


def _program(folder: Path, name: str) -> str:
    found = shutil.which(name, path=str(folder))
    assert found, f"{folder} has no {name}; remove the folder above it to have it fetched again"
    return found
