"""What code-executor asks of the sandbox, and what the sandbox answers."""

from typing import Annotated, Literal

from pydantic import Field

from servicekit.wire.base import WireModel, WireReply

ExecutionStatus = Literal[
    "ok", "error", "timeout", "memory", "output", "killed", "crashed", "cancelled"
]

# A generous file of source; the request body limit (4 MiB) would allow more, the parser should not.
MAX_CODE_CHARACTERS = 1_000_000

PackageName = Annotated[str, Field(min_length=1, max_length=214, examples=["six"])]
SessionId = Annotated[str, Field(min_length=1, max_length=64)]


class ExecuteRequest(WireModel):
    """One cell to run."""

    code: Annotated[str, Field(max_length=MAX_CODE_CHARACTERS, description="Python source")]
    timeout_seconds: Annotated[
        float | None,
        Field(gt=0, description="wall-clock limit in seconds; the service's own bound caps it"),
    ] = None
    session_id: Annotated[
        SessionId | None,
        Field(description="a live session; without it the run has a fresh one that ends with it"),
    ] = None


class ExecutionError(WireReply):
    """The exception that ended a cell."""

    type: str
    message: str
    traceback: str


class ExecuteResult(WireReply):
    """How a cell ended; a failing program is an answer, not an HTTP error."""

    status: ExecutionStatus
    signal: str | None = None
    stdout: str = ""
    stderr: str = ""
    result: str | None = None
    error: ExecutionError | None = None
    session_id: str | None = None
    duration_ms: float = 0.0
    peak_memory_bytes: int = 0
    stdout_truncated_bytes: int = 0
    stderr_truncated_bytes: int = 0
    session_ended: bool = False
    deadline_exceeded: Annotated[
        bool,
        Field(
            description="a timeout for which the request's deadline came before the cell's limit"
        ),
    ] = False


class SessionCreated(WireReply):
    """A new live session."""

    session_id: str


class PackageRequest(WireModel):
    """A package to install: for one session, or for every new session."""

    package: PackageName
    version: Annotated[str | None, Field(max_length=64)] = None
    session_id: SessionId | None = None


class InstalledPackage(WireReply):
    """One member of a package set."""

    name: str
    version: str
    size_bytes: int = 0
    sha256: str | None = None


class PackageInstalled(WireReply):
    """What an install added: the requested package and its closure."""

    package: str
    version: str
    installed: tuple[InstalledPackage, ...]
    already_present: bool = False


class PackageList(WireReply):
    """What a session sees."""

    packages: tuple[InstalledPackage, ...]
