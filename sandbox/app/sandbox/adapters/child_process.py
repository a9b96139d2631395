"""A program that is run to its end, and that ends with the call in any case."""

import asyncio
import contextlib
import os
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_KILL_GRACE_SECONDS: Final = 2.0


@dataclass(frozen=True, slots=True)
class Finished:
    """How a program ended: its status (negative: the signal) and what it printed, cut."""

    code: int
    stdout: str
    stderr: str


async def run_child(
    words: Sequence[str], *, environment: Mapping[str, str], folder: Path, max_text_bytes: int
) -> Finished:
    """Run a program in a process group of its own.

    Parameters
    ----------
    folder
        Its working directory.
    max_text_bytes
        Kept of what it prints, on each of the two streams.

    Notes
    -----
    There is no time limit here: a cancelled call kills the whole group.
    """
    process = await asyncio.create_subprocess_exec(
        *words,
        cwd=folder,
        env=dict(environment),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    try:
        async with asyncio.TaskGroup() as group:
            texts = [
                group.create_task(_read(pipe, max_text_bytes))
                for pipe in (process.stdout, process.stderr)
            ]
        code = await process.wait()
    finally:
        await _end_group(process)
    return Finished(code, texts[0].result(), texts[1].result())


async def _read(pipe: asyncio.StreamReader | None, max_bytes: int) -> str:
    if pipe is None:
        raise RuntimeError("the process was started without pipes")
    kept = bytearray()
    while data := await pipe.read(65_536):
        kept += data[: max_bytes - len(kept)]  # read on, or the writer would stop
    return kept.decode("utf-8", "replace")


async def _end_group(process: asyncio.subprocess.Process) -> None:
    # The group, not the process: uv starts an interpreter to ask it for its tags.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_KILL_GRACE_SECONDS):
            await asyncio.shield(process.wait())
