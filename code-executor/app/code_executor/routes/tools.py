"""The tools, as routes; the bridge offers them over MCP."""

from typing import Annotated

from fastapi import APIRouter, Request
from pydantic import Field
from servicekit.errors import DeadlineExceeded
from servicekit.hangup import until_hangup
from servicekit.wire.base import WireModel, WireReply
from servicekit.wire.execution import (
    MAX_CODE_CHARACTERS,
    ExecuteRequest,
    ExecutionError,
    ExecutionStatus,
    InstalledPackage,
    PackageName,
    PackageRequest,
    SessionId,
)

from code_executor.shaping import (
    end_of,
    head_and_tail,
    pictures_of,
    shape_execution,
    shape_installed,
    shape_packages,
)
from code_executor.wiring import Wiring

TOOL_TAG = "tool"
router = APIRouter(prefix="/tools", tags=[TOOL_TAG])

_RUNS = {"x-mcp-annotations": {"readOnlyHint": False, "destructiveHint": False}}
_CHANGES = {"x-mcp-annotations": {"readOnlyHint": False, "idempotentHint": True}}
_READS = {"x-mcp-annotations": {"readOnlyHint": True, "openWorldHint": False}}


class CodeRequest(WireModel):
    """Code to run."""

    code: Annotated[str, Field(min_length=1, max_length=MAX_CODE_CHARACTERS)] = Field(
        description="Python source; print() what you want to see. "
        "The value of a last expression is shown as well.",
        examples=["print(2**100)"],
    )
    timeout_seconds: Annotated[float, Field(gt=0)] | None = Field(
        None, description="time limit in seconds; leave it out for the usual one", examples=[10]
    )
    session_id: SessionId | None = Field(
        None, description="a session whose variables to go on with; leave it out for a fresh one"
    )


class Picture(WireReply):
    """A picture that the code made: a plot, or a value that is an image."""

    media_type: str
    data: str = Field(description="base64")


class CodeOutcome(WireReply):
    """How the code ended; `text` is all of it, shaped for a model."""

    text: str
    is_error: bool
    status: ExecutionStatus
    stdout: str = ""
    stderr: str = ""
    result: str | None = None
    error: ExecutionError | None = None
    session_id: str | None = None
    duration_ms: float = 0.0
    peak_memory_bytes: int = 0
    images: tuple[Picture, ...] = Field((), description="over MCP these are image content")


class InstallRequest(WireModel):
    """A package to install."""

    package: PackageName = Field(description="the package's name on PyPI", examples=["six"])
    version: Annotated[str, Field(min_length=1, max_length=64)] | None = Field(
        None, description="an exact version; leave it out for the newest", examples=["1.17.0"]
    )
    session_id: SessionId | None = Field(
        None, description="install for this session alone; leave it out for all new sessions"
    )


class InstallOutcome(WireReply):
    """What was installed."""

    text: str
    package: str
    version: str
    installed: tuple[InstalledPackage, ...] = ()
    already_present: bool = False


class ListRequest(WireModel):
    """Whose packages to list."""

    session_id: SessionId | None = Field(
        None, description="a session; leave it out for what a new one has"
    )


class ListOutcome(WireReply):
    """What can be imported."""

    text: str
    packages: tuple[InstalledPackage, ...]


_ALL = ListRequest()


@router.post("/execute_code", operation_id="execute_code", openapi_extra=_RUNS)
async def execute_code(request: Request, wanted: CodeRequest) -> CodeOutcome:
    """Run Python code in an isolated sandbox and return what it printed, and its plots.

    Use it for every calculation. There is no network, and files are gone after the run.
    """
    return await _execute(request, wanted)


@router.post("/execute_python", operation_id="execute_python", openapi_extra=_RUNS)
async def execute_python(request: Request, wanted: CodeRequest) -> CodeOutcome:
    """Run Python code; another name for execute_code."""
    return await _execute(request, wanted)


async def _execute(request: Request, wanted: CodeRequest) -> CodeOutcome:
    wiring: Wiring = request.state.wiring
    run = wiring.sandbox.execute(
        ExecuteRequest(
            code=wanted.code,
            timeout_seconds=wanted.timeout_seconds,
            session_id=wanted.session_id,
        )
    )
    ran = await until_hangup(request, run)
    caps = wiring.caps
    if ran.deadline_exceeded:
        raise DeadlineExceeded(
            f"The code was still running after {ran.duration_ms / 1000:.3g} s, when the time for "
            "this request was over, and was stopped. Make it do less, or allow the request more "
            "time.",
            stdout=head_and_tail(ran.stdout, caps.stdout),
            stderr=head_and_tail(ran.stderr, caps.stderr),
        )
    error = ran.error
    if error is not None:
        error = error.model_copy(
            update={
                "message": end_of(error.message, caps.traceback),
                "traceback": end_of(error.traceback, caps.traceback),
            }
        )
    return CodeOutcome(
        text=shape_execution(ran, caps=caps),
        is_error=ran.status != "ok",
        status=ran.status,
        stdout=head_and_tail(ran.stdout, caps.stdout),
        stderr=head_and_tail(ran.stderr, caps.stderr),
        result=None if ran.result is None else head_and_tail(ran.result, caps.result),
        error=error,
        # A run without a session has had one of its own that is gone by now.
        session_id=wanted.session_id,
        duration_ms=ran.duration_ms,
        peak_memory_bytes=ran.peak_memory_bytes,
        images=tuple(Picture(media_type=kind, data=data) for kind, data in pictures_of(ran)),
    )


@router.post("/install_package", operation_id="install_package", openapi_extra=_CHANGES)
async def install_package(request: Request, wanted: InstallRequest) -> InstallOutcome:
    """Install a Python package from the package index, so that code can import it."""
    wiring: Wiring = request.state.wiring
    install = wiring.sandbox.install(
        PackageRequest(package=wanted.package, version=wanted.version, session_id=wanted.session_id)
    )
    done = await until_hangup(request, install)
    return InstallOutcome(
        text=shape_installed(done),
        package=done.package,
        version=done.version,
        installed=done.installed,
        already_present=done.already_present,
    )


@router.post("/list_packages", operation_id="list_packages", openapi_extra=_READS)
async def list_packages(request: Request, wanted: ListRequest = _ALL) -> ListOutcome:
    """List the Python packages that code can import, with their versions."""
    wiring: Wiring = request.state.wiring
    found = await until_hangup(request, wiring.sandbox.packages(wanted.session_id))
    return ListOutcome(text=shape_packages(found), packages=found.packages)
