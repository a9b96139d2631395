"""A fork that runs nobody's handlers, and may lead into new namespaces."""

import os

from sandbox_runner import kernel, seccomp


def bare_fork(namespaces: int = 0) -> int:
    """Fork without handlers; in the child 0 is returned, and else the child's process id.

    Handlers for a fork, Python's and the C library's, are there for locks that other threads hold
    and for random states. They take a millisecond, most of it for pages that they write to in
    memory that is shared with the parent: 250 of them, counted.

    Parameters
    ----------
    namespaces
        CLONE_NEW flags: the child is in new ones of these.

    Raises
    ------
    OSError
        The kernel refuses, or namespaces are wanted on an architecture that has no table here.

    Notes
    -----
    On an architecture without a table it is `os.fork`, handlers included.

    Only for a process without further threads, and for a child that runs no foreign code itself:
    its random states are its parent's, and the C library takes its thread for the parent's. What it
    forks by `os.fork` inherits neither.
    """
    architecture = seccomp.current_architecture()
    if architecture is not None:
        return kernel.clone(architecture.numbers["clone"], namespaces)
    if namespaces:
        raise OSError("no table for this architecture")
    return os.fork()
