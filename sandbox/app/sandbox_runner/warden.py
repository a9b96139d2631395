"""The warden: the trusted half of a session. It owns time, killing, counting and the reports."""

import os
import socket

from sandbox_runner import control, kernel, landlock, log, namespaces
from sandbox_runner.client_line import PeerGone
from sandbox_runner.control import Spawn, WardenReady
from sandbox_runner.file_desk import Stalled
from sandbox_runner.held_worker import HeldWorker
from sandbox_runner.session import Session
from sandbox_runner.tree import own_number_in_proc
from sandbox_runner.worker_fork import WorkerFork


def main(line: socket.socket, order: Spawn, fork: WorkerFork) -> None:
    """Take over a forked process: fork the worker, wait for a client, serve it.

    Parameters
    ----------
    line
        Control line to the listener; its end ends the session.
    """
    config = fork.config
    if config.signal_scope is not None:
        landlock.restrict_self(config.signal_scope)
    # Before anything else: a page that is written to now has to be copied once more afterwards. In
    # namespaces the worker is nobody's yet, and nothing that it does until it is ready may mind.
    held = fork.begin()
    if config.has_namespaces:
        namespaces.settle(config.uid, config.gid)
    os.setsid()
    kernel.prctl(kernel.PR_SET_CHILD_SUBREAPER, 1)
    try:
        _hold(line, order, fork, held)
    except (EOFError, PeerGone, Stalled):
        return  # nobody wants the session any more: the usual end
    except (OSError, control.DescriptorLost) as error:
        log.event("session.lost", level="error", session=order.session, reason=repr(error))


def _hold(line: socket.socket, order: Spawn, fork: WorkerFork, held: HeldWorker) -> None:
    """Wait for a client, serve it until it closes, and end the session."""
    session: Session | None = None
    try:
        fork.finish(held, fork.config.bounds)
        session = Session(order, fork, held, line)
        session.rehearse()
        control.send(line, WardenReady(own_number_in_proc()))
        claim, client = control.receive_claim(line)
        session.receive(client, claim.limits)
        session.serve(claim)
    finally:
        if session is None:
            held.close()
        else:
            session.close()
