"""A closed terminal is noticed, typing in it is not."""

import os
import pty
import threading

from launcher.terminal_watch import on_terminal_closed


def test_closed_terminal_is_noticed() -> None:
    ours, theirs = pty.openpty()
    is_closed = threading.Event()
    with on_terminal_closed(theirs, is_closed.set):
        os.write(ours, b"typed\n")
        assert not is_closed.wait(0.1)
        os.close(ours)
        assert is_closed.wait(5)
    os.close(theirs)


def test_watch_ends_with_the_stack_while_the_terminal_stays() -> None:
    ours, theirs = pty.openpty()
    is_closed = threading.Event()
    with on_terminal_closed(theirs, is_closed.set):
        pass
    assert not is_closed.is_set()
    os.close(ours)
    os.close(theirs)


def test_what_is_no_terminal_is_left_alone() -> None:
    read, write = os.pipe()
    is_closed = threading.Event()
    with on_terminal_closed(read, is_closed.set):
        os.close(write)
    assert not is_closed.is_set()
    os.close(read)
