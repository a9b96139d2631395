"""A line of `.env` that Compose and our scripts could read in two ways starts nothing."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
_PYTHON = """
import sys
from pathlib import Path
from env_file import expanded, read_env_file
lines = read_env_file(Path(".env"))
ours = {"BIND_ADDRESS", "GRAFANA_ADMIN_PASSWORD"}
if wrong := expanded(lines, ours, {}):
    sys.exit("".join(wrong))
print({line.name: line.value for line in lines}.get("BIND_ADDRESS", "nothing"))
"""
_SHELL = '. "$DOCKER/compose.sh"; require_plain_env_file; setting BIND_ADDRESS nothing'


@pytest.fixture(params=["python", "shell"])
def reader(request: pytest.FixtureRequest) -> list[str]:
    commands = {"python": [sys.executable, "-B", "-c", _PYTHON], "shell": ["sh", "-c", _SHELL]}
    return commands[str(request.param)]


def read(reader: list[str], folder: Path, text: bytes, **env: str) -> tuple[int, str]:
    """Give the status, and BIND_ADDRESS or what is said against the file."""
    (folder / ".env").write_bytes(text)
    done = subprocess.run(
        reader,
        cwd=folder,
        env={
            "PATH": "/usr/bin:/bin",
            "DOCKER": str(ROOT / "docker"),
            "PYTHONPATH": str(ROOT / "docker"),
            **env,
        },
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    return done.returncode, (done.stdout + done.stderr).strip()


# The second one is what Compose makes of it: test_dotenv.py asks both generations.
_PLAIN = [
    (b"BIND_ADDRESS=0.0.0.0\n", "0.0.0.0"),
    (b"  BIND_ADDRESS=::  # all\n", "::"),
    (b"BIND_ADDRESS=one\nBIND_ADDRESS=two", "two"),
    (b"BIND_ADDRESS='a b # c' # d\r\n", "a b # c"),
    (b'BIND_ADDRESS="a b # c"\n', "a b # c"),
    (b"BIND_ADDRESS=a#b\n", "a#b"),
    (b"BIND_ADDRESS='a$b'\n", "a$b"),
    (b"BIND_ADDRESS=a # costs $5\n", "a"),
    (b"# BIND_ADDRESS = 0.0.0.0\n\n  # \xc3\xa4\tb\n", "nothing"),
    (b"BIND_ADDRESS=\nTEAM=${HOME}\n", "nothing"),
    (b"TEAM='a\\b'\nBIND_ADDRESS=x\n", "x"),
]


@pytest.mark.parametrize(("text", "value"), _PLAIN)
def test_a_plain_line_is_read_as_compose_reads_it(
    reader: list[str], tmp_path: Path, text: bytes, value: str
) -> None:
    status, said = read(reader, tmp_path, text)

    assert status == 0, said
    # Without a value Python's dictionary has an empty one, and the shell's word the default.
    assert (said or "nothing") == value


@pytest.mark.parametrize(
    "line",
    [
        b"BIND_ADDRESS = 0.0.0.0",
        b"BIND_ADDRESS =0.0.0.0",
        b"BIND_ADDRESS= 0.0.0.0",
        b"BIND_ADDRESS:0.0.0.0",
        b"BIND_ADDRESS: 0.0.0.0",
        b"export BIND_ADDRESS=0.0.0.0",
        b"\xc2\xa0BIND_ADDRESS=0.0.0.0",
        b"BIND_ADDRESS",
        b"BIND_ADDRESS='0.0.0.0",
        b'BIND_ADDRESS="127.0.0.1\n0.0.0.0"',
        b"BIND_ADDRESS='127.0.0.1'0.0.0.0",
        b"BIND_ADDRESS='127.0.0.1'# no comment",
        b'BIND_ADDRESS="0.0\\t"',
        b"BIND_ADDRESS= # a value for 1.29",
        b"# one line or two?\rBIND_ADDRESS=0.0.0.0",
        b"TEAM=x\x0bBIND_ADDRESS=0.0.0.0",
    ],
)
def test_a_line_with_two_readings_is_named_by_its_number(
    reader: list[str], tmp_path: Path, line: bytes
) -> None:
    status, said = read(reader, tmp_path, b"TEAM=blue\n" + line + b"\n")

    assert status == 1
    assert "NAME=value" in said
    assert "line 2" in said
    assert "0.0.0.0" not in said  # a mistyped line may hold a key


def test_an_invisible_beginning_is_refused(reader: list[str], tmp_path: Path) -> None:
    assert read(reader, tmp_path, b"\xef\xbb\xbfBIND_ADDRESS=0.0.0.0\n")[0] == 1


@pytest.mark.parametrize(
    "line",
    [
        b"GRAFANA_ADMIN_PASSWORD=${PW:-admin}",
        b"GRAFANA_ADMIN_PASSWORD=$PW",
        b'GRAFANA_ADMIN_PASSWORD="ad$$min"',
        b"GRAFANA_ADMIN_PASSWORD='${PW:-admin}'",
        b"BIND_ADDRESS=127.0.0.1$HOME",
        b"BIND_ADDRESS=a#$HOME",
    ],
)
def test_what_compose_expands_is_no_value(reader: list[str], tmp_path: Path, line: bytes) -> None:
    status, said = read(reader, tmp_path, line + b"\n")

    assert status == 1
    assert line.partition(b"=")[0].decode() in said


def test_no_file_and_other_files_are_told_apart(tmp_path: Path) -> None:
    shell = ["sh", "-c", _SHELL]

    assert read(shell, tmp_path, b"")[1] == "nothing"
    status, said = read(shell, tmp_path, b"", COMPOSE_ENV_FILES=".env,.env.local")

    assert status == 1
    assert ".env alone is read here" in said
    (tmp_path / ".env").unlink()
    env = {**os.environ, "DOCKER": str(ROOT / "docker")}
    done = subprocess.run(shell, cwd=tmp_path, env=env, timeout=30, check=False)
    assert done.returncode == 0
