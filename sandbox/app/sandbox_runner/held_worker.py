"""A worker as its warden holds it: the ends of its pipes, its processes, its limits."""

import os
import resource
import signal
import socket
from dataclasses import dataclass
from typing import Final, Self

from sandbox_runner import link, worker
from sandbox_runner.cell import Namespace
from sandbox_runner.limits import resource_limits
from sandbox_runner.policy import SessionLimits
from sandbox_runner.tree import ProcessTree, number_in_proc
from sandbox_runner.worker import Confinement

_SETUP_SECONDS: Final = 20.0


@dataclass(frozen=True, slots=True)
class HeldWorker:
    """One worker, from its fork to the end of its last process.

    Attributes
    ----------
    channel
        Tasks go out and reports come in here.
    stdout, stderr
        Where its output is read.
    pidfd
        Becomes readable when it ends.
    """

    tree: ProcessTree
    channel: socket.socket
    stdout: int
    stderr: int
    pidfd: int

    @classmethod
    def fork(
        cls, confinement: Confinement, namespace: Namespace, *, is_scoped: bool, is_single: bool
    ) -> Self:
        """Fork a worker, which locks itself in.

        Parameters
        ----------
        namespace
            The copy that the worker has of it is where cells run.
        is_scoped, is_single
            As in `ProcessTree`.

        Raises
        ------
        OSError
            It could not be forked; nothing of it is left.
        """
        channel, worker_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        warden_pid = os.getpid()
        opened: list[int] = []
        pid = -1
        try:
            stdout, worker_stdout = os.pipe2(os.O_CLOEXEC)
            opened += (stdout, worker_stdout)
            stderr, worker_stderr = os.pipe2(os.O_CLOEXEC)
            opened += (stderr, worker_stderr)
            pid = os.fork()
            if pid == 0:
                pipes = worker.Pipes(worker_end, worker_stdout, worker_stderr)
                worker.main(pipes, confinement, namespace, warden_pid)
            pidfd = os.pidfd_open(pid)
            opened.append(pidfd)
            tree = ProcessTree(pid, number_in_proc(pidfd), is_scoped=is_scoped, is_single=is_single)
        except OSError:
            channel.close()
            for descriptor in opened:
                os.close(descriptor)
            if pid > 0:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
            raise
        finally:
            worker_end.close()
        os.close(worker_stdout)
        os.close(worker_stderr)
        os.set_blocking(stdout, False)
        os.set_blocking(stderr, False)
        return cls(tree, channel, stdout, stderr, pidfd)

    def await_ready(self) -> None:
        """Wait until it is confined.

        Raises
        ------
        OSError
            It could not be set up; the text says why, if it came to say it.
        """
        self.channel.settimeout(_SETUP_SECONDS)
        said = self.channel.recv(link.MESSAGE_BYTES)
        if said != worker.READY:
            why = said.decode("utf-8", "replace") or "it ended"
            raise OSError(f"the worker could not be set up: {why}")
        self.channel.setblocking(False)

    def limit(self, limits: SessionLimits, user_tasks: int) -> None:
        """Set the limits that the kernel keeps for it; they can only be lowered.

        Parameters
        ----------
        user_tasks
            What others of the same user run or may come to run, see `user_tasks`.
        """
        values = resource_limits(
            limits,
            address_space_bytes=self.tree.address_space_bytes,
            user_processes=user_tasks,
        )
        for name, value in values.items():
            kind = getattr(resource, name)
            _, hard = resource.prlimit(self.tree.root, kind)
            bound = value if hard == resource.RLIM_INFINITY else min(value, hard)
            resource.prlimit(self.tree.root, kind, (bound, bound))

    def close(self) -> None:
        """End every process of it and let go of its descriptors."""
        self.tree.kill()
        self.tree.close()
        self.channel.close()
        for descriptor in (self.stdout, self.stderr, self.pidfd):
            os.close(descriptor)
