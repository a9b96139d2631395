"""`docker/check_settings.py` as `make up` runs it, with a folder and a shell of the test's own."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
SCRIPT = ROOT / "docker" / "check_settings.py"


def check(folder: Path, dotenv: str = "", **shell: str) -> tuple[int, str]:
    """Give the exit status and all that was said of a `.env` and the variables of a shell."""
    (folder / ".env").write_text(dotenv, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-E", "-s", "-B", str(SCRIPT), str(folder)],
        env={"PATH": "/usr/bin:/bin", **shell},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr
