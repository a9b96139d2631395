"""What code-executor asks of the sandbox, and what the sandbox answers."""

from typing import Annotated, Any, Literal

from pydantic import Field

from servicekit.wire.base import WireModel, WireReply
from servicekit.wire.files import FileChanges

ExecutionStatus = Literal[
    "ok", "error", "timeout", "memory", "output", "killed", "crashed", "cancelled"
]

# A generous file of source; the request body limit (4 MiB) would allow more, the parser should not.
MAX_CODE_CHARACTERS = 1_000_000

PackageName = Annotated[str, Field(min_length=1, max_length=214, examples=["six"])]
SessionId = Annotated[str, Field(min_length=1, max_length=64)]
ExecutionId = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")]


# Less than these is no limit but a broken session: a slot's file system has a least size, and an
# interpreter a least memory.
_LEAST_MEMORY_BYTES = 16 << 20
_LEAST_FILE_BYTES = 4096
_LEAST_DISK_BYTES = 64 << 10
_LEAST_FILES = 16
_KIBIBYTE = 1024


class ResourceLimits(WireModel):
    """What a run or a session may use. What is left out stays at the service's bound."""

    memory_bytes: Annotated[
        int | None,
        Field(
            strict=True,
            ge=_LEAST_MEMORY_BYTES,
            description="memory of all its processes together, beyond the interpreter's own",
        ),
    ] = None
    processes: Annotated[
        int | None,
        Field(strict=True, ge=1, description="processes and threads together"),
    ] = None
    output_bytes: Annotated[
        int | None,
        Field(
            strict=True,
            ge=_KIBIBYTE,
            description="kept of stdout, and of stderr, for each run; 16 times as much ends it",
        ),
    ] = None
    file_bytes: Annotated[
        int | None, Field(strict=True, ge=_LEAST_FILE_BYTES, description="size of one file")
    ] = None
    disk_bytes: Annotated[
        int | None,
        Field(strict=True, ge=_LEAST_DISK_BYTES, description="all files of the session together"),
    ] = None
    files: Annotated[
        int | None,
        Field(strict=True, ge=_LEAST_FILES, description="number of files and folders"),
    ] = None


TimeLimit = Annotated[float | None, Field(strict=True, gt=0)]


class ExecuteRequest(WireModel):
    """One cell to run."""

    code: Annotated[str, Field(max_length=MAX_CODE_CHARACTERS, description="Python source")]
    timeout_seconds: Annotated[
        TimeLimit,
        Field(description="wall-clock limit in seconds; over the service's bound it is refused"),
    ] = None
    limits: Annotated[
        ResourceLimits | None,
        Field(
            description="lower limits for this run; in a live session only memory, processes and "
            "output, for its files are limited when it is created"
        ),
    ] = None
    execution_id: Annotated[
        ExecutionId | None,
        Field(description="a name of your own for this run, for POST /executions/{id}/cancel"),
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


class RichOutput(WireReply):
    """One thing that a cell showed beside its text: a picture, a table, data.

    It comes from untrusted code. HTML and SVG may hold scripts: show them in a sandboxed frame
    or not at all.
    """

    kind: Annotated[
        Literal["result", "display", "figure"],
        Field(description="the last expression's value, a call of display(), or a plot"),
    ]
    data: Annotated[
        dict[str, Any],
        Field(
            description="forms by media type: text as it is, image/png and the like in base64, "
            "JSON as a value"
        ),
    ]


class ExecuteResult(WireReply):
    """How a cell ended; a failing program is an answer, not an HTTP error."""

    status: ExecutionStatus
    signal: str | None = None
    stdout: str = ""
    stderr: str = ""
    result: Annotated[str | None, Field(description="repr of the last expression's value")] = None
    outputs: Annotated[
        tuple[RichOutput, ...],
        Field(description="pictures, tables and data that the code showed, in order"),
    ] = ()
    outputs_dropped: Annotated[int, Field(description="outputs over the caps on them")] = 0
    error: ExecutionError | None = None
    execution_id: str | None = None
    session_id: str | None = None
    duration_ms: float = 0.0
    peak_memory_bytes: Annotated[
        int,
        Field(
            description=(
                "most memory that was resident, the interpreter and its libraries included, "
                "which the limit on memory does not count"
            )
        ),
    ] = 0
    stdout_truncated_bytes: int = 0
    stderr_truncated_bytes: int = 0
    session_ended: bool = False
    deadline_exceeded: Annotated[
        bool,
        Field(
            description="a timeout for which the request's deadline came before the cell's limit"
        ),
    ] = False
    files: FileChanges = FileChanges()


class ExecutionCancelled(WireReply):
    """An execution that was ended on request."""

    execution_id: str
    session_id: str | None = None
    status: ExecutionStatus = "cancelled"


class SessionRequest(WireModel):
    """A session to create; an empty body asks for the usual one."""

    timeout_seconds: Annotated[
        TimeLimit, Field(description="time limit in seconds of its cells that name none")
    ] = None
    limits: ResourceLimits | None = None


class SessionCreated(WireReply):
    """A new live session."""

    session_id: str


class PackageRequest(WireModel):
    """A package to install: for one session, or for every new session."""

    package: PackageName
    version: Annotated[str | None, Field(max_length=64)] = None
    session_id: SessionId | None = None
    also_new_sessions: Annotated[
        bool, Field(description="with `session_id`: new sessions shall see it as well")
    ] = False


class InstalledPackage(WireReply):
    """One member of a package set."""

    name: str
    version: str
    size_bytes: int = 0
    sha256: str | None = None
    modules: Annotated[
        tuple[str, ...], Field(description="what code imports, as far as it is known")
    ] = ()


class PackageInstalled(WireReply):
    """What an install added: the requested package and its closure."""

    package: str
    version: str
    installed: tuple[InstalledPackage, ...]
    already_present: bool = False


class PackageList(WireReply):
    """What a session sees."""

    packages: tuple[InstalledPackage, ...]
