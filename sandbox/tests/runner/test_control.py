"""Messages inside the runner that bring a descriptor along, or fail to."""

import os
import resource
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from sandbox_runner import control
from sandbox_runner.control import DescriptorLost, Spawn

Line = tuple[socket.socket, socket.socket]

_ORDER = Spawn("name", "/slot", has_quota=True)


@pytest.fixture
def line() -> Iterator[Line]:
    near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with near, far:
        yield near, far


def _open_descriptors() -> set[str]:
    return {path.name for path in Path("/proc/self/fd").iterdir()}


def test_message_comes_with_its_descriptor(line: Line) -> None:
    near, far = line
    control.send(near, _ORDER, (near.fileno(),))
    message, descriptor = control.receive_with_descriptor(far)
    os.close(descriptor)
    assert Spawn(**message) == _ORDER


@pytest.mark.parametrize("count", [0, 2])
def test_message_with_another_number_is_refused_and_nothing_stays_open(
    line: Line, count: int
) -> None:
    near, far = line
    before = _open_descriptors()
    control.send(near, _ORDER, (near.fileno(),) * count)
    with pytest.raises(DescriptorLost, match=f"{count} descriptors came"):
        control.receive_with_descriptor(far)
    assert _open_descriptors() == before


def test_descriptor_for_which_there_is_no_room_is_told_of_and_the_line_goes_on(
    line: Line,
) -> None:
    near, far = line
    control.send(near, _ORDER, (near.fileno(),))
    control.send(near, _ORDER, (near.fileno(),))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (1, hard))
    try:
        with pytest.raises(DescriptorLost, match="no descriptor is free"):
            control.receive_with_descriptor(far)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    message, descriptor = control.receive_with_descriptor(far)
    os.close(descriptor)
    assert Spawn(**message) == _ORDER
