"""Real processes: what dies with what."""

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from launcher.process import ProcessSpawner
from launcher.supervisor import EX_CONFIG
from launcher.units import HttpProbe, Unit


def unit(code: str) -> Unit:
    command = (sys.executable, "-I", "-S", "-c", textwrap.dedent(code))
    return Unit("x", command, dict(os.environ), HttpProbe("http://127.0.0.1:1"))


def wait_for(condition: Callable[[], bool], seconds: float = 5) -> None:
    ends_at = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < ends_at, "it did not happen in time"
        time.sleep(0.01)


def is_alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.fixture
async def spawner(tmp_path: Path):
    async with ProcessSpawner(cwd=tmp_path, socket_dir=tmp_path / "sockets") as spawner:
        yield spawner


async def test_output_comes_line_by_line_and_the_status_at_the_end(spawner: ProcessSpawner) -> None:
    child = await spawner.spawn(unit("print('a'); print('b', end=''); raise SystemExit(3)"))
    assert [line async for line in child.lines()] == [b"a", b"b"]
    assert await child.wait() == 3


async def test_endless_line_is_cut_and_not_collected(spawner: ProcessSpawner) -> None:
    child = await spawner.spawn(unit("print('x' * 1_000_000)"))
    async with asyncio.timeout(20):
        lines = [line async for line in child.lines()]
        await child.wait()
    assert max(map(len, lines)) <= 16 * 1024


async def test_end_is_seen_although_a_grandchild_holds_the_output(spawner: ProcessSpawner) -> None:
    child = await spawner.spawn(
        unit("import os, time\nif os.fork() == 0: time.sleep(60)\nprint('x')")
    )
    async with asyncio.timeout(10):
        assert await child.wait() == 0
        # The grandchild was of its group and has ended with it: the output ends.
        assert [line async for line in child.lines()] == [b"x"]


async def test_orphan_of_the_same_session_ends_with_its_program(spawner: ProcessSpawner) -> None:
    code = """
    import os, time
    if os.fork() == 0:
        os.setpgid(0, 0)
        print(os.getpid(), flush=True)
        time.sleep(60)
    time.sleep(60)
    """
    child = await spawner.spawn(unit(code))
    async with asyncio.timeout(10):
        lines = child.lines()
        orphan = int(await anext(lines))
        child.kill()
        assert await child.wait() == -signal.SIGKILL
        await lines.aclose()
    assert not is_alive(orphan)


async def test_terminate_lets_the_program_end_by_itself(spawner: ProcessSpawner) -> None:
    code = """
    import signal, sys, time
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))
    print("up", flush=True)
    time.sleep(60)
    """
    child = await spawner.spawn(unit(code))
    async with asyncio.timeout(10):
        lines = child.lines()
        await anext(lines)
        child.terminate()
        assert await child.wait() == 7
        await lines.aclose()


def gated_unit(folder: Path, **environment: str) -> Unit:
    """Write a package that says what happens to it; give its unit."""
    package = folder / "gated"
    package.mkdir()
    files = {
        "__init__.py": "",
        "app.py": "print('imported', flush=True)\n",
        "__main__.py": "import sys\nprint('runs', __name__, repr(sys.stdin.read()), flush=True)\n",
        "settings.py": "from servicekit.settings import ServiceSettings, service_config\n"
        "class GatedSettings(ServiceSettings):\n"
        "    model_config = service_config('GATED_')\n"
        "    port: int = 1\n",
    }
    for name, text in files.items():
        (package / name).write_text(text)
    command = (sys.executable, "-m", "launcher.gate", "gated")
    probe = HttpProbe("http://127.0.0.1:1")
    return Unit("x", command, {**os.environ, **environment}, probe, has_gate=True)


async def test_gate_names_a_misspelt_setting_before_it_is_released(
    spawner: ProcessSpawner, tmp_path: Path
) -> None:
    child = await spawner.spawn(gated_unit(tmp_path, GATED_PROT="2"))
    async with asyncio.timeout(20):
        lines = [line async for line in child.lines()]
        assert await child.wait() == EX_CONFIG
    assert lines[-1] == b"GATED_PROT is not a setting. Did you mean GATED_PORT?"


async def test_gate_holds_a_program_until_it_is_released(
    spawner: ProcessSpawner, tmp_path: Path
) -> None:
    child = await spawner.spawn(gated_unit(tmp_path))
    async with asyncio.timeout(20):
        lines = child.lines()
        assert await anext(lines) == b"imported"
        child.release()
        assert [line async for line in lines] == [b"runs __main__ ''"]
        assert await child.wait() == 0


async def test_program_that_does_not_exist_ends_with_a_sentence(spawner: ProcessSpawner) -> None:
    missing = Unit("x", ("/nowhere/python",), {}, HttpProbe("http://127.0.0.1:1"))
    child = await spawner.spawn(missing)
    lines = [line async for line in child.lines()]
    assert await child.wait() == 125
    assert lines == [b"cannot start /nowhere/python: No such file or directory"]


SUPERVISOR = """
import asyncio, os, sys
from pathlib import Path
from launcher.process import ProcessSpawner
from launcher.supervisor import EX_CONFIG
from launcher.units import HttpProbe, Unit

code = "import os, time\\nif os.fork() == 0: time.sleep(60)\\ntime.sleep(60)"
unit = Unit("x", (sys.executable, "-I", "-S", "-c", code), dict(os.environ), HttpProbe("http://x"))

async def main():
    sockets = Path(sys.argv[1]) / "sockets"
    sockets.mkdir()
    async with ProcessSpawner(cwd=Path.cwd(), socket_dir=sockets) as spawner:
        print(*[(await spawner.spawn(unit)).pid for _ in range(3)], flush=True)
        await asyncio.sleep(60)

asyncio.run(main())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="counts through /proc")
def test_killed_supervisor_leaves_no_process_and_no_folder(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", SUPERVISOR, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as supervisor:
        try:
            assert supervisor.stdout is not None
            pids = [int(pid) for pid in supervisor.stdout.readline().split()]
            assert len(pids) == 3
            wait_for(lambda: len(psutil.Process(supervisor.pid).children(recursive=True)) == 7)
            family = psutil.Process(supervisor.pid).children(recursive=True)
        finally:
            supervisor.kill()
    wait_for(lambda: not any(is_alive(each.pid) for each in family))
    wait_for(lambda: not (tmp_path / "sockets").exists())
