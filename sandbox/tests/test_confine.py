"""The confinement of installations: files, network, programs, and with whom they die."""

import asyncio
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from sandbox.adapters.confine import installer_protection, to_words
from sandbox.packages.confinement import Confinement, resolver_files
from sandbox_runner.landlock import ABI_TCP, abi_version

PROGRAM = (sys.executable, "-I", "-c")
pytestmark = pytest.mark.skipif(abi_version() == 0, reason="this kernel has no Landlock")
needs_ports = pytest.mark.skipif(abi_version() < ABI_TCP, reason="Landlock does not know ports")


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.05)
        ended = threading.Event()

        def accept() -> None:
            while not ended.is_set():
                try:
                    server.accept()[0].close()
                except TimeoutError:
                    continue

        thread = threading.Thread(target=accept)
        thread.start()
        yield server
        ended.set()
        thread.join(timeout=5)


def _confinement(*writable: Path, **changes: object) -> Confinement:
    here = str(Path(__file__).parent)
    readable = resolver_files(
        interpreter=(sys.prefix, sys.base_prefix), program=sys.executable, extra=(here,)
    )
    plain = Confinement(
        readable=readable,
        writable=tuple(str(path) for path in writable),
        max_file_bytes=1 << 20,
        max_memory_bytes=4 << 30,
        starts_programs=True,
    )
    return replace(plain, **changes)  # type: ignore[arg-type]  # of the test's choice


def _run(confinement: Confinement, code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*to_words(confinement, os.getpid()), *PROGRAM, code],
        capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip


def _outcomes(confinement: Confinement, *acts: str) -> dict[str, str]:
    """Try each act in one confined program and return how it ended."""
    code = f"""
import os, socket, json, subprocess, ctypes
found, names = {{}}, {{97: "NoSuchSocket", 18: "PermissionError"}}
for act in {acts!r}:
    try:
        exec(act)
        found[act] = "done"
    except OSError as error:
        found[act] = names.get(error.errno, type(error).__name__)
print(json.dumps(found))
"""
    ended = _run(confinement, code)
    assert ended.returncode == 0, ended.stderr
    found: dict[str, str] = json.loads(ended.stdout)
    return found


def test_confined_program_writes_to_its_folder_alone(tmp_path: Path) -> None:
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    inside.mkdir()
    outside.mkdir()
    (outside / "there").write_text("as it was")
    there, new = str(outside / "there"), str(outside / "new")
    refused = (
        f"open({new!r}, 'w')", f"open({there!r}, 'w')", f"open({there!r})", f"os.unlink({there!r})",
        f"os.mkdir({new!r})", f"os.link({there!r}, {str(inside / 'link')!r})",
        f"os.listdir({str(outside)!r})",
    )  # fmt: skip
    done = (
        f"os.mkdir({str(inside / 'made')!r})",
        f"open({str(inside / 'made' / 'file')!r}, 'w').write('x')",
        "open(os.devnull, 'w').write('x')",
    )
    found = _outcomes(_confinement(inside), *refused, *done)
    assert {found[act] for act in refused} == {"PermissionError"}, found
    assert {found[act] for act in done} == {"done"}, found
    assert sorted(path.name for path in outside.iterdir()) == ["there"]
    assert (outside / "there").read_text() == "as it was"


def test_confined_program_reads_no_secret_of_its_user(tmp_path: Path) -> None:
    secret = tmp_path / ".netrc"
    secret.write_text("machine x login y password z")
    acts = (
        f"open({str(secret)!r})",
        "open('/etc/passwd')",
        "os.listdir('/proc/1')",
        "open('/proc/1/environ')",
    )
    found = _outcomes(_confinement(tmp_path / "none"), *acts)
    assert set(found.values()) == {"PermissionError"}, found


@needs_ports
def test_resolver_connects_to_the_indexs_port_alone(listener: socket.socket) -> None:
    port = listener.getsockname()[1]
    with socket.create_server(("127.0.0.1", 0)) as other:
        ports = (port, other.getsockname()[1])
        acts = [f"socket.create_connection(('127.0.0.1', {each}), 5)" for each in ports]
        found = _outcomes(_confinement(ports=(port,), looks_up_names=True), *acts)
    assert [found[act] for act in acts] == ["done", "PermissionError"]


