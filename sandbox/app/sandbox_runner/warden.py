"""The warden: the trusted half of a session. It owns time, killing, counting and the reports."""

import os
import socket

from sandbox_runner import control, kernel, landlock, log
from sandbox_runner.client_line import PeerGone
from sandbox_runner.control import Claim, Spawn, WardenReady
from sandbox_runner.file_desk import Stalled
from sandbox_runner.session import Session
from sandbox_runner.worker import Confinement
from sandbox_runner.worker_fork import WardenConfig, WorkerFork


def main(line: socket.socket, order: Spawn, confinement: Confinement, config: WardenConfig) -> None:
    """Take over a forked process: fork the worker, wait for a client, serve it.

    Parameters
    ----------
    line
        Control line to the listener; its end ends the session.
    """
    os.setsid()
    kernel.prctl(kernel.PR_SET_CHILD_SUBREAPER, 1)
    if config.is_scoped:
        landlock.restrict_self(landlock.create_signal_scope())
    fork = WorkerFork(confinement, config)
    held = fork.begin()
    session: Session | None = None
    try:
        fork.finish(held, config.bounds)
        session = Session(order, fork, held, line)
        session.rehearse()
        control.send(line, WardenReady(os.getpid()))
        message, descriptors = control.receive(line)
        claim = Claim.from_json(message)
        session.receive(socket.socket(fileno=descriptors[0]), claim.limits)
        session.serve(claim)
    except (EOFError, PeerGone, Stalled):
        return  # nobody wants the session any more: the usual end
    except OSError as error:
        log.event("session.lost", level="error", session=order.session, reason=repr(error))
    finally:
        if session is None:
            held.tree.kill()
        else:
            session.end()
