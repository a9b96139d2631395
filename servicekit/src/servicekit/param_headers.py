"""Arguments of a tool call that its schema wants mirrored into HTTP headers."""

from collections.abc import Mapping
from typing import Any

from mcp.shared.inbound import find_invalid_x_mcp_header, mcp_param_headers, x_mcp_header_map


class ParamHeaders:
    """The arguments that a tool's schema wants mirrored into `Mcp-Param-…` headers.

    Parameters
    ----------
    schema
        The tool's argument schema; one whose annotations are not valid mirrors nothing.
    """

    def __init__(self, schema: Any) -> None:
        is_valid = isinstance(schema, Mapping) and find_invalid_x_mcp_header(schema) is None
        self._places = x_mcp_header_map(schema) if is_valid else {}

    def of(self, arguments: Mapping[str, Any]) -> dict[str, str]:
        """Return the headers of one call."""
        return mcp_param_headers(self._places, arguments) if self._places else {}
