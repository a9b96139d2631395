"""A sandbox that answers from a script, for tests."""

from servicekit.errors import StackError
from servicekit.wire.execution import (
    ExecuteRequest,
    ExecuteResult,
    InstalledPackage,
    PackageInstalled,
    PackageList,
    PackageRequest,
)

SIX = InstalledPackage(name="six", version="1.17.0", size_bytes=100, sha256="0" * 64)


class ScriptedSandbox:
    """Answers each kind of request with what the test says; remembers the requests."""

    def __init__(self, result: ExecuteResult | StackError | None = None) -> None:
        self.result: ExecuteResult | StackError = result or ExecuteResult(status="ok")
        self.asked: list[object] = []

    async def execute(self, request: ExecuteRequest) -> ExecuteResult:
        """Give the scripted result."""
        self.asked.append(request)
        if isinstance(self.result, StackError):
            raise self.result
        return self.result

    async def install(self, request: PackageRequest) -> PackageInstalled:
        """Give `SIX`, whatever was wanted."""
        self.asked.append(request)
        return PackageInstalled(package=request.package, version="1.17.0", installed=(SIX,))

    async def packages(self, session_id: str | None) -> PackageList:
        """Give `SIX` alone."""
        self.asked.append(session_id)
        return PackageList(packages=(SIX,))

    async def ping(self) -> None:
        """Be there."""