def test_resolver_has_no_other_kind_of_socket() -> None:
    acts = (
        "socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262)",  # multipath TCP
        "socket.socket(socket.AF_INET6, socket.SOCK_STREAM, 262)",
        "socket.socket(socket.AF_INET, socket.SOCK_STREAM, 132)",  # SCTP
        "socket.socket(socket.AF_INET, socket.SOCK_SEQPACKET, 132)",
        "socket.socket(socket.AF_INET, socket.SOCK_DGRAM, 136)",  # UDP-Lite
        "socket.socket(socket.AF_INET, socket.SOCK_DGRAM, 1)",  # ping
        "socket.socket(socket.AF_INET, socket.SOCK_RAW, 6)",
        "socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)",
        "socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)",
        "socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)",
        "socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)",
    )
    found = _outcomes(_confinement(ports=(443,), looks_up_names=True), *acts)
    assert set(found.values()) == {"NoSuchSocket"}, found


def test_resolver_without_a_need_for_names_sends_no_datagrams() -> None:
    act = "socket.socket(socket.AF_INET, socket.SOCK_DGRAM)"
    with_names = _confinement(ports=(443,), looks_up_names=True)
    assert _outcomes(with_names, act) == {act: "done"}
    assert _outcomes(_confinement(ports=(443,)), act) == {act: "NoSuchSocket"}


def test_program_without_ports_has_no_network_at_all(listener: socket.socket) -> None:
    port = listener.getsockname()[1]
    acts = (
        f"socket.create_connection(('127.0.0.1', {port}), 5)",
        "socket.socket(socket.AF_INET, socket.SOCK_DGRAM)",
        "socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)",
    )
    found = _outcomes(_confinement(), *acts)
    assert set(found.values()) == {"PermissionError"}, found


def test_unpacker_starts_no_program() -> None:
    act = "subprocess.run(['/bin/true'])"
    assert _outcomes(_confinement(), act) == {act: "done"}
    # The launcher itself becomes a program, so the rule is tried from within.
    _, text = to_words(_confinement(starts_programs=False), 1)[-2:]
    code = f"""
import os, subprocess
from sandbox.adapters.confine import confine, from_words
confine(from_words("1", {text!r})[1], os.getppid())
try:
    subprocess.run(["/bin/true"])
except PermissionError:
    print("refused")
"""
    ended = subprocess.run(
        [*PROGRAM, code], capture_output=True, text=True, timeout=30, check=False
    )
    assert ended.stdout == "refused\n", ended.stderr


def test_confined_program_can_not_leave_its_confinement() -> None:
    acts = (
        "os.setuid(1)",
        "os.chroot('/')",
        "os.kill(os.getppid(), 9)",
        "open('/proc/self/mem', 'wb')",
    )
    found = _outcomes(_confinement(), *acts)
    assert set(found.values()) == {"PermissionError"}, found


def test_confined_program_writes_no_file_over_the_limit(tmp_path: Path) -> None:
    code = f"open({str(tmp_path / 'large')!r}, 'wb').write(b'0' * 5000)"
    _run(_confinement(tmp_path, max_file_bytes=1000), code)
    assert (tmp_path / "large").stat().st_size == 1000


def test_protection_is_reported_with_its_state() -> None:
    state, detail = installer_protection()
    assert state == ("active" if abi_version() >= ABI_TCP else "degraded")
    assert "Landlock" in detail


async def test_confined_program_dies_with_its_parent(tmp_path: Path) -> None:
    words = to_words(_confinement(tmp_path), 0)
    code = (
        f"import os, subprocess, sys, time\nwords = {words!r}\nwords[-2] = str(os.getpid())\n"
        f"subprocess.Popen([*words, *{PROGRAM!r}, "
        "'import os, time; print(os.getpid(), flush=True); time.sleep(60)'])\ntime.sleep(60)\n"
    )
    parent = await asyncio.create_subprocess_exec(*PROGRAM, code, stdout=asyncio.subprocess.PIPE)
    assert parent.stdout is not None
    async with asyncio.timeout(20):
        child = int(await parent.stdout.readline())
        parent.kill()
        await parent.wait()
        while _state(child) not in "ZX":  # noqa: ASYNC110  # another process's end
            await asyncio.sleep(0.02)


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return "X"
