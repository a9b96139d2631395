"""A tool call between REST and MCP: arguments in, an outcome or a typed error out. Pure."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from servicekit.errors import ArgumentsInvalid, UpstreamUnavailable
from servicekit.outbound import RemoteProblem
from servicekit.rpc import RpcError
from servicekit.tool_call_result import ToolCallResult
from servicekit.wire.tools import ToolOutcome

_TOO_MANY = 429
_FORBIDDEN = 403
_SERVER_ERROR = 500


def arguments_of(body: Mapping[str, Any], schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments that a REST body brings.

    `{"params": {...}}` is unwrapped, unless the tool itself has an argument `params`.

    Raises
    ------
    ArgumentsInvalid
        They hold what Python's reader takes and strict JSON does not: they can't be sent on.
    """
    try:
        json.dumps(body, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, RecursionError):
        raise ArgumentsInvalid(
            "The arguments hold NaN, an infinite number, half of a surrogate pair, or nest too "
            "deeply; send plain JSON."
        ) from None
    wrapped = body.get("params")
    takes_params = "params" in (schema.get("properties") or {})
    if set(body) == {"params"} and isinstance(wrapped, dict | None) and not takes_params:
        return dict(wrapped or {})
    return dict(body)


def outcome_of(result: Mapping[str, Any]) -> ToolOutcome:
    """Return a call's outcome.

    Raises
    ------
    StackError
        The tool failed in a way that other arguments can't mend: the service behind it is
        down, too slow, too busy, or refuses the caller.
    """
    try:
        parsed = ToolCallResult.parse(result)
    except ValueError as error:
        raise UpstreamUnavailable(f"The tool's server answered with {error}.") from error
    problem = parsed.problem
    if parsed.is_error and problem is not None:
        if problem.status == _SERVER_ERROR:
            raise UpstreamUnavailable(f"The tool broke down: {problem.detail or problem.title}")
        is_bad_argument = problem.type == ArgumentsInvalid.type  # found only behind the schema
        is_refused = problem.status in {_FORBIDDEN, _TOO_MANY} or problem.status > _SERVER_ERROR
        if is_bad_argument or is_refused:
            raise RemoteProblem(problem)
    output = "\n".join(_shown(block) for block in parsed.content)
    return ToolOutcome(
        success=not parsed.is_error,
        output=output,
        structured=parsed.structured,
        error=(output or "The tool failed without a word.") if parsed.is_error else None,
    )


def _shown(block: Mapping[str, Any]) -> str:
    """Return a block as text; what is none is named, not dropped."""
    if block.get("type") == "text":
        return str(block.get("text", ""))
    resource = block.get("resource")
    if isinstance(resource, Mapping) and isinstance(resource.get("text"), str):
        return str(resource["text"])
    address = block.get("uri") or (resource or {}).get("uri") or block.get("mimeType") or ""
    return f"[{block.get('type', 'content')} {address}]".replace(" ]", "]")


@contextmanager
def refusal(source: str) -> Iterator[None]:
    """Turn an upstream's JSON-RPC refusal into a typed error."""
    try:
        yield
    except RpcError as error:
        raise error.typed(source) from error
