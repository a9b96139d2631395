"""Which processes belong to a stack, and what they hold."""

import contextlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

_GONE = (psutil.NoSuchProcess, psutil.ZombieProcess, psutil.AccessDenied)


def family(pid: int) -> list[psutil.Process]:
    """Give a process and all of its descendants that live now."""
    try:
        head = psutil.Process(pid)
        return [head, *head.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def living(processes: Iterable[psutil.Process]) -> list[str]:
    """Describe those that still run; a process number that was used again is another process."""
    return [_described(each) for each in processes if _is_alive(each)]


def _is_alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _described(process: psutil.Process) -> str:
    try:
        return f"{process.pid} {' '.join(process.cmdline())[-120:]}"
    except _GONE:
        return str(process.pid)


def marked(marks: Iterable[str]) -> list[psutil.Process]:
    """Give every process of the machine that was started with one of these in its environment.

    This also finds processes that left the family: orphans, and children of orphans.
    """
    wanted = [mark.encode() for mark in marks]
    found = []
    for process in psutil.process_iter():
        if process.pid == os.getpid():
            continue
        raw = _environment(process.pid)
        if any(mark in raw for mark in wanted) and _is_alive(process):
            found.append(process)
    return found


def _environment(pid: int) -> bytes:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/environ").read_bytes()
    return b""


@dataclass(frozen=True)
class Holdings:
    """What one process holds."""

    rss_bytes: int
    descriptors: int
    connections: int


def holdings(process: psutil.Process) -> Holdings | None:
    """Measure one process; None when it has ended."""
    try:
        return Holdings(
            rss_bytes=process.memory_info().rss,
            descriptors=process.num_fds(),
            connections=len(process.net_connections(kind="inet")),
        )
    except _GONE:
        return None


def by_service(pid: int, services: Iterable[str]) -> Iterator[tuple[str, psutil.Process]]:
    """Give the supervisor's direct children with the service that each of them is."""
    modules = {service.replace("-", "_"): service for service in services}
    try:
        children = psutil.Process(pid).children()
    except psutil.NoSuchProcess:
        return
    for child in children:
        try:
            command = child.cmdline()
        except _GONE:
            continue
        if any("sandbox_runner" in part for part in command):
            yield "sandbox-runner", child
        elif "-m" in command and command[-1] in modules:
            yield modules[command[-1]], child
