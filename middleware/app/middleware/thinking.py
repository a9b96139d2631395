"""Takes a model's thinking out of its answer, where the server left it in."""

import re

# Only a whole block at the very beginning: elsewhere the tag is part of what is said.
_BLOCK = re.compile(r"\A\s*<(?P<tag>think|thinking)>.*?</(?P=tag)>\s*", re.DOTALL)
_UNOPENED = re.compile(r"\A(?:(?!<think).)*?</think(?:ing)?>\s*", re.DOTALL)


def without_thinking(text: str) -> str:
    """Return the answer alone.

    Templates that open the block in the prompt leave an answer that only closes it.
    """
    stripped = _BLOCK.sub("", text, count=1)
    return stripped if stripped != text else _UNOPENED.sub("", text, count=1)
