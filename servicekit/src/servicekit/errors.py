"""Errors that carry their own numbers: HTTP status, JSON-RPC code and stable type.

A decision raises one of these; the one renderer (`servicekit.problems`) turns it
into problem+json, the MCP bridge into a tool error. `detail` is a sentence for a
person and says what to do.
"""

from typing import Any, ClassVar


class StackError(Exception):
    """The root of all errors that a caller may see.

    Parameters
    ----------
    detail
        One or two sentences: what happened and what to do.
    retry_after_seconds
        When it makes sense to try again; becomes `Retry-After`.
    extensions
        Further JSON members of the problem document (RFC 9457, section 3.2).
    """

    type: ClassVar[str] = "internal-error"
    title: ClassVar[str] = "Internal error"
    http_status: ClassVar[int] = 500
    rpc_code: ClassVar[int] = -32603

    def __init__(
        self, detail: str, *, retry_after_seconds: float | None = None, **extensions: Any
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.retry_after_seconds = retry_after_seconds
        self.extensions: dict[str, Any] = extensions


class InvalidRequest(StackError):
    """The request can't be understood."""

    type = "invalid-request"
    title = "The request is not valid"
    http_status = 400
    rpc_code = -32602


class BodyNotJson(InvalidRequest):
    """The body is declared JSON and is not."""

    type = "body-not-json"
    title = "The body is not JSON"


class ArgumentsInvalid(StackError):
    """The request is understood, and a value in it is wrong."""

    type = "arguments-invalid"
    title = "An argument is not valid"
    http_status = 422
    rpc_code = -32602


class NotFound(StackError):
    """What was asked for does not exist."""

    type = "not-found"
    title = "Not found"
    http_status = 404
    rpc_code = -32602


class MethodNotAllowed(StackError):
    """The address exists, the method does not."""

    type = "method-not-allowed"
    title = "Method not allowed"
    http_status = 405
    rpc_code = -32601


class ForbiddenCaller(StackError):
    """A web page or a host name that this service does not know."""

    type = "forbidden-caller"
    title = "Foreign host or origin"
    http_status = 403
    rpc_code = -32003


class PayloadTooLarge(StackError):
    """The body exceeds the service's bound."""

    type = "payload-too-large"
    title = "The body is too large"
    http_status = 413
    rpc_code = -32602


class UnsupportedMediaType(StackError):
    """The body is not declared as JSON."""

    type = "unsupported-media-type"
    title = "The body must be declared as JSON"
    http_status = 415
    rpc_code = -32602


class TooBusy(StackError):
    """All places are taken; try later."""

    type = "too-busy"
    title = "Too busy"
    http_status = 429
    rpc_code = -32005


class UpstreamUnavailable(StackError):
    """A service that this one needs does not answer."""

    type = "upstream-unavailable"
    title = "A needed service does not answer"
    http_status = 502
    rpc_code = -32001


class ServiceUnavailable(StackError):
    """This service can't do its work at present."""

    type = "service-unavailable"
    title = "Not available at present"
    http_status = 503
    rpc_code = -32006


class DeadlineExceeded(StackError):
    """The time for the request is over."""

    type = "deadline-exceeded"
    title = "Out of time"
    http_status = 504
    rpc_code = -32007
