import os
import socket
from pathlib import Path

import pytest
from launcher.ports import PortConflict, find_conflicts, free_ports, is_free, port_holder, shortened


def test_listener_is_found_with_its_process() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        (conflict,) = find_conflicts([("sandbox", "127.0.0.1", port)])
        sentence = conflict.sentence()
    assert f"Port {port} (sandbox)" in sentence
    assert f"process {os.getpid()}" in sentence
    assert "python" in sentence or "pytest" in sentence


def test_listener_on_all_addresses_is_found() -> None:
    with socket.create_server(("0.0.0.0", 0)) as listener:
        assert not is_free("127.0.0.1", listener.getsockname()[1])


def test_listener_on_the_other_loopback_is_found() -> None:
    try:
        listener = socket.create_server(("::1", 0), family=socket.AF_INET6)
    except OSError:
        pytest.skip("no IPv6 here")
    with listener:
        port = listener.getsockname()[1]
        assert not is_free("127.0.0.1", port)
        holder = port_holder(port)
    assert holder is not None
    assert holder.pid == os.getpid()


def test_free_port_is_free_and_a_closed_connection_is_no_holder() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)):
            served, _ = listener.accept()
            served.close()
    assert is_free("127.0.0.1", port)
    assert find_conflicts([("x", "127.0.0.1", port)]) == ()


def test_free_ports_are_all_different() -> None:
    assert len(set(free_ports(20))) == 20


def test_holder_that_cannot_be_seen_is_said_so(tmp_path: Path) -> None:
    (tmp_path / "net").mkdir()
    (tmp_path / "net" / "tcp").write_text("header\n")
    assert port_holder(1, proc=tmp_path) is None
    assert "cannot see" in PortConflict("sandbox", 1, None).sentence()


def test_long_command_is_cut() -> None:
    assert len(shortened("x" * 500)) == 100
