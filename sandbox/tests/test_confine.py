"""The package tool's confinement: where it may write, and with whom it dies."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest
from sandbox_runner.landlock import abi_version

LAUNCHER = (sys.executable, "-I", "-m", "sandbox.adapters.confine")


def _confined(
    folder: Path, code: str, *, max_file_bytes: int = 1 << 20
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*LAUNCHER, str(os.getpid()), str(max_file_bytes), str(folder), "--",
         sys.executable, "-I", "-c", code],
        capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip


@pytest.mark.skipif(abi_version() == 0, reason="this kernel has no Landlock")
def test_confined_program_writes_to_its_folder_alone(tmp_path: Path) -> None:
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    inside.mkdir()
    outside.mkdir()
    (outside / "there").write_text("as it was")
    code = f"""
import os
os.mkdir({str(inside / "made")!r})
open({str(inside / "made" / "file")!r}, "w").write("x")
open(os.devnull, "w").write("x")
there, new = {str(outside / "there")!r}, {str(outside / "new")!r}
for act in (lambda: open(new, "w"), lambda: open(there, "w"),
            lambda: os.unlink(there), lambda: os.mkdir(new)):
    try:
        act()
    except PermissionError:
        print("refused")
print(open({str(outside / "there")!r}).read())
"""
    ended = _confined(inside, code)
    assert ended.stdout.split("\n") == [*["refused"] * 4, "as it was", ""], ended.stderr
    assert sorted(path.name for path in outside.iterdir()) == ["there"]


def test_confined_program_writes_no_file_over_the_limit(tmp_path: Path) -> None:
    code = f"open({str(tmp_path / 'large')!r}, 'wb').write(b'0' * 5000)"
    _confined(tmp_path, code, max_file_bytes=1000)
    assert (tmp_path / "large").stat().st_size == 1000


async def test_confined_program_dies_with_its_parent(tmp_path: Path) -> None:
    code = (
        "import os, subprocess, sys, time\n"
        f"p = subprocess.Popen([*{LAUNCHER!r}, str(os.getpid()), '1000', {str(tmp_path)!r}, '--',"
        " sys.executable, '-I', '-c', 'import time; print(1, flush=True); time.sleep(60)'])\n"
        "print(p.pid, flush=True)\ntime.sleep(60)\n"
    )
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-I", "-c", code, stdout=asyncio.subprocess.PIPE
    )
    assert parent.stdout is not None
    async with asyncio.timeout(20):
        lines = {await parent.stdout.readline() for _ in range(2)}
        child = next(int(line) for line in lines if line != b"1\n")
        parent.kill()
        await parent.wait()
        while _state(child) not in "ZX":  # noqa: ASYNC110  # another process's end
            await asyncio.sleep(0.02)


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return "X"
