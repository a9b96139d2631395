"""The port to the sandbox: what this service needs of it."""

from typing import Protocol

from servicekit.wire.execution import (
    ExecuteRequest,
    ExecuteResult,
    PackageInstalled,
    PackageList,
    PackageRequest,
)


class Sandbox(Protocol):
    """Runs code and keeps packages, somewhere else."""

    async def execute(self, request: ExecuteRequest) -> ExecuteResult:
        """Run one cell.

        Raises
        ------
        StackError
            The sandbox cannot be reached, refuses the request, or the time is over.
        """
        ...

    async def install(self, request: PackageRequest) -> PackageInstalled:
        """Install a package; errors as `execute`."""
        ...

    async def packages(self, session_id: str | None) -> PackageList:
        """List what a session (or a new one) can import; errors as `execute`."""
        ...

    async def ping(self) -> None:
        """Raise when the sandbox cannot be reached."""
        ...
