"""What can go wrong in the sandbox service, each with its own numbers and type."""

from servicekit.errors import (
    ArgumentsInvalid,
    NotFound,
    ServiceUnavailable,
    StackError,
    UpstreamUnavailable,
)


class RunnerDown(UpstreamUnavailable):
    """The runner can't be reached, or it went away while a run was under way."""

    type = "sandbox-runner-down"
    title = "The sandbox's runner does not answer"


class SandboxOff(ServiceUnavailable):
    """This machine's kernel can't isolate a run, so nothing is run."""

    type = "sandbox-off"
    title = "The sandbox is off"


class SessionUnknown(NotFound):
    """No session ever had this name here."""

    type = "session-unknown"
    title = "Unknown session"


class SessionEnded(StackError):
    """The session existed and is gone; `reason` says why."""

    type = "session-ended"
    title = "The session has ended"
    http_status = 410
    rpc_code = -32602


class ExecutionUnknown(NotFound):
    """No execution has this id, or it ended too long ago to be remembered."""

    type = "execution-unknown"
    title = "Unknown execution"


class ExecutionEnded(StackError):
    """The execution was over when it was to be cancelled; `ended_as` says how it ended."""

    type = "execution-ended"
    title = "The execution has ended"
    http_status = 409
    rpc_code = -32602


class ExecutionIdTaken(StackError):
    """An execution with the id that the caller chose is under way."""

    type = "execution-id-taken"
    title = "The execution id is taken"
    http_status = 409
    rpc_code = -32602


class ExecutionStuck(UpstreamUnavailable):
    """The runner did not end an execution in time."""

    type = "execution-stuck"
    title = "The execution did not end"


class TimeoutOutOfBounds(ArgumentsInvalid):
    """A time limit that this service does not grant; it is never clamped."""

    type = "timeout-out-of-bounds"
    title = "The time limit is out of bounds"


class LimitOutOfBounds(ArgumentsInvalid):
    """A resource that this service, or the session, does not grant; it is never clamped."""

    type = "limit-out-of-bounds"
    title = "A limit is out of bounds"


class FileRefusal(StackError):
    """A request about a session's file that can't be carried out; the session is as it was."""

    type = "file-refused"
    title = "The file can't be had"
    http_status = 409
    rpc_code = -32602


class FilePathInvalid(FileRefusal):
    """A path that leads out of the session's folder, or that no file may have."""

    type = "file-path-invalid"
    title = "The path names no file"
    http_status = 422


class FileUnknown(FileRefusal):
    """The session has no such file."""

    type = "file-unknown"
    title = "Unknown file"
    http_status = 404


class FileNotPlain(FileRefusal):
    """A link, a folder, a file with several names, or one that its code has closed."""

    type = "file-not-plain"
    title = "Not a plain file"


class FileTooLarge(FileRefusal):
    """A file over the session's bound for one file."""

    type = "file-too-large"
    title = "The file is too large"
    http_status = 413


class SessionFull(FileRefusal):
    """The session's folder holds as many bytes or files as it may."""

    type = "session-full"
    title = "The session's folder is full"
    http_status = 507


class FileStalled(FileRefusal):
    """The client neither sent nor took a piece of the file for too long."""

    type = "file-stalled"
    title = "The transfer stood still"
    http_status = 408


class FileFailed(FileRefusal):
    """Reading or writing failed, or was cut short."""

    type = "file-failed"
    title = "The file could not be read or written"
    http_status = 500
    rpc_code = -32603


class PackageRefused(StackError):
    """A package that the rules do not let in; `rule` names the rule."""

    type = "package-refused"
    title = "The package is refused"
    http_status = 422
    rpc_code = -32602


class PackageAwaitsApproval(StackError):
    """A package that an operator has to approve first; `rule` says why."""

    type = "package-awaits-approval"
    title = "The package waits for an operator's approval"
    http_status = 403
    rpc_code = -32602


class PackageUnknown(NotFound):
    """The index has no such package or no such version."""

    type = "package-unknown"
    title = "Unknown package"


class IndexUnavailable(UpstreamUnavailable):
    """The package index does not answer."""

    type = "package-index-down"
    title = "The package index does not answer"


class InstallFailed(UpstreamUnavailable):
    """The installer ended in a way that no rule explains."""

    type = "package-install-failed"
    title = "The package could not be installed"
