"""How a tool call ended, as the wire says it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

from servicekit.problems import Problem, parse_problem

META_PROBLEM: Final = "mcp-stack/problem"
"""The `_meta` field in which our services put the problem document behind an error."""


@dataclass(frozen=True, slots=True)
class ToolCallResult:
    """How a tool call ended.

    Parameters
    ----------
    texts
        The text blocks, in order.
    structured
        The structured content, None when the tool gave none.
    is_error
        Whether the tool failed in a way that the model may correct.
    content
        All blocks as they stand on the wire, images and resources included.
    problem
        The problem document behind an error, when one of our services wrote it.
    """

    texts: tuple[str, ...]
    structured: Any = None
    is_error: bool = False
    content: tuple[Mapping[str, Any], ...] = ()
    problem: Problem | None = None

    @property
    def text(self) -> str:
        """All text in one string."""
        return "\n".join(self.texts)

    @classmethod
    def parse(cls, result: Mapping[str, Any]) -> Self:
        """Read a `tools/call` result; raise `ValueError` when it is none."""
        blocks = result.get("content")
        if not isinstance(blocks, list) or not all(isinstance(block, dict) for block in blocks):
            raise ValueError("a tool result without content")
        meta = result.get("_meta")
        document = meta.get(META_PROBLEM) if isinstance(meta, dict) else None
        return cls(
            texts=tuple(
                block["text"]
                for block in blocks
                if block.get("type") == "text" and isinstance(block.get("text"), str)
            ),
            structured=result.get("structuredContent"),
            is_error=result.get("isError") is True,
            content=tuple(blocks),
            problem=parse_problem(json.dumps(document)) if document else None,
        )
